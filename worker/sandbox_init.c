/* SPDX-License-Identifier: Apache-2.0 */
/* Process 1: set-up, the wait for orders, reaping. Single-threaded; owns
 * nothing that outlives it. */
#include "worker/sandbox_init.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "worker/action_ahead.h"
#include "worker/action_process.h"
#include "worker/fd_message.h"
#include "worker/run_spec.h"
#include "worker/sandbox_root.h"

/* Processes and threads of the worker, where it runs as the same user. */
#define PROCESSES_FOR_OTHERS 1024

#define PRIORITY (-20)

struct sandbox_init {
	const struct sandbox_init_options *options;
	int socket;
	int signals; /* signalfd of SIGCHLD */
	struct sandbox_root root;
	int start[SANDBOX_FD_COUNT];
	struct run_spec spec;
	struct cgroup group;
	struct cgroup_usage start_usage;
	int network;   /* -1 once it was entered */
	int priority;  /* of the worker */
	int oom_score; /* our /proc/self/oom_score_adj; -1 without */
	struct action_ahead ahead; /* ready, or none */
	pid_t action;
	bool action_ended;
	struct sandbox_report report;
};

static void
reset_signals(void)
{
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Closes all descriptors above the standard streams but the socket, the
 * network's, the root's and those of the group. */
static int
close_others(const struct sandbox_init *init, struct error *err)
{
	int kept[3 + CGROUP_CONTROLLERS] = {
	    init->socket, init->network, init->options->root};
	unsigned from = 3;

	memcpy(
	    kept + 3, init->group.directories, sizeof(init->group.directories));
	for (;;) {
		unsigned next = ~0U;

		for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
			if (kept[i] >= (int)from && (unsigned)kept[i] < next)
				next = (unsigned)kept[i];
		if (next > from && close_range(from, next - 1, 0) == -1)
			return error_set_errno(err, errno, "close descriptors");
		if (next == ~0U)
			return 0;
		from = next + 1;
	}
}

/* The worker's limits, which most actions have, while nobody waits. */
static int
enter_group(struct sandbox_init *init, struct error *err)
{
	if (init->group.kind == CGROUP_NONE)
		return 0;
	if (cgroup_join(&init->group, err) < 0 ||
	    cgroup_set_limits(&init->group, &init->options->limits, err) < 0)
		return -1;
	cgroup_start(&init->group, &init->start_usage);
	return 0;
}

static int
watch_children(struct sandbox_init *init, struct error *err)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	init->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	if (init->signals == -1)
		return error_set_errno(err, errno, "watch for children");
	return 0;
}

/* From 1000, the first to be killed when memory runs out, down. */
static bool
set_oom_score(const struct sandbox_init *init, const char *score)
{
	return init->oom_score != -1 &&
	       pwrite(init->oom_score, score, strlen(score), 0) != -1;
}

/* We have to tell what happened: the action goes before us. Without privilege
 * the score that a process starts with is the lowest. */
static void
spare_ourselves(const struct sandbox_init *init)
{
	if (!set_oom_score(init, "-1000"))
		(void)set_oom_score(init, "0");
}

static struct action_fence
fence_of(const struct sandbox_init *init)
{
	return (struct action_fence){.filter = init->options->filter,
	    .tier = init->options->tier,
	    .priority = init->priority};
}

/* Both have the score that the action is to have while they share memory: one
 * that waits is no loss. */
static int
fork_ahead(struct sandbox_init *init, struct error *err)
{
	const struct action_fence fence = fence_of(init);

	if (!action_ahead_possible())
		return 0;
	(void)set_oom_score(init, "1000");
	return action_ahead_fork(&init->ahead, &fence, init->network, err);
}

/* What does not depend on the action, done while nobody waits. */
static int
prepare(struct sandbox_init *init, struct error *err)
{
	bool fenced = init->options->tier != SANDBOX_NONE;

	/* Also ends us when the spawner died before this line: then the
	 * socket is closed. Without namespaces that is all that ends us: the
	 * action's processes would outlive us. */
	if (fenced && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == -1)
		return error_set_errno(err, errno, "follow the spawner");
	reset_signals();
	if (close_others(init, err) < 0 || watch_children(init, err) < 0 ||
	    enter_group(init, err) < 0)
		return -1;
	/* Where the action runs thousands of processes, the order to end them
	 * must not wait for its turn; without root it has to. */
	init->priority = getpriority(PRIO_PROCESS, 0);
	(void)setpriority(PRIO_PROCESS, 0, PRIORITY);
	init->oom_score =
	    open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	spare_ourselves(init);
	if (!fenced) {
		if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == -1)
			return error_set_errno(err, errno, "adopt orphans");
		return 0;
	}
	/* The group is then "/", wherever the host has it. */
	if (unshare(CLONE_NEWCGROUP) == -1)
		return error_set_errno(err, errno, "hide the control group");
	/* /proc/1 of a sandbox shows an action nothing of us. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1)
		return error_set_errno(err, errno, "hide process 1");
	if (sethostname("toolroot", 8) == -1)
		return error_set_errno(err, errno, "set the host name");
	if (sandbox_root_enter(&init->root, init->options->root, err) < 0)
		return -1;
	return fork_ahead(init, err);
}

/* 1, 0 when the worker is gone, -1. */
static int
receive(struct sandbox_init *init, struct fd_message *message,
    enum sandbox_request_kind expected, struct error *err)
{
	struct sandbox_request request;
	int rc;

	message->data = &request;
	message->len = sizeof(request);
	rc = fd_message_receive(init->socket, message, err);
	if (rc == 1 && request.kind != expected)
		return error_set(err, ERROR_INTERNAL,
		    "the sandbox got message %d instead of %d",
		    (int)request.kind, (int)expected);
	return rc;
}

static int
receive_start(struct sandbox_init *init, struct error *err)
{
	struct fd_message message;
	int rc = receive(init, &message, SANDBOX_START, err);

	if (rc <= 0)
		return rc;
	if (message.fd_count < SANDBOX_FD_COUNT ||
	    message.fd_count > SANDBOX_FD_COUNT + SANDBOX_KEPT_MAX)
		return error_set(err, ERROR_INTERNAL,
		    "the sandbox got %zu descriptors to start with",
		    message.fd_count);
	memcpy(init->start, message.fds, sizeof(init->start));
	if (run_spec_read(init->start[SANDBOX_FD_SPEC], &init->spec, err) < 0)
		return -1;
	return 1;
}

/* The detached mounts that the spec counts, attached as they come. */
static int
attach_sent_mounts(
    struct sandbox_init *init, struct sandbox_root *root, struct error *err)
{
	struct fd_message message = {.fd_count = 0};
	size_t next = 0;
	int rc = 0;

	for (size_t i = 0; i < init->spec.mount_count && rc == 0; i++) {
		if (init->spec.mounts[i].kind != RUN_MOUNT_FD)
			continue;
		if (next == message.fd_count) {
			fd_message_close(&message);
			next = 0;
			rc = receive(init, &message, SANDBOX_MOUNTS, err);
			if (rc == 0)
				rc = error_set(
				    err, ERROR_CANCELLED, "the worker is gone");
			if (rc < 0)
				break;
		}
		rc = sandbox_root_attach(root, message.fds[next++],
		    init->spec.mounts[i].target, err);
	}
	fd_message_close(&message);
	return rc;
}

/* What this action has otherwise than most. */
static int
adapt(struct sandbox_init *init, struct error *err)
{
	const struct run_spec *spec = &init->spec;

	/* One made ahead is in a network of its own already. */
	if (spec->network)
		action_ahead_kill(&init->ahead);
	else if (init->ahead.pid == 0 && init->network != -1 &&
		 setns(init->network, CLONE_NEWNET) == -1)
		return error_set_errno(err, errno, "enter the network");
	file_close(&init->network);
	if (init->group.kind == CGROUP_NONE ||
	    action_limits_equal(&spec->limits, &init->options->limits))
		return 0;
	return cgroup_set_limits(&init->group, &spec->limits, err);
}

static int
complete_root(struct sandbox_init *init, struct error *err)
{
	if (init->options->tier == SANDBOX_NONE)
		return 0;
	if (init->spec.new_root && sandbox_root_replace(&init->root,
				       init->start[SANDBOX_FD_ROOT], err) < 0)
		return -1;
	if (sandbox_root_attach_known(&init->root, &init->spec, err) < 0)
		return -1;
	return attach_sent_mounts(init, &init->root, err);
}

static void
kill_all(const struct sandbox_init *init)
{
	if (init->options->tier != SANDBOX_NONE)
		kill(-1, SIGKILL); /* all of the namespace but ourselves */
	else
		action_process_kill_tree(init->action);
}

/* Takes what has ended; true when the action's own process is among it. */
static bool
reap(struct sandbox_init *init)
{
	bool ended = false;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == init->action) {
			init->report.wait_status = status;
			init->report.ended_ns = clock_monotonic_ns();
			ended = true;
		}
	}
	return ended;
}

/* 0, or -1 when the worker is gone. */
static int
take_order(struct sandbox_init *init)
{
	struct sandbox_request request;
	struct fd_message message = {.data = &request, .len = sizeof(request)};
	struct error err;

	if (fd_message_receive(init->socket, &message, &err) != 1)
		return -1;
	fd_message_close(&message);
	if (request.kind == SANDBOX_KILL) {
		init->report.killed = 1;
		kill_all(init);
	}
	return 0;
}

/* The program of the process made ahead runs, or could not be run. */
static void
leave_ahead(struct sandbox_init *init)
{
	(void)action_ahead_end(&init->ahead, &init->spec, &init->report.error);
	spare_ourselves(init);
}

/* Until the action's own process has ended. -1: the worker is gone. */
static int
wait_for_action(struct sandbox_init *init)
{
	struct pollfd polls[3] = {{init->signals, POLLIN, 0},
	    {init->socket, POLLIN, 0}, {-1, POLLIN, 0}};
	struct signalfd_siginfo info;

	for (;;) {
		polls[2].fd = init->ahead.socket;
		if (poll(polls, 3, -1) == -1)
			continue;
		if (polls[2].revents != 0)
			leave_ahead(init);
		if (polls[1].revents != 0 && take_order(init) < 0)
			return -1;
		if (polls[0].revents == 0)
			continue;
		while (read(init->signals, &info, sizeof(info)) > 0)
			;
		if (reap(init))
			return 0;
	}
}

static void
end_leftovers(struct sandbox_init *init)
{
	/* Before anything else is done: files of the action may hold all the
	 * memory that there is. */
	kill_all(init);
	if (init->group.kind != CGROUP_NONE)
		cgroup_lift_memory(&init->group);
	do {
		kill_all(init);
	} while (waitpid(-1, NULL, 0) > 0 || errno != ECHILD);
}

static int64_t
microseconds(struct timeval time)
{
	return (int64_t)time.tv_sec * 1000000 + time.tv_usec;
}

static void
measure(struct sandbox_init *init)
{
	struct rusage usage;

	getrusage(RUSAGE_CHILDREN, &usage);
	init->report.user_us = microseconds(usage.ru_utime);
	init->report.system_us = microseconds(usage.ru_stime);
	init->report.max_rss_bytes = (int64_t)usage.ru_maxrss * 1024;
	if (init->group.kind != CGROUP_NONE)
		cgroup_measure(&init->group, &init->spec.limits,
		    &init->start_usage, &init->report.usage);
}

/* What no group limits is limited for each process, as well as that goes. */
static void
set_plain_limits(
    const struct sandbox_init *init, struct action_process *process)
{
	const struct action_limits *limits = &init->spec.limits;

	process->data_limit = RLIM_INFINITY;
	process->process_limit = RLIM_INFINITY;
	if (limits->memory != 0 && init->group.directories[CGROUP_MEMORY] == -1)
		process->data_limit = limits->memory;
	/* One user runs the actions of all slots, and perhaps the worker. */
	if (limits->pids != 0 && init->group.directories[CGROUP_PIDS] == -1)
		process->process_limit =
		    limits->pids * init->options->slots + PROCESSES_FOR_OTHERS;
}

static struct action_process
process_of(const struct sandbox_init *init)
{
	struct action_process process = {.spec = &init->spec,
	    .stdout_fd = init->start[SANDBOX_FD_STDOUT],
	    .stderr_fd = init->start[SANDBOX_FD_STDERR]};

	set_plain_limits(init, &process);
	return process;
}

/* So that it gets ready beside us. */
static int
tell_ahead(struct sandbox_init *init, struct error *err)
{
	const struct action_process process = process_of(init);

	if (init->ahead.pid == 0)
		return 0;
	return action_ahead_tell(&init->ahead, &process, err);
}

/* The way without one that is ready. */
static pid_t
start_now(struct sandbox_init *init, struct error *err)
{
	const struct action_fence fence = fence_of(init);
	const struct action_process process = process_of(init);
	pid_t pid;

	(void)set_oom_score(init, "1000");
	pid = action_process_start(&fence, &process, err);
	spare_ourselves(init);
	return pid;
}

static int
start_action(struct sandbox_init *init, struct error *err)
{
	init->report.started_ns = clock_monotonic_ns();
	if (init->ahead.pid == 0) {
		init->action = start_now(init, err);
		return init->action == -1 ? -1 : 0;
	}
	init->action = init->ahead.pid;
	return action_ahead_go(&init->ahead, err);
}

/* 1 when there is something to report, 0 when nobody is left to hear it. */
static int
run(struct sandbox_init *init)
{
	struct error *err = &init->report.error;
	int rc = receive_start(init, err);
	bool alone;

	if (rc == 0)
		return 0;
	if (rc < 0 || adapt(init, err) < 0 || tell_ahead(init, err) < 0 ||
	    complete_root(init, err) < 0)
		return 1;
	if (init->spec.argument_count == 0)
		return 1;
	rc = start_action(init, err);
	/* The reader must see the end when the action's own copies close. */
	file_close(&init->start[SANDBOX_FD_STDOUT]);
	file_close(&init->start[SANDBOX_FD_STDERR]);
	if (rc < 0)
		return 1;
	alone = wait_for_action(init) < 0;
	/* Also when alone: not every tier ends them when we end. */
	end_leftovers(init);
	if (alone)
		return 0;
	if (init->ahead.socket != -1)
		leave_ahead(init);
	if (err->code == ERROR_OK)
		measure(init);
	return 1;
}

void
sandbox_init_main(const struct sandbox_init_options *options)
{
	static struct sandbox_init init; /* large; one a process */
	struct fd_message message = {
	    .data = &init.report, .len = sizeof(init.report)};
	struct error ignored;
	char byte;

	init.options = options;
	init.socket = options->socket;
	init.network = options->network;
	init.oom_score = -1;
	init.group = options->group;
	init.root.fd = -1;
	init.ahead = ACTION_AHEAD_NONE;
	init.action = -1;
	/* If it fails, the report tells when somebody asks. */
	if (prepare(&init, &init.report.error) == 0 && run(&init) == 0)
		_exit(0);
	if (fd_message_send(init.socket, &message, &ignored) < 0)
		_exit(1);
	/* The mounts must stand while the worker reads outputs through them.
	 * Late orders are of no interest. */
	while (recv(init.socket, &byte, 1, 0) > 0)
		;
	_exit(0);
}
