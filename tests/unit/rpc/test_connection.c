/* SPDX-License-Identifier: Apache-2.0 */
/* Which sockets of this process are shut down: by listening address, by peer
 * in the form that gRPC gives it, and only those whose peer takes nothing. */
#include "tests/unit/rpc/fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "rpc/connection.h"
#include "rpc/deaf_watch.h"
#include "tests/unit/rpc/descriptors.h"

/* A connection over loopback. */
struct link {
	char listen[128];
	char peer[RPC_PEER_MAX];
	int listener;
	int accepted;
	int client;
	atomic_size_t reads; /* of read_on */
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
link_open_unix(struct link *link)
{
	union address address = {.local = {.sun_family = AF_UNIX}};

	snprintf(address.local.sun_path, sizeof(address.local.sun_path),
	    "/tmp/rpc-connection-%d.socket", getpid());
	snprintf(link->listen, sizeof(link->listen), "unix:%s",
	    address.local.sun_path);
	snprintf(link->peer, sizeof(link->peer), "unix:");
	link->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(
	    bind(link->listener, &address.any, sizeof(address.local)), 0);
	link_connect(link, &address, sizeof(address.local));
	unlink(address.local.sun_path);
}

static void
link_close(struct link *link)
{
	close(link->client);
	close(link->accepted);
	close(link->listener);
}

/* Until the peer has no room for more, also once what was on its way has
 * arrived. */
static void
link_fill(const struct link *link)
{
	static const char bytes[65536];
	struct pollfd room = {.fd = link->accepted, .events = POLLOUT};

	do {
		while (write(link->accepted, bytes, sizeof(bytes)) > 0)
			continue;
		assert_int_equal(errno, EAGAIN);
	} while (poll(&room, 1, 20) == 1);
}

/* The client sees an end, after all that was sent: now, or when it has waited
 * for what may still be on its way. */
static bool
link_ends(const struct link *link, bool wait)
{
	static char bytes[65536];
	const struct timeval patient = {.tv_sec = 60};
	ssize_t got;

	assert_int_equal(setsockopt(link->client, SOL_SOCKET, SO_RCVTIMEO,
			     &patient, sizeof(patient)),
	    0);
	while ((got = recv(link->client, bytes, sizeof(bytes),
		    wait ? 0 : MSG_DONTWAIT)) > 0)
		continue;
	return got == 0;
}

static struct deaf_watch watch;
static int64_t now_ms;

static size_t
cut_now(const struct link *link, const char *peer)
{
	char peers[2][RPC_PEER_MAX] = {"ipv4:192.0.2.1:8"};
	const struct rpc_connection_choice choice = {
	    .listen = "127.0.0.1:1",
	    .local = link->listen,
	    .peers = peers,
	    .count = 2,
	};

	snprintf(peers[1], sizeof(peers[1]), "%s", peer);
	rpc_connection_watch(&watch, &choice);
	return deaf_watch_cut(&watch, now_ms);
}

/* Within some seconds. */
static size_t
cut_one(const struct link *link, const char *peer)
{
	size_t ended = 0;

	for (int i = 0; i < 3 * DEAF_LOOKS; i++, now_ms += DEAF_MS)
		ended += cut_now(link, peer);
	return ended;
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
	assert_true(link_ends(&link, true));
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
	struct link link;

	(void)state;
	link_open_unix(&link);
	assert_int_equal(cut_one(&link, "unix:"), 0);
	link_fill(&link);
	assert_int_equal(cut_one(&link, "ipv4:127.0.0.1:9"), 0);
	assert_int_equal(cut_one(&link, "unix:"), 1);
	assert_true(link_ends(&link, true));
	link_close(&link);
}

/* --- how it is known that a peer is deaf ----------------------------------
 */

/* Until there is room for more. */
static void
link_read(const struct link *link)
{
	static char bytes[65536];
	struct pollfd room = {.fd = link->accepted, .events = POLLOUT};

	do {
		assert_true(read(link->client, bytes, sizeof(bytes)) > 0);
	} while (poll(&room, 1, 0) == 0);
}

/* Each time that it is looked at it can take no more. */
static void
check_slow_reader(struct link *link)
{
	link_fill(link);
	for (int i = 0; i < 20; i++) {
		for (int j = 0; j < DEAF_LOOKS - 1; j++, now_ms += DEAF_MS)
			assert_int_equal(cut_now(link, link->peer), 0);
		link_read(link);
		link_fill(link);
	}
	/* Then it stops. */
	for (int j = 0; j < DEAF_LOOKS - 1; j++, now_ms += DEAF_MS)
		assert_int_equal(cut_now(link, link->peer), 0);
	assert_int_equal(cut_now(link, link->peer), 1);
}

static void
a_peer_that_takes_something_is_not_cut_off(void **state)
{
	struct link link;

	(void)state;
	link_open(&link, "127.0.0.1", "ipv4:127.0.0.1");
	check_slow_reader(&link);
	link_close(&link);
}

/* As much as there is room for, once. */
static size_t
link_refill(const struct link *link)
{
	static char bytes[65536];
	size_t sent = 0;
	ssize_t got;

	while (recv(link->client, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		continue;
	while ((got = write(link->accepted, bytes, sizeof(bytes))) > 0)
		sent += (size_t)got;
	return sent;
}

/* One that has read everything each time, and has as much to read again. */
static void
a_unix_socket_that_is_as_full_each_time_is_not_cut_off(void **state)
{
	struct link link;
	size_t full, fulls = 0, less = 0;

	(void)state;
	link_open_unix(&link);
	full = link_refill(&link);
	for (int i = 0; i < 20 * DEAF_LOOKS; i++, now_ms += DEAF_MS) {
		size_t sent = link_refill(&link);

		/* Where it is held there is room for less. */
		*(sent == full ? &fulls : &less) += 1;
		assert_int_equal(cut_now(&link, link.peer), 0);
	}
	assert_true(fulls > 15 * DEAF_LOOKS);
	assert_true(less > 5);
	/* Nobody looks any more. */
	deaf_watch_release(&watch);
	assert_int_equal(watch.held, 0);
	link_refill(&link);
	assert_int_equal(link_refill(&link), full);
	link_close(&link);
}

static int
room_of(const struct link *link)
{
	int room = 0;
	socklen_t len = sizeof(room);

	assert_int_equal(
	    getsockopt(link->accepted, SOL_SOCKET, SO_SNDBUF, &room, &len), 0);
	return room;
}

static void
link_hold(struct link *link)
{
	link_refill(link);
	for (int i = 0; i < DEAF_LOOKS; i++, now_ms += DEAF_MS)
		assert_int_equal(cut_now(link, link->peer), 0);
	assert_int_equal(watch.held, 1);
}

/* What gRPC waits for. */
static bool
is_told_of_room(int epoll)
{
	struct epoll_event event;

	return epoll_wait(epoll, &event, 1, 0) == 1;
}

/* Whoever waits to send to one that was held goes on by itself. */
static void
a_unix_socket_that_was_held_has_its_room_back(void **state)
{
	struct epoll_event wait = {.events = EPOLLOUT | EPOLLET};
	int epoll = epoll_create1(EPOLL_CLOEXEC), room, queued;
	static char bytes[4096];
	struct link link;

	(void)state;
	link_open_unix(&link);
	room = room_of(&link);
	link_hold(&link);
	assert_true(room_of(&link) < room);
	assert_int_equal(
	    epoll_ctl(epoll, EPOLL_CTL_ADD, link.accepted, &wait), 0);
	/* Its peer takes so much that there would be room for more. */
	do {
		assert_true(read(link.client, bytes, sizeof(bytes)) > 0);
		assert_int_equal(ioctl(link.accepted, SIOCOUTQ, &queued), 0);
	} while (queued * 4 > room);
	assert_true(queued > room_of(&link));
	assert_false(is_told_of_room(epoll));
	assert_int_equal(cut_now(&link, link.peer), 0);
	assert_int_equal(watch.held, 0);
	assert_int_equal(room_of(&link), room);
	assert_true(is_told_of_room(epoll));
	/* Not watched, not held. */
	link_hold(&link);
	assert_int_equal(cut_now(&link, "ipv4:127.0.0.1:9"), 0);
	assert_int_equal(watch.held, 0);
	assert_int_equal(room_of(&link), room);
	/* Closed while it is held; its number is another's. */
	link_hold(&link);
	link_close(&link);
	link_open_unix(&link);
	assert_int_equal(cut_now(&link, link.peer), 0);
	assert_int_equal(watch.held, 0);
	assert_int_equal(room_of(&link), room);
	link_close(&link);
	close(epoll);
}

/* Nothing is watched any more when memory is not short; one that is held is
 * nevertheless. */
static void
who_is_held_is_cut_or_released_in_the_end(void **state)
{
	struct link link;
	int room;

	(void)state;
	link_open_unix(&link);
	room = room_of(&link);
	link_hold(&link);
	for (int i = 0; i < DEAF_LOOKS - 2; i++, now_ms += DEAF_MS)
		assert_int_equal(deaf_watch_cut_held(&watch, now_ms), 0);
	link_read(&link);
	assert_int_equal(deaf_watch_cut_held(&watch, now_ms), 0);
	assert_int_equal(watch.held, 0);
	assert_int_equal(room_of(&link), room);
	/* No longer held, and no longer looked at. */
	link_refill(&link);
	for (int i = 0; i < 3 * DEAF_LOOKS; i++, now_ms += DEAF_MS)
		assert_int_equal(deaf_watch_cut_held(&watch, now_ms), 0);
	link_hold(&link);
	for (int i = 0; i < DEAF_LOOKS - 2; i++, now_ms += DEAF_MS)
		assert_int_equal(deaf_watch_cut_held(&watch, now_ms), 0);
	assert_int_equal(deaf_watch_cut_held(&watch, now_ms), 1);
	assert_int_equal(watch.held, 0);
	assert_true(link_ends(&link, true));
	link_close(&link);
}

static void
one_look_says_nothing_however_late(void **state)
{
	struct link link;

	(void)state;
	link_open(&link, "127.0.0.1", "ipv4:127.0.0.1");
	link_fill(&link);
	assert_int_equal(cut_now(&link, link.peer), 0);
	/* Nor do many at one moment. */
	for (int i = 0; i < 10; i++)
		assert_int_equal(cut_now(&link, link.peer), 0);
	now_ms += DEAF_MS - 1;
	assert_int_equal(cut_now(&link, link.peer), 0);
	link_close(&link);
	/* Another has its number now. */
	link_open(&link, "127.0.0.1", "ipv4:127.0.0.1");
	link_fill(&link);
	now_ms += DEAF_MS;
	assert_int_equal(cut_now(&link, link.peer), 0);
	link_close(&link);
}

static void *
read_on(void *argument)
{
	static char bytes[1 << 20];
	struct link *link = argument;

	while (read(link->client, bytes, sizeof(bytes)) > 0)
		atomic_fetch_add(&link->reads, 1);
	return NULL;
}

static void *
write_on(void *argument)
{
	static const char bytes[65536];
	const struct link *link = argument;
	struct pollfd room = {.fd = link->accepted, .events = POLLOUT};

	for (;;) {
		while (send(link->accepted, bytes, sizeof(bytes),
			   MSG_NOSIGNAL) > 0)
			continue;
		if (errno != EAGAIN)
			return NULL;
		poll(&room, 1, -1);
	}
}

/* Until the end, or the peer is cut off; then returns the longest time in which
 * it was not seen to read, or 0. */
static int64_t
look_on(struct link *link, int64_t end_ms)
{
	int64_t read_ms = clock_monotonic_ms(), longest_ms = 1;
	size_t reads = 0;

	while ((now_ms = clock_monotonic_ms()) < end_ms) {
		if (now_ms - read_ms > longest_ms)
			longest_ms = now_ms - read_ms;
		if (cut_now(link, link->peer) > 0)
			return longest_ms;
		if (reads != atomic_load(&link->reads)) {
			reads = atomic_load(&link->reads);
			read_ms = now_ms;
		}
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	return 0;
}

/* Whatever there is room for is sent at once. It may be cut off only when this
 * machine did not let it run. */
static void
check_fast_reader(struct link *link)
{
	int64_t end_ms = clock_monotonic_ms() + 20 * (int64_t)DEAF_MS;
	pthread_t reader, writer;
	int64_t idle_ms;

	assert_int_equal(pthread_create(&reader, NULL, read_on, link), 0);
	assert_int_equal(pthread_create(&writer, NULL, write_on, link), 0);
	idle_ms = look_on(link, end_ms);
	shutdown(link->accepted, SHUT_RDWR);
	assert_int_equal(pthread_join(writer, NULL), 0);
	assert_int_equal(pthread_join(reader, NULL), 0);
	if (idle_ms > 0 && idle_ms < DEAF_MS / 2)
		fail_msg("%s was cut off and had read every %d ms", link->peer,
		    (int)idle_ms);
	link_close(link);
}

static void
a_peer_that_reads_fast_is_not_cut_off(void **state)
{
	struct link link;

	(void)state;
	link_open(&link, "127.0.0.1", "ipv4:127.0.0.1");
	check_fast_reader(&link);
	link_open_unix(&link);
	check_fast_reader(&link);
}

static void
without_free_descriptors_the_deaf_are_found(void **state)
{
	struct descriptors all;
	struct link link;

	(void)state;
	link_open(&link, "127.0.0.1", "ipv4:127.0.0.1");
	link_fill(&link);
	descriptors_take_all(&all);
	assert_int_equal(cut_one(&link, link.peer), 1);
	descriptors_give_back(&all);
	link_close(&link);
}

static void
all_of_an_address_are_cut_and_no_others(void **state)
{
	struct link one, other;

	(void)state;
	link_open(&one, "127.0.0.1", "ipv4:127.0.0.1");
	link_open(&other, "127.0.0.1", "ipv4:127.0.0.1");
	rpc_connection_cut_all(one.listen);
	assert_true(link_ends(&one, true));
	assert_false(link_ends(&other, false));
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
	    cmocka_unit_test(a_peer_that_takes_something_is_not_cut_off),
	    cmocka_unit_test(
		a_unix_socket_that_is_as_full_each_time_is_not_cut_off),
	    cmocka_unit_test(a_unix_socket_that_was_held_has_its_room_back),
	    cmocka_unit_test(who_is_held_is_cut_or_released_in_the_end),
	    cmocka_unit_test(one_look_says_nothing_however_late),
	    cmocka_unit_test(a_peer_that_reads_fast_is_not_cut_off),
	    cmocka_unit_test(without_free_descriptors_the_deaf_are_found),
	    cmocka_unit_test(all_of_an_address_are_cut_and_no_others),
	};
	int failed;

	rpc_init();
	deaf_watch_init(&watch);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	deaf_watch_clear(&watch);
	rpc_shutdown();
	return failed;
}
