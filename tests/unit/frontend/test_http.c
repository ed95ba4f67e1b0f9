/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP side over real sockets on loopback, and the JSON of /status. */
#include "frontend/http.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/metrics.h"
#include "frontend/status.h"

#define REPLY_MAX 8192

static const int64_t bounds[] = {1, 2};
static const struct metric_definition asked_definition = {
    .name = "toolroot_asked_total",
    .help = "Say \"it\".",
    .type = METRIC_COUNTER};
static const struct metric_definition sizes_definition = {
    .name = "toolroot_sizes",
    .help = "Sizes.",
    .type = METRIC_HISTOGRAM,
    .bounds = bounds,
    .bound_count = 2};
static const struct metric_definition answer_definition = {
    .name = "toolroot_answer", .help = "It.", .type = METRIC_GAUGE};

struct fixture {
	struct metrics *metrics;
	struct http_pages *server;
	struct http_pages_options options;
	bool ready;
	uint16_t port;
};

static void
fixture_report(struct status_report *report, void *cookie)
{
	struct fixture *fixture = cookie;

	report->not_ready = fixture->ready ? NULL : "draining";
	report->started_ns = 1000000000;
	report->now_ns = 61000000000;
	report->store.bytes = 5;
	report->store.max_bytes = 10;
	report->execution.scheduler.slots = 4;
}

static uint16_t
port_of(const struct http_pages *server)
{
	return (uint16_t)strtoul(
	    strrchr(http_pages_address(server), ':') + 1, NULL, 10);
}

static int
setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct error err;

	assert_non_null(fixture);
	fixture->ready = true;
	fixture->metrics = metrics_new();
	metric_set(metrics_single(fixture->metrics, &answer_definition), 42);
	fixture->options = (struct http_pages_options){.listen = "127.0.0.1:0",
	    .grpc_address = "grpc://127.0.0.1:8980",
	    .metrics = fixture->metrics,
	    .report = fixture_report,
	    .cookie = fixture,
	    .connections = 4,
	    .timeout_s = 30};
	fixture->server = http_pages_open(&fixture->options, &err);
	if (fixture->server == NULL)
		fail_msg("%s", err.text);
	fixture->port = port_of(fixture->server);
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *fixture = *state;

	http_pages_close(fixture->server);
	metrics_free(fixture->metrics);
	free(fixture);
	return 0;
}

static int
dial(const struct fixture *fixture)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
	    .sin_port = htons(fixture->port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_not_equal(fd, -1);
	assert_int_equal(
	    connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Sends the request and reads until the server closes. */
static void
talk(const struct fixture *fixture, const char *request, char *reply)
{
	int fd = dial(fixture);
	size_t used = 0;
	ssize_t len;

	assert_int_equal(
	    send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	while ((len = recv(fd, reply + used, REPLY_MAX - 1 - used, 0)) > 0)
		used += (size_t)len;
	reply[used] = '\0';
	close(fd);
}

static void
get(const struct fixture *fixture, const char *method, const char *path,
    char *reply)
{
	char request[256];

	snprintf(request, sizeof(request),
	    "%s %s HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n", method,
	    path);
	talk(fixture, request, reply);
}

static void
assert_status(const char *reply, int status)
{
	char wanted[32];

	snprintf(wanted, sizeof(wanted), "HTTP/1.1 %d ", status);
	if (strncmp(reply, wanted, strlen(wanted)) != 0)
		fail_msg("wanted %d, got: %s", status, reply);
}

static void
assert_has(const char *reply, const char *wanted)
{
	if (strstr(reply, wanted) == NULL)
		fail_msg("no \"%s\" in: %s", wanted, reply);
}

static void
metrics_are_served_in_the_text_form(void **state)
{
	char reply[REPLY_MAX];

	get(*state, "GET", "/metrics", reply);
	assert_status(reply, 200);
	assert_has(reply, "Content-Type: text/plain; version=0.0.4");
	assert_has(reply, "\ntoolroot_answer 42\n");
}

static void
metrics_are_served_as_open_metrics_to_those_who_accept_it(void **state)
{
	const struct fixture *fixture = *state;
	char reply[REPLY_MAX];

	metric_add(metrics_single(fixture->metrics, &asked_definition), 3);
	metric_observe(metrics_single(fixture->metrics, &sizes_definition), 2);
	talk(fixture,
	    "GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
	    "Accept: application/openmetrics-text;version=1.0.0,"
	    "text/plain;q=0.5\r\n\r\n",
	    reply);
	assert_status(reply, 200);
	assert_has(
	    reply, "Content-Type: application/openmetrics-text; version=1.0.0");
	assert_has(reply, "# HELP toolroot_asked Say \\\"it\\\".\n"
			  "# TYPE toolroot_asked counter\n"
			  "toolroot_asked_total 3\n");
	assert_has(reply, "toolroot_sizes_bucket{le=\"1.0\"} 0\n"
			  "toolroot_sizes_bucket{le=\"2.0\"} 1\n");
	assert_string_equal(reply + strlen(reply) - 6, "# EOF\n");
}

static void
status_is_json(void **state)
{
	char reply[REPLY_MAX];

	get(*state, "GET", "/status", reply);
	assert_status(reply, 200);
	assert_has(reply, "Content-Type: application/json");
	assert_string_equal(strstr(reply, "\r\n\r\n") + 4,
	    "{\n  \"version\": \"" TOOLROOT_VERSION "\",\n"
	    "  \"grpc\": \"grpc://127.0.0.1:8980\",\n"
	    "  \"ready\": true,\n"
	    "  \"started\": \"1970-01-01T00:00:01Z\",\n"
	    "  \"uptime_seconds\": 60,\n"
	    "  \"store\": {\"bytes\": 5, \"max_bytes\": 10, \"blobs\": 0, "
	    "\"action_results\": 0, \"segments\": 0, \"dropped\": 0},\n"
	    "  \"workers\": {\"connected\": 0, \"slots\": 4, \"slots_busy\": "
	    "0},\n"
	    "  \"operations\": {\"queued\": 0, \"executing\": 0}\n}\n");
}

static void
the_index_names_the_grpc_address(void **state)
{
	char reply[REPLY_MAX];

	get(*state, "GET", "/", reply);
	assert_status(reply, 200);
	assert_has(reply, "grpc://127.0.0.1:8980");
	assert_has(reply, TOOLROOT_VERSION);
}

static void
readiness_tells_the_reason_and_health_stays_up(void **state)
{
	struct fixture *fixture = *state;
	char reply[REPLY_MAX];

	get(fixture, "GET", "/readyz", reply);
	assert_status(reply, 200);
	fixture->ready = false;
	get(fixture, "GET", "/readyz", reply);
	assert_status(reply, 503);
	assert_has(reply, "draining\n");
	get(fixture, "GET", "/healthz", reply);
	assert_status(reply, 200);
}

static void
head_has_the_length_but_no_body(void **state)
{
	char reply[REPLY_MAX];

	get(*state, "HEAD", "/healthz", reply);
	assert_status(reply, 200);
	assert_has(reply, "Content-Length: 3\r\n");
	assert_string_equal(strstr(reply, "\r\n\r\n"), "\r\n\r\n");
}

static void
other_methods_are_refused_without_reading_the_body(void **state)
{
	char reply[REPLY_MAX];

	/* The body never comes: the answer must not wait for it. */
	talk(*state,
	    "POST /status HTTP/1.1\r\nHost: x\r\n"
	    "Content-Length: 1000000000\r\n\r\n",
	    reply);
	assert_status(reply, 405);
	assert_has(reply, "Allow: GET, HEAD");
	assert_has(reply, "gRPC is served at grpc://127.0.0.1:8980");
	get(*state, "DELETE", "/", reply);
	assert_status(reply, 405);
}

static void
a_body_on_a_get_closes_the_connection(void **state)
{
	char reply[REPLY_MAX];

	talk(*state,
	    "GET /status HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
	    reply);
	assert_string_equal(reply, "");
}

static void
unknown_pages_are_not_found(void **state)
{
	char reply[REPLY_MAX];

	get(*state, "GET", "/metrics/", reply);
	assert_status(reply, 404);
	assert_has(reply, "/readyz");
	get(*state, "GET", "/../etc/passwd", reply);
	assert_status(reply, 404);
}

static void
http2_is_told_that_it_is_wrong_here(void **state)
{
	char reply[REPLY_MAX];

	talk(*state, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", reply);
	assert_status(reply, 505);
}

static void
silent_connections_end_and_others_get_their_turn(void **state)
{
	struct fixture *fixture = *state;
	char reply[REPLY_MAX];
	struct error err;
	int silent[8];

	http_pages_close(fixture->server);
	fixture->options.timeout_s = 1;
	fixture->server = http_pages_open(&fixture->options, &err);
	assert_non_null(fixture->server);
	fixture->port = port_of(fixture->server);
	/* Twice as many as are served at a time. */
	for (int i = 0; i < 8; i++)
		silent[i] = dial(*state);
	get(*state, "GET", "/healthz", reply);
	assert_status(reply, 200);
	for (int i = 0; i < 8; i++)
		close(silent[i]);
}

static void
addresses_beyond_loopback_need_permission(void **state)
{
	struct fixture *fixture = *state;
	struct http_pages_options options = fixture->options;
	struct http_pages *server;
	struct error err;

	options.listen = "0.0.0.0:0";
	assert_null(http_pages_open(&options, &err));
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	assert_has(err.text, "--insecure-listen");
	options.insecure_listen = true;
	server = http_pages_open(&options, &err);
	assert_non_null(server);
	http_pages_close(server);
}

static void
a_taken_or_senseless_address_is_named(void **state)
{
	static const char *const senseless[] = {
	    "", "127.0.0.1", ":80", "127.0.0.1:http", "127.0.0.1:70000"};
	struct fixture *fixture = *state;
	struct http_pages_options options = fixture->options;
	struct error err;

	options.listen = http_pages_address(fixture->server);
	assert_null(http_pages_open(&options, &err));
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
	assert_has(err.text, options.listen);
	for (size_t i = 0; i < sizeof(senseless) / sizeof(senseless[0]); i++) {
		options.listen = senseless[i];
		assert_null(http_pages_open(&options, &err));
		assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(metrics_are_served_in_the_text_form),
	    TEST(metrics_are_served_as_open_metrics_to_those_who_accept_it),
	    TEST(status_is_json),
	    TEST(the_index_names_the_grpc_address),
	    TEST(readiness_tells_the_reason_and_health_stays_up),
	    TEST(head_has_the_length_but_no_body),
	    TEST(other_methods_are_refused_without_reading_the_body),
	    TEST(a_body_on_a_get_closes_the_connection),
	    TEST(unknown_pages_are_not_found),
	    TEST(http2_is_told_that_it_is_wrong_here),
	    TEST(silent_connections_end_and_others_get_their_turn),
	    TEST(addresses_beyond_loopback_need_permission),
	    TEST(a_taken_or_senseless_address_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
