/* SPDX-License-Identifier: Apache-2.0 */
/* Which sockets of this process are shut down: by listening address, by peer
 * in the form that gRPC gives it, and only those that can take no more. */
#include "tests/unit/rpc/fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "rpc/connection.h"

/* A connection over loopback. */
struct link {
	char listen[128];
	char peer[RPC_PEER_MAX];
	int listener;
	int accepted;
	int client;
};

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un local;
};

static void
link_connect(struct link *link, union address *address, socklen_t len)
{
	struct sockaddr *any = &address->any;

	assert_int_equal(listen(link->listener, 8), 0);
	link->client = socket(any->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(link->client, any, len), 0);
	link->accepted =
	    accept4(link->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(link->accepted >= 0);
}

static void
link_open(struct link *link, const char *host, const char *peer_form)
{
	union address address = {.v6 = {.sin6_family = AF_INET6}};
	socklen_t len = sizeof(address.v6);
	bool v4 = strchr(host, ':') == NULL;

	if (v4) {
		address.v4 = (struct sockaddr_in){.sin_family = AF_INET};
		len = sizeof(address.v4);
		assert_int_equal(
		    inet_pton(AF_INET, host, &address.v4.sin_addr), 1);
	} else
		assert_int_equal(
		    inet_pton(AF_INET6, host, &address.v6.sin6_addr), 1);
	link->listener =
	    socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(
	    link->listener, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
	assert_int_equal(bind(link->listener, &address.any, len), 0);
	assert_int_equal(getsockname(link->listener, &address.any, &len), 0);
	/* Both have the port at the same place. */
	snprintf(link->listen, sizeof(link->listen), "%s:%d", host,
	    ntohs(address.v4.sin_port));
	link_connect(link, &address, len);
	assert_int_equal(getsockname(link->client, &address.any, &len), 0);
	snprintf(link->peer, sizeof(link->peer), "%s:%d", peer_form,
	    ntohs(address.v4.sin_port));
}

static void
link_close(struct link *link)
{
	close(link->client);
	close(link->accepted);
	close(link->listener);
}

/* Until the peer has no room for more. */
static void
link_fill(const struct link *link)
{
	static const char bytes[65536];

	while (write(link->accepted, bytes, sizeof(bytes)) > 0)
		continue;
	assert_int_equal(errno, EAGAIN);
}

/* Does the client see an end, after all that was sent? */
static bool
link_has_ended(const struct link *link)
{
	static char bytes[65536];
	ssize_t got;

	fcntl(link->client, F_SETFL, O_NONBLOCK);
	while ((got = read(link->client, bytes, sizeof(bytes))) > 0)
		continue;
	return got == 0;
}

static size_t
cut_one(const struct link *link, const char *peer)
{
	char peers[1][RPC_PEER_MAX];

	snprintf(peers[0], sizeof(peers[0]), "%s", peer);
	return rpc_connection_cut_deaf(link->listen, peers, 1);
}

static void
check_deaf(const char *host, const char *peer_form)
{
	struct link link;

	link_open(&link, host, peer_form);
	/* It takes what is sent. */
	assert_int_equal(cut_one(&link, link.peer), 0);
	link_fill(&link);
	assert_int_equal(cut_one(&link, "ipv4:192.0.2.1:9"), 0);
	assert_int_equal(cut_one(&link, "ipv6:%5B2001:db8::1%5D:9"), 0);
	assert_int_equal(cut_one(&link, "nonsense"), 0);
	assert_int_equal(cut_one(&link, "unix:"), 0);
	assert_int_equal(cut_one(&link, link.peer), 1);
	assert_true(link_has_ended(&link));
	link_close(&link);
}

static void
a_peer_that_takes_nothing_is_cut_off(void **state)
{
	(void)state;
	check_deaf("127.0.0.1", "ipv4:127.0.0.1");
}

static void
so_is_one_with_an_ipv6_address(void **state)
{
	struct rpc_server_options options;
	struct error err;
	char out[200];

	(void)state;
	memset(&fixture, 0, sizeof(fixture));
	fixture.pool = thread_pool_new(1);
	options = fixture_options("[::1]:0");
	fixture.server = rpc_server_new(&options, &err);
	if (fixture.server == NULL) {
		thread_pool_free(fixture.pool);
		skip(); /* this machine has none */
	}
	rpc_server_free(fixture.server);
	fixture_start(&options);
	fixture.channel = open_channel();
	/* The form in which gRPC names it. */
	assert_int_equal(call_text(fixture.channel, "/t.T/Describe", "",
			     &patience, out, sizeof(out), &err),
	    0);
	assert_non_null(strstr(out, "|ipv6:%5B::1%5D:"));
	fixture_teardown(state);
	check_deaf("::1", "ipv6:%5B::1%5D");
	check_deaf("::1", "ipv6:%5B::1%25lo%5D");
}

static void
so_is_an_ipv4_peer_of_an_ipv6_socket(void **state)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	if (fd == -1)
		skip();
	close(fd);
	check_deaf("::ffff:127.0.0.1", "ipv4:127.0.0.1");
}

static void
peers_of_a_unix_socket_stand_for_each_other(void **state)
{
	union address address = {.local = {.sun_family = AF_UNIX}};
	struct link link;

	(void)state;
	snprintf(address.local.sun_path, sizeof(address.local.sun_path),
	    "/tmp/rpc-connection-%d.socket", getpid());
	snprintf(link.listen, sizeof(link.listen), "unix:%s",
	    address.local.sun_path);
	link.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(
	    bind(link.listener, &address.any, sizeof(address.local)), 0);
	link_connect(&link, &address, sizeof(address.local));
	assert_int_equal(cut_one(&link, "unix:"), 0);
	link_fill(&link);
	assert_int_equal(cut_one(&link, "ipv4:127.0.0.1:9"), 0);
	assert_int_equal(cut_one(&link, "unix:"), 1);
	assert_true(link_has_ended(&link));
	link_close(&link);
	unlink(address.local.sun_path);
}

static void
all_of_an_address_are_cut_and_no_others(void **state)
{
	struct link one, other;

	(void)state;
	link_open(&one, "127.0.0.1", "ipv4:127.0.0.1");
	link_open(&other, "127.0.0.1", "ipv4:127.0.0.1");
	rpc_connection_cut_all(one.listen);
	assert_true(link_has_ended(&one));
	assert_false(link_has_ended(&other));
	link_close(&one);
	link_close(&other);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_peer_that_takes_nothing_is_cut_off),
	    cmocka_unit_test(so_is_one_with_an_ipv6_address),
	    cmocka_unit_test(so_is_an_ipv4_peer_of_an_ipv6_socket),
	    cmocka_unit_test(peers_of_a_unix_socket_stand_for_each_other),
	    cmocka_unit_test(all_of_an_address_are_cut_and_no_others),
	};
	int failed;

	rpc_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rpc_shutdown();
	return failed;
}
