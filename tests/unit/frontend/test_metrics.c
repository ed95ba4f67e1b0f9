/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics registry and the RPC metrics, judged by the text they render. */
#include "base/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/buffer.h"
#include "frontend/rpc_metrics.h"
#include "frontend/server_metrics.h"
#include "rpc/server.h"

static const struct metric_definition requests = {
    .name = "toolroot_requests_total",
    .help = "Requests\\by\nmethod.",
    .type = METRIC_COUNTER,
    .labels = {"method", "code"},
    .max_series = 3,
};
static const struct metric_definition depth = {
    .name = "toolroot_queue_depth",
    .help = "Waiting.",
    .type = METRIC_GAUGE,
};
static const int64_t bounds[] = {1000, 2000, 4000};
static const struct metric_definition duration = {
    .name = "toolroot_duration_seconds",
    .help = "Time.",
    .type = METRIC_HISTOGRAM,
    .labels = {"method"},
    .scale = 1e-3,
    .bounds = bounds,
    .bound_count = 3,
};

static char *
render(struct metrics *metrics, struct buffer *out)
{
	buffer_init(out, 1 << 20);
	assert_int_equal(metrics_render(metrics, out), 0);
	return out->data;
}

static void
assert_contains(const char *text, const char *wanted)
{
	if (strstr(text, wanted) == NULL)
		fail_msg("no \"%s\" in:\n%s", wanted, text);
}

static void
counters_and_gauges_render_with_help_and_type(void **state)
{
	struct metrics *metrics = metrics_new();
	struct metric_family *family = metrics_register(metrics, &requests);
	const char *values[] = {"Read", "OK"};
	struct metric *gauge = metrics_single(metrics, &depth);
	struct buffer out;

	(void)state;
	metric_add(metric_series(family, values), 2);
	metric_add(metric_series(family, values), 1);
	metric_set(gauge, -5);
	assert_string_equal(render(metrics, &out),
	    "# HELP toolroot_requests_total Requests\\\\by\\nmethod.\n"
	    "# TYPE toolroot_requests_total counter\n"
	    "toolroot_requests_total{method=\"Read\",code=\"OK\"} 3\n"
	    "# HELP toolroot_queue_depth Waiting.\n"
	    "# TYPE toolroot_queue_depth gauge\n"
	    "toolroot_queue_depth -5\n");
	buffer_clear(&out);
	metrics_free(metrics);
}

static void
label_values_are_escaped(void **state)
{
	struct metrics *metrics = metrics_new();
	struct metric_family *family = metrics_register(metrics, &requests);
	const char *values[] = {"a\"b\\c\nd", ""};
	struct buffer out;

	(void)state;
	metric_series(family, values);
	assert_contains(render(metrics, &out),
	    "{method=\"a\\\"b\\\\c\\nd\",code=\"\"} 0\n");
	buffer_clear(&out);
	metrics_free(metrics);
}

static void
histogram_buckets_are_cumulative_and_bounds_inclusive(void **state)
{
	struct metrics *metrics = metrics_new();
	struct metric_family *family = metrics_register(metrics, &duration);
	const char *values[] = {"Read"};
	struct metric *metric = metric_series(family, values);
	const int64_t observed[] = {-1, 1000, 1001, 4000, 9000};
	struct buffer out;

	(void)state;
	for (size_t i = 0; i < 5; i++)
		metric_observe(metric, observed[i]);
	assert_string_equal(render(metrics, &out),
	    "# HELP toolroot_duration_seconds Time.\n"
	    "# TYPE toolroot_duration_seconds histogram\n"
	    "toolroot_duration_seconds_bucket{method=\"Read\",le=\"1\"} 2\n"
	    "toolroot_duration_seconds_bucket{method=\"Read\",le=\"2\"} 3\n"
	    "toolroot_duration_seconds_bucket{method=\"Read\",le=\"4\"} 4\n"
	    "toolroot_duration_seconds_bucket{method=\"Read\",le=\"+Inf\"} "
	    "5\n"
	    "toolroot_duration_seconds_sum{method=\"Read\"} 15.001\n"
	    "toolroot_duration_seconds_count{method=\"Read\"} 5\n");
	buffer_clear(&out);
	metrics_free(metrics);
}

static void
label_sets_beyond_the_limit_share_the_series_other(void **state)
{
	struct metrics *metrics = metrics_new();
	struct metric_family *family = metrics_register(metrics, &requests);
	struct buffer out;
	char name[16];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		const char *values[] = {name, "OK"};

		snprintf(name, sizeof(name), "m%d", i);
		metric_add(metric_series(family, values), 1);
	}
	render(metrics, &out);
	assert_contains(out.data, "{method=\"m2\",code=\"OK\"} 1\n");
	assert_null(strstr(out.data, "m3"));
	assert_contains(out.data, "{method=\"other\",code=\"other\"} 997\n");
	buffer_clear(&out);
	metrics_free(metrics);
}

static void
copy_depth(void *cookie)
{
	metric_set(cookie, metric_value(cookie) + 7);
}

static void
collect_functions_run_before_each_rendering(void **state)
{
	struct metrics *metrics = metrics_new();
	struct metric *gauge = metrics_single(metrics, &depth);
	struct buffer out;

	(void)state;
	metrics_on_collect(metrics, copy_depth, gauge);
	assert_contains(render(metrics, &out), "toolroot_queue_depth 7\n");
	buffer_clear(&out);
	assert_contains(render(metrics, &out), "toolroot_queue_depth 14\n");
	buffer_clear(&out);
	metrics_free(metrics);
}

static void
rendering_past_the_limit_fails(void **state)
{
	struct metrics *metrics = metrics_new();
	struct buffer out;

	(void)state;
	metrics_single(metrics, &depth);
	buffer_init(&out, 20);
	assert_int_equal(metrics_render(metrics, &out), -1);
	buffer_clear(&out);
	metrics_free(metrics);
}

#define THREADS 4
#define ROUNDS 20000

static void *
count_much(void *cookie)
{
	struct metric_family *family = cookie;
	const char *values[] = {"Read"};

	for (int i = 0; i < ROUNDS; i++)
		metric_observe(metric_series(family, values), 1500);
	return NULL;
}

static void
nothing_is_lost_between_threads_and_a_renderer(void **state)
{
	struct metrics *metrics = metrics_new();
	struct metric_family *family = metrics_register(metrics, &duration);
	pthread_t threads[THREADS];
	struct buffer out;
	char wanted[80];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, count_much, family), 0);
	for (int i = 0; i < 20; i++) {
		buffer_init(&out, 1 << 20);
		assert_int_equal(metrics_render(metrics, &out), 0);
		buffer_clear(&out);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	snprintf(wanted, sizeof(wanted), "_count{method=\"Read\"} %d\n",
	    THREADS * ROUNDS);
	assert_contains(render(metrics, &out), wanted);
	buffer_clear(&out);
	metrics_free(metrics);
}

static void
finished_rpcs_are_counted_by_method_and_code(void **state)
{
	static const struct rpc_method methods[] = {{.path = "/a.Store/Read"},
	    {.path = "/a.Store/Write"},
	    {.path = "/google.bytestream.ByteStream/Read"}};
	struct metrics *metrics = metrics_new();
	struct rpc_metrics *rpc = rpc_metrics_new(metrics, methods, 3);
	struct buffer out;

	(void)state;
	rpc_metrics_count(rpc, STR("/a.Store/Read"),
	    &(struct rpc_outcome){0, 50000, 10, 1000, RPC_NOTE_IDENTITY});
	rpc_metrics_count(rpc, STR("/a.Store/Read"),
	    &(struct rpc_outcome){5, 1500000, 11, 0, RPC_NOTE_IDENTITY});
	rpc_metrics_count(
	    rpc, STR("/no/such"), &(struct rpc_outcome){.status = 12});
	rpc_metrics_count(
	    rpc, STR("/a.Store/Write"), &(struct rpc_outcome){.status = 99});
	rpc_metrics_count(rpc, STR("/google.bytestream.ByteStream/Read"),
	    &(struct rpc_outcome){0, 1, 7, 500, RPC_NOTE_ZSTD});
	render(metrics, &out);
	assert_contains(out.data,
	    "toolroot_rpc_requests_total{method=\"a.Store/Read\","
	    "code=\"OK\"} 1\n");
	assert_contains(
	    out.data, "{method=\"a.Store/Read\",code=\"NOT_FOUND\"} 1\n");
	assert_contains(
	    out.data, "{method=\"other\",code=\"UNIMPLEMENTED\"} 1\n");
	assert_contains(
	    out.data, "{method=\"a.Store/Write\",code=\"UNKNOWN\"} 1\n");
	assert_contains(out.data, "{method=\"a.Store/Write\",code=\"OK\"} 0\n");
	assert_contains(out.data,
	    "toolroot_rpc_duration_seconds_bucket{method=\"a.Store/Read\","
	    "le=\"0.0001\"} 1\n");
	assert_contains(
	    out.data, "{method=\"a.Store/Read\",le=\"0.0032\"} 2\n");
	assert_contains(out.data, "le=\"320\"} ");
	assert_contains(out.data,
	    "toolroot_rpc_received_bytes_total{method=\"a.Store/Read\","
	    "compression=\"identity\"} 21\n");
	assert_contains(out.data,
	    "toolroot_rpc_sent_bytes_total{method="
	    "\"google.bytestream.ByteStream/Read\",compression=\"zstd\"} "
	    "500\n");
	buffer_clear(&out);
	rpc_metrics_free(rpc);
	metrics_free(metrics);
}

static void
report_much(struct status_report *report, void *cookie)
{
	report->not_ready = cookie;
	report->started_ns = 1500000000;
	report->store.bytes = UINT64_C(1) << 60;
	report->store.dropped = 2;
	report->execution.scheduler.slots_busy = 3;
	report->execution.scheduler.stages[LEASE_RUNNING] = 4;
	report->execution.scheduler.sandboxes[SANDBOX_KIND_NAMESPACES] = 2;
	report->store.lookups.incomplete = 7;
}

static void
the_status_report_is_shown_as_metrics(void **state)
{
	struct metrics *metrics = metrics_new();
	struct server_metrics *server =
	    server_metrics_new(metrics, report_much, NULL);
	struct buffer out;

	(void)state;
	render(metrics, &out);
	assert_contains(out.data,
	    "toolroot_build_info{version=\"" TOOLROOT_VERSION "\"} 1\n");
	assert_contains(out.data, "\ntoolroot_ready 1\n");
	assert_contains(
	    out.data, "\ntoolroot_store_bytes 1152921504606846976\n");
	assert_contains(out.data,
	    "# TYPE toolroot_store_dropped_blobs_total counter\n"
	    "toolroot_store_dropped_blobs_total 2\n");
	assert_contains(out.data, "\ntoolroot_worker_slots_busy 3\n");
	assert_contains(
	    out.data, "\ntoolroot_operations{stage=\"running\"} 4\n");
	assert_contains(
	    out.data, "\ntoolroot_operations{stage=\"queued\"} 0\n");
	assert_contains(
	    out.data, "\ntoolroot_workers{sandbox=\"namespaces\"} 2\n");
	assert_contains(out.data,
	    "\ntoolroot_action_cache_lookups_total{result=\"incomplete\"} "
	    "7\n");
	buffer_clear(&out);
	server_metrics_free(server);
	metrics_free(metrics);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(counters_and_gauges_render_with_help_and_type),
	    cmocka_unit_test(label_values_are_escaped),
	    cmocka_unit_test(
		histogram_buckets_are_cumulative_and_bounds_inclusive),
	    cmocka_unit_test(
		label_sets_beyond_the_limit_share_the_series_other),
	    cmocka_unit_test(collect_functions_run_before_each_rendering),
	    cmocka_unit_test(rendering_past_the_limit_fails),
	    cmocka_unit_test(nothing_is_lost_between_threads_and_a_renderer),
	    cmocka_unit_test(finished_rpcs_are_counted_by_method_and_code),
	    cmocka_unit_test(the_status_report_is_shown_as_metrics),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
