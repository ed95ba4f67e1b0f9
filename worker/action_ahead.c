/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that waits on a socket; what stops it comes back through that. It
 * has our memory, errno included, until it executes: so only one of us runs
 * where it matters. It runs while the caller waits for it to be fenced in, and
 * from the order to go, when the caller only polls.
 */
#include "worker/action_ahead.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "worker/action_process.h"
#include "worker/fd_message.h"

#define STACK ((size_t)64 << 10)

/* Of the descriptors that come with what to run. */
enum order_fd {
	ORDER_FD_STDOUT,
	ORDER_FD_STDERR,
	ORDER_FD_COUNT,
};

struct waiting {
	const struct action_fence *fence;
	int network;
	int socket;
};

/* Does not return: without orders there is nothing to do. */
static _Noreturn void
fail(int socket, const struct action_failure *failure)
{
	(void)!send(socket, failure, sizeof(*failure), MSG_NOSIGNAL);
	_exit(127);
}

/* What is to run is in the memory that we share. Exits where the caller is
 * gone: it sees that we have ended. */
static void
receive_order(int socket, struct action_process *process)
{
	struct fd_message message = {.data = process, .len = sizeof(*process)};
	struct error err;
	char go;

	if (fd_message_receive(socket, &message, &err) != 1 ||
	    message.fd_count != ORDER_FD_COUNT ||
	    recv(socket, &go, sizeof(go), 0) != sizeof(go))
		_exit(127);
	process->stdout_fd = message.fds[ORDER_FD_STDOUT];
	process->stderr_fd = message.fds[ORDER_FD_STDERR];
}

static int
child_main(void *cookie)
{
	const struct waiting *waiting = cookie;
	struct action_failure failure = {ACTION_STEP_NONE, 0};
	struct action_process process;
	int socket = waiting->socket;

	if (waiting->network != -1 &&
	    setns(waiting->network, CLONE_NEWNET) == -1)
		failure = (struct action_failure){ACTION_STEP_FENCE, errno};
	/* Those of the first process are none of ours. */
	else if ((socket > 3 &&
		     close_range(3, (unsigned)socket - 1, 0) == -1) ||
		 close_range((unsigned)socket + 1, ~0U, 0) == -1)
		failure = (struct action_failure){ACTION_STEP_FENCE, errno};
	else
		action_process_fence(waiting->fence, &failure);
	/* So the caller knows that we are done with the memory for now. */
	(void)!send(socket, &failure, sizeof(failure), MSG_NOSIGNAL);
	if (failure.step != ACTION_STEP_NONE)
		return 127;
	receive_order(socket, &process);
	action_process_become(&process, &failure);
	fail(socket, &failure);
}

#if defined(__has_feature)
#define HAS_FEATURE(name) __has_feature(name)
#else
#define HAS_FEATURE(name) 0
#endif

bool
action_ahead_possible(void)
{
#if defined(__SANITIZE_THREAD__) || HAS_FEATURE(thread_sanitizer)
	return false;
#else
	return true;
#endif
}

int
action_ahead_fork(struct action_ahead *ahead, const struct action_fence *fence,
    int network, struct error *err)
{
	static _Alignas(16) char stack[STACK];
	struct waiting waiting = {.fence = fence, .network = network};
	struct action_failure failure;
	int pair[2];

	*ahead = ACTION_AHEAD_NONE;
	if (fd_message_pair(pair, err) < 0)
		return -1;
	waiting.socket = pair[1];
	/* With a copy of our memory it would take as long again to let go of
	 * that when it executes. */
	ahead->pid = clone(
	    child_main, stack + sizeof(stack), CLONE_VM | SIGCHLD, &waiting);
	file_close(&pair[1]);
	ahead->socket = pair[0];
	if (ahead->pid == -1) {
		error_set_errno(err, errno, "make a process for the action");
	} else if (recv(ahead->socket, &failure, sizeof(failure), 0) !=
		   sizeof(failure)) {
		error_set(err, ERROR_INTERNAL,
		    "the process made for an action has died");
	} else if (failure.step != ACTION_STEP_NONE) {
		error_set_errno(
		    err, failure.number, "fence in an action's process");
	} else {
		return 0;
	}
	action_ahead_kill(ahead);
	return -1;
}

int
action_ahead_tell(struct action_ahead *ahead,
    const struct action_process *process, struct error *err)
{
	struct action_process order = *process;
	const struct fd_message message = {.data = &order,
	    .len = sizeof(order),
	    .fds = {[ORDER_FD_STDOUT] = process->stdout_fd,
		[ORDER_FD_STDERR] = process->stderr_fd},
	    .fd_count = ORDER_FD_COUNT};

	return fd_message_send(ahead->socket, &message, err);
}

int
action_ahead_go(struct action_ahead *ahead, struct error *err)
{
	char go = 1;
	const struct fd_message message = {.data = &go, .len = sizeof(go)};

	return fd_message_send(ahead->socket, &message, err);
}

int
action_ahead_end(
    struct action_ahead *ahead, const struct run_spec *spec, struct error *err)
{
	struct action_failure failure;
	ssize_t len =
	    recv(ahead->socket, &failure, sizeof(failure), MSG_DONTWAIT);

	file_close(&ahead->socket);
	/* The end of the other side: it was closed when the program ran. */
	if (len != sizeof(failure))
		return 0;
	return action_process_explain(spec, &failure, err);
}

void
action_ahead_kill(struct action_ahead *ahead)
{
	if (ahead->pid > 0) {
		kill(ahead->pid, SIGKILL);
		while (waitpid(ahead->pid, NULL, 0) == -1 && errno == EINTR)
			;
	}
	file_close(&ahead->socket);
	*ahead = ACTION_AHEAD_NONE;
}
