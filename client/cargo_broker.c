/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that accepts, and one for each call. */
#include "client/cargo_broker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/condition.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/cargo_message.h"
#include "client/cargo_session.h"
#include "client/cargo_unit.h"

#define CALLS_MAX 256
#define BACKLOG 128
/* A shim writes its call at once and reads the answer at once. */
#define SOCKET_SECONDS 60
/* Until a descriptor may be free again. */
#define PAUSE_MS 100
/* For answers that nobody waits for. */
#define STOP_SECONDS 2
#define DIRECTORY "toolroot-cargo-XXXXXX"
#define SOCKET "socket"

struct cargo_broker {
	struct cargo_session *session;
	char *directory;
	char *address;
	int socket;
	int wake[2]; /* closed at the writing end: stop */
	pthread_t acceptor;
	/* Guards calls. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t calls; /* threads that are answering */
};

struct connection {
	struct cargo_broker *broker;
	int fd;
};

/* --- a call --------------------------------------------------------------- */

/* Whoever called: it becomes the compiler, or waits for it. -1 when it is gone,
 * or the kernel does not have such descriptors. */
static int
open_caller(int fd)
{
	struct ucred caller;
	socklen_t size = sizeof(caller);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &caller, &size) == -1)
		return -1;
	return (int)syscall(SYS_pidfd_open, caller.pid, 0);
}

/* The compiler has the shim's end of the socket, until it has ended; but what
 * it starts has it, too, and may stay. */
static void
await_compiler(const struct cargo_broker *broker, int fd)
{
	int caller = open_caller(fd);
	struct pollfd polled[3] = {
	    {.fd = fd, .events = POLLIN},
	    {.fd = broker->wake[0], .events = POLLIN},
	    {.fd = caller, .events = POLLIN},
	};

	while (poll(polled, 3, -1) == -1 && errno == EINTR)
		continue;
	file_close(&caller);
}

/* Cargo starts more calls than this machine should run. */
static void
send_local(struct cargo_broker *broker, int fd,
    const struct cargo_message_answer *answer)
{
	struct error ignored;

	cargo_session_begin_local(broker->session);
	if (cargo_message_send_answer(fd, answer, &ignored) == 0)
		await_compiler(broker, fd);
	cargo_session_end_local(broker->session);
}

static void
serve(struct cargo_broker *broker, int fd)
{
	struct cargo_message_answer answer;
	struct cargo_message_call call;
	/* A shim that is gone has nobody to be told; one that gets no answer
	 * runs the compiler itself. */
	struct error ignored;

	cargo_message_answer_init(&answer);
	if (cargo_message_receive_call(fd, &call, &ignored) == 0) {
		if (cargo_unit_answer(broker->session, &call, &answer))
			send_local(broker, fd, &answer);
		else
			(void)cargo_message_send_answer(fd, &answer, &ignored);
	}
	cargo_message_call_clear(&call);
	cargo_message_answer_clear(&answer);
}

static void *
run_connection(void *cookie)
{
	struct connection *connection = cookie;
	struct cargo_broker *broker = connection->broker;

	serve(broker, connection->fd);
	close(connection->fd);
	free(connection);
	pthread_mutex_lock(&broker->lock);
	broker->calls--;
	pthread_cond_signal(&broker->changed);
	pthread_mutex_unlock(&broker->lock);
	return NULL;
}

/* False when there are too many. */
static bool
take_place(struct cargo_broker *broker)
{
	bool taken;

	pthread_mutex_lock(&broker->lock);
	taken = broker->calls < CALLS_MAX;
	if (taken)
		broker->calls++;
	pthread_mutex_unlock(&broker->lock);
	return taken;
}

static void
give_place(struct cargo_broker *broker)
{
	pthread_mutex_lock(&broker->lock);
	broker->calls--;
	pthread_mutex_unlock(&broker->lock);
}

static void
start_connection(struct cargo_broker *broker, int fd)
{
	const struct timeval limit = {.tv_sec = SOCKET_SECONDS};
	struct connection *connection;
	pthread_t thread;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (!take_place(broker)) {
		close(fd);
		return;
	}
	connection = xmalloc(sizeof(*connection));
	*connection = (struct connection){broker, fd};
	if (pthread_create(&thread, NULL, run_connection, connection) == 0) {
		pthread_detach(thread);
		return;
	}
	/* The shim sees the end and runs the compiler itself. */
	close(fd);
	free(connection);
	give_place(broker);
}

static void *
accept_all(void *cookie)
{
	struct cargo_broker *broker = cookie;
	struct pollfd polled[2] = {
	    {.fd = broker->socket, .events = POLLIN},
	    {.fd = broker->wake[0], .events = POLLIN},
	};

	for (;;) {
		int fd;

		if (poll(polled, 2, -1) == -1 && errno != EINTR)
			return NULL;
		if (polled[1].revents != 0)
			return NULL;
		fd = accept4(broker->socket, NULL, NULL, SOCK_CLOEXEC);
		if (fd != -1)
			start_connection(broker, fd);
		else if (errno != EAGAIN && errno != EINTR)
			(void)poll(&polled[1], 1, PAUSE_MS);
	}
}

/* --- the socket ----------------------------------------------------------- */

/* Whether base can be one, and the path of a socket below it fits. */
static bool
suits(const char *base)
{
	return base != NULL && base[0] == '/' && access(base, W_OK) == 0 &&
	       strlen(base) + sizeof(DIRECTORY "/" SOCKET) <
		   sizeof(((struct sockaddr_un *)NULL)->sun_path);
}

static int
make_directory(struct cargo_broker *broker, struct error *err)
{
	const char *base = getenv("XDG_RUNTIME_DIR");

	broker->directory =
	    xasprintf("%s/" DIRECTORY, suits(base) ? base : "/tmp");
	if (mkdtemp(broker->directory) == NULL) {
		error_set_errno(err, errno, "make %s", broker->directory);
		free(broker->directory);
		broker->directory = NULL;
		return -1;
	}
	broker->address = xasprintf("%s/" SOCKET, broker->directory);
	return 0;
}

static int
listen_there(struct cargo_broker *broker, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, broker->address, strlen(broker->address));
	broker->socket =
	    socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (broker->socket == -1 ||
	    bind(broker->socket, (const struct sockaddr *)&address,
		sizeof(address)) == -1 ||
	    listen(broker->socket, BACKLOG) == -1)
		return error_set_errno(
		    err, errno, "listen on %s", broker->address);
	return 0;
}

static int
start_acceptor(struct cargo_broker *broker, struct error *err)
{
	sigset_t all, before;
	int number;

	if (pipe2(broker->wake, O_CLOEXEC) == -1)
		return error_set_errno(err, errno, "pipe");
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	number = pthread_create(&broker->acceptor, NULL, accept_all, broker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (number == 0)
		return 0;
	file_close(&broker->wake[0]);
	file_close(&broker->wake[1]);
	return error_set_errno(err, number, "start a thread");
}

static void
remove_socket(struct cargo_broker *broker)
{
	file_close(&broker->socket);
	if (broker->address != NULL)
		unlink(broker->address);
	if (broker->directory != NULL)
		rmdir(broker->directory);
}

static void
destroy(struct cargo_broker *broker)
{
	remove_socket(broker);
	file_close(&broker->wake[0]);
	pthread_cond_destroy(&broker->changed);
	pthread_mutex_destroy(&broker->lock);
	free(broker->address);
	free(broker->directory);
	free(broker);
}

struct cargo_broker *
cargo_broker_start(struct cargo_session *session, struct error *err)
{
	struct cargo_broker *broker = xcalloc(1, sizeof(*broker));

	broker->session = session;
	broker->socket = broker->wake[0] = broker->wake[1] = -1;
	pthread_mutex_init(&broker->lock, NULL);
	condition_init(&broker->changed);
	if (make_directory(broker, err) < 0 || listen_there(broker, err) < 0 ||
	    start_acceptor(broker, err) < 0) {
		destroy(broker);
		return NULL;
	}
	return broker;
}

const char *
cargo_broker_address(const struct cargo_broker *broker)
{
	return broker->address;
}

bool
cargo_broker_stop(struct cargo_broker *broker)
{
	int64_t until_ns;
	bool idle;

	if (broker == NULL)
		return true;
	file_close(&broker->wake[1]);
	pthread_join(broker->acceptor, NULL);
	remove_socket(broker);
	cargo_session_stop(broker->session);
	until_ns = clock_monotonic_ns() + (int64_t)STOP_SECONDS * 1000000000;
	pthread_mutex_lock(&broker->lock);
	while (broker->calls > 0 &&
	       condition_wait_until(&broker->changed, &broker->lock, until_ns))
		continue;
	idle = broker->calls == 0;
	pthread_mutex_unlock(&broker->lock);
	if (idle)
		destroy(broker);
	return idle;
}
