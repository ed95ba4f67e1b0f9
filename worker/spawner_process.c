/* SPDX-License-Identifier: Apache-2.0 */
/* The spawner's loop: answers the worker's slots, keeps sandboxes ready, reaps
 * those that ended and reuses their network namespaces. One thread, no lock.
 * What fails is told to the slot that asks next. */
#include "worker/spawner_process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "worker/cgroup_tree.h"
#include "worker/fd_message.h"
#include "worker/mount_clone.h"
#include "worker/process_children.h"
#include "worker/sandbox_init.h"
#include "worker/sandbox_layout.h"
#include "worker/scratch.h"
#include "worker/seccomp_filter.h"

/* Sandboxes kept ready, beside the one that each slot has asked for: so that
 * all slots can go on at once when their actions end together. */
#define READY_MAX 32
#define SLOTS_PER_READY 4

/* A sandbox from its fork until it is reaped. */
struct instance {
	pid_t pid;
	int network; /* its namespace; -1 without */
	struct cgroup group;
	/* Ours until the sandbox is handed over, then -1. */
	struct spawned spawned;
	TAILQ_ENTRY(instance) link;
};

TAILQ_HEAD(instance_list, instance);

struct context {
	const struct spawner_process *process;
	int own_namespace; /* mount namespace, shared with the worker */
	int template_namespace;
	int signals; /* signalfd of SIGCHLD */
	struct sock_fprog filter;
	int *networks; /* free namespaces */
	size_t network_count;
	size_t network_capacity;
	struct instance_list ready;
	size_t ready_count;
	struct instance_list running;
	unsigned made; /* for names of directories */
};

static bool
fenced(const struct context *context)
{
	return context->process->tier != SANDBOX_NONE;
}

static void
put_network(struct context *context, int network)
{
	if (context->network_count == context->network_capacity) {
		context->network_capacity += 16;
		context->networks = xreallocarray(
		    context->networks, context->network_capacity, sizeof(int));
	}
	context->networks[context->network_count++] = network;
}

/* The one that rested longest: connections in TIME_WAIT fade meanwhile. */
static int
get_network(struct context *context, int *network, struct error *err)
{
	if (context->network_count == 0)
		return namespaces_make_network(network, err);
	*network = context->networks[0];
	context->network_count--;
	memmove(context->networks, context->networks + 1,
	    context->network_count * sizeof(int));
	return 0;
}

/* An empty file system with the limits of an action. */
static int
make_file_system(
    const struct context *context, struct spawned *spawned, struct error *err)
{
	const struct spawner_options *options = context->process->options;
	const struct scratch_options scratch = {.bytes = options->scratch_bytes,
	    .files = options->scratch_files,
	    .layers = staging_has_images(context->process->staging),
	    .place = context->process->place};

	if (scratch_make(&scratch, &spawned->root, &spawned->layers, err) < 0)
		return -1;
	return sandbox_layout_furnish(spawned->root, err);
}

static int
make_directory_root(struct context *context, int *root, struct error *err)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%d-%u",
	    context->process->options->scratch_path, getpid(), context->made++);
	if (mkdir(path, 0700) == -1)
		return error_set_errno(err, errno, "make %s", path);
	*root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*root == -1)
		return error_set_errno(err, errno, "open %s", path);
	return 0;
}

/* fork with namespaces; the child starts in the template. */
static pid_t
clone_init(
    struct context *context, struct instance *instance, struct error *err)
{
	struct clone_args args = {.flags = CLONE_PIDFD,
	    .pidfd = (uint64_t)(uintptr_t)&instance->spawned.pidfd,
	    .exit_signal = SIGCHLD};
	long pid;
	int number;

	if (fenced(context)) {
		args.flags |=
		    CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;
		if (setns(context->template_namespace, CLONE_NEWNS) == -1)
			return error_set_errno(
			    err, errno, "enter the template");
	}
	cgroup_clone_into(&instance->group, &args);
	pid = syscall(SYS_clone3, &args, sizeof(args));
	number = errno;
	if (pid == 0)
		return 0;
	/* Without our own namespace nothing works any more. */
	if (fenced(context) && setns(context->own_namespace, CLONE_NEWNS) == -1)
		_exit(1);
	if (pid == -1)
		error_set_errno(err, number, "make a sandbox process");
	return (pid_t)pid;
}

static void
instance_free(struct context *context, struct instance *instance)
{
	file_close(&instance->spawned.root);
	file_close(&instance->spawned.layers);
	file_close(&instance->spawned.socket);
	file_close(&instance->spawned.pidfd);
	if (instance->network != -1)
		put_network(context, instance->network);
	cgroup_tree_put(context->process->groups, &instance->group);
	free(instance);
}

static int
fill_instance(
    struct context *context, struct instance *instance, struct error *err)
{
	struct sandbox_init_options init = {.tier = context->process->tier,
	    .filter = &context->filter,
	    .limits = context->process->options->limits,
	    .slots = context->process->options->slots};
	int pair[2];

	if (cgroup_tree_get(context->process->groups, &instance->group, err) <
	    0)
		return -1;
	if (fenced(context)) {
		if (get_network(context, &instance->network, err) < 0 ||
		    make_file_system(context, &instance->spawned, err) < 0)
			return -1;
	} else if (make_directory_root(context, &instance->spawned.root, err) <
		   0) {
		return -1;
	}
	if (fd_message_pair(pair, err) < 0)
		return -1;
	instance->spawned.socket = pair[0];
	instance->pid = clone_init(context, instance, err);
	if (instance->pid == 0) {
		init.socket = pair[1];
		init.network = instance->network;
		init.root = instance->spawned.root;
		init.group = instance->group;
		sandbox_init_main(&init);
	}
	file_close(&pair[1]);
	return instance->pid == -1 ? -1 : 0;
}

static int
make_ready(struct context *context, struct error *err)
{
	struct instance *instance = xcalloc(1, sizeof(*instance));

	instance->network = -1;
	cgroup_init(&instance->group);
	instance->spawned = SPAWNED_NONE;
	if (fill_instance(context, instance, err) < 0) {
		instance_free(context, instance);
		return -1;
	}
	TAILQ_INSERT_TAIL(&context->ready, instance, link);
	context->ready_count++;
	return 0;
}

static int
take(struct context *context, struct fd_message *reply, struct error *err)
{
	struct instance *instance;

	if (context->ready_count == 0 && make_ready(context, err) < 0)
		return -1;
	instance = TAILQ_FIRST(&context->ready);
	TAILQ_REMOVE(&context->ready, instance, link);
	context->ready_count--;
	TAILQ_INSERT_TAIL(&context->running, instance, link);
	reply->fds[0] = instance->spawned.root;
	reply->fds[1] = instance->spawned.socket;
	reply->fds[2] = instance->spawned.pidfd;
	reply->fd_count = 3;
	if (instance->spawned.layers != -1)
		reply->fds[reply->fd_count++] = instance->spawned.layers;
	/* They are closed with the reply. */
	instance->spawned = SPAWNED_NONE;
	return 0;
}

static void
answer(struct context *context, int socket)
{
	struct spawner_request request;
	struct spawner_reply reply = {.error = {.code = ERROR_OK}};
	struct fd_message in = {.data = &request, .len = sizeof(request)};
	struct fd_message out = {.data = &reply, .len = sizeof(reply)};
	struct error err;

	/* Without the worker there is nothing to do; the sandboxes follow by
	 * their parent-death signal. */
	if (fd_message_receive(socket, &in, &err) != 1)
		_exit(0);
	if (request.kind == SPAWNER_TAKE)
		(void)take(context, &out, &reply.error);
	else
		(void)mount_clone(&in, &out, &reply.error);
	fd_message_close(&in);
	if (reply.error.code != ERROR_OK)
		fd_message_close(&out);
	if (fd_message_send(socket, &out, &err) < 0)
		_exit(0);
	fd_message_close(&out);
}

static struct instance *
find_instance(struct instance_list *list, pid_t pid)
{
	struct instance *instance;

	TAILQ_FOREACH (instance, list, link)
		if (instance->pid == pid)
			return instance;
	return NULL;
}

static void
kill_stranger(void *cookie, pid_t child)
{
	struct context *context = cookie;

	if (find_instance(&context->running, child) == NULL &&
	    find_instance(&context->ready, child) == NULL)
		kill(child, SIGKILL);
}

static void
reap(struct context *context)
{
	struct signalfd_siginfo info;
	struct instance *instance;
	pid_t pid;

	while (read(context->signals, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
		instance = find_instance(&context->running, pid);
		if (instance != NULL) {
			TAILQ_REMOVE(&context->running, instance, link);
		} else {
			instance = find_instance(&context->ready, pid);
			if (instance == NULL)
				continue;
			TAILQ_REMOVE(&context->ready, instance, link);
			context->ready_count--;
		}
		instance_free(context, instance);
	}
	/* Without a PID namespace a first process that was killed leaves the
	 * processes of its action, which are ours then. What they leave comes
	 * when they have ended. */
	if (!fenced(context))
		process_children_each(kill_stranger, context);
}

static int
prepare(struct context *context, struct error *err)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	context->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	if (context->signals == -1)
		return error_set_errno(err, errno, "watch for children");
	if (!fenced(context))
		return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
			   ? 0
			   : error_set_errno(err, errno, "adopt orphans");
	context->own_namespace =
	    open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (context->own_namespace == -1)
		return error_set_errno(err, errno, "open /proc/self/ns/mnt");
	if (seccomp_filter_build(&context->filter, err) < 0)
		return -1;
	return namespaces_make_template(context->process->options->host_root,
	    &context->template_namespace, err);
}

/* Tells why there is no spawner to whoever asks, then ends. */
static void
refuse(struct context *context, const struct error *why)
{
	struct spawner_request request;
	struct spawner_reply reply = {.error = *why};
	struct fd_message in = {.data = &request, .len = sizeof(request)};
	struct fd_message out = {.data = &reply, .len = sizeof(reply)};
	struct error err;

	if (fd_message_receive(context->process->sockets[0], &in, &err) == 1)
		(void)fd_message_send(context->process->sockets[0], &out, &err);
	_exit(1);
}

static void
serve(struct context *context)
{
	size_t slots = context->process->options->slots;
	size_t wanted = 1 + slots / SLOTS_PER_READY;
	struct pollfd *polls = xcalloc(slots + 1, sizeof(*polls));
	struct error err;

	if (wanted > READY_MAX)
		wanted = READY_MAX;
	polls[slots] = (struct pollfd){context->signals, POLLIN, 0};
	for (size_t i = 0; i < slots; i++)
		polls[i] =
		    (struct pollfd){context->process->sockets[i], POLLIN, 0};
	for (;;) {
		bool refill = context->ready_count < wanted;
		int events = poll(polls, slots + 1, refill ? 0 : -1);

		/* A failure comes up again when a slot asks. The pause keeps
		 * a host out of processes from being asked without end. */
		if (events == 0 && make_ready(context, &err) < 0)
			poll(polls, slots + 1, 1000);
		if (polls[slots].revents != 0)
			reap(context);
		for (size_t i = 0; i < slots; i++)
			if (polls[i].revents != 0)
				answer(context, polls[i].fd);
	}
}

void
spawner_process_main(const struct spawner_process *process)
{
	struct context context = {
	    .process = process, .own_namespace = -1, .template_namespace = -1};
	struct error err;

	TAILQ_INIT(&context.ready);
	TAILQ_INIT(&context.running);
	/* A terminal's signals are the worker's business: it drains. */
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (prepare(&context, &err) < 0)
		refuse(&context, &err);
	serve(&context);
	abort();
}
