/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's side of the spawner: starts it and talks to it, a connection a
 * slot. */
#include "worker/spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "worker/cgroup_tree.h"
#include "worker/fd_message.h"
#include "worker/image_mount.h"
#include "worker/mount_clone.h"
#include "worker/sandbox.h"
#include "worker/spawner_process.h"

/* Of a slot. */
struct connection {
	int socket;
	bool asked;   /* SPAWNER_TAKE was sent and its reply not received */
	int place;    /* to attach on, with STAGING_EROFS_PATH; else -1 */
	int attached; /* what is there; or -1 */
};

struct spawner {
	struct spawner_options options;
	char *scratch_path; /* owned copy */
	enum sandbox_tier tier;
	struct cgroup_tree *groups;
	enum staging staging;
	int place; /* the process's own; as those of connections */
	pid_t pid;
	struct connection *connections; /* options.slots many */
};

static void
child_main(struct spawner *spawner, int *theirs)
{
	struct spawner_process process = {.options = &spawner->options,
	    .tier = spawner->tier,
	    .staging = spawner->staging,
	    .place = spawner->place,
	    .sockets = theirs,
	    .groups = spawner->groups};

	for (size_t i = 0; i < spawner->options.slots; i++)
		file_close(&spawner->connections[i].socket);
	spawner_process_main(&process);
}

static int
fork_process(struct spawner *spawner, int *theirs, struct error *err)
{
	pid_t parent = getpid();

	spawner->pid = fork();
	if (spawner->pid == -1)
		return error_set_errno(err, errno, "fork the spawner");
	if (spawner->pid > 0)
		return 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != parent)
		_exit(0);
	child_main(spawner, theirs);
	return 0;
}

static int
connect_slots(struct spawner *spawner, int *theirs, struct error *err)
{
	for (size_t i = 0; i < spawner->options.slots; i++) {
		int pair[2];

		if (fd_message_pair(pair, err) < 0)
			return -1;
		spawner->connections[i].socket = pair[0];
		theirs[i] = pair[1];
	}
	return 0;
}

/* One sandbox without a program: all mounts, the pivot and the report. */
static int
try_sandbox(struct spawner *spawner, struct error *err)
{
	struct sandbox *sandbox = sandbox_new(spawner, 0, err);
	int rc = -1;

	if (sandbox != NULL)
		rc = sandbox_try(sandbox, err);
	sandbox_free(sandbox);
	if (rc < 0)
		error_prefix(err, "try a sandbox");
	return rc;
}

/* Said once, since it holds for all actions. */
static void
log_limits(const struct spawner *spawner)
{
	const struct action_limits *limits = &spawner->options.limits;
	const struct cgroup_tree *groups = spawner->groups;
	bool memory = cgroup_tree_has(groups, CGROUP_MEMORY);
	bool pids = cgroup_tree_has(groups, CGROUP_PIDS);

	log_info("limits",
	    "by=%s memory=%llu pids=%llu cpu_milli=%llu "
	    "controllers=\"%s%s%s%s\"",
	    cgroup_kind_name(cgroup_tree_kind(groups)),
	    (unsigned long long)limits->memory,
	    (unsigned long long)limits->pids,
	    (unsigned long long)limits->cpu_milli, memory ? "memory " : "",
	    pids ? "pids " : "",
	    cgroup_tree_has(groups, CGROUP_CPU) ? "cpu " : "",
	    cgroup_tree_has(groups, CGROUP_IO) ? "io" : "");
	if (!memory || !pids)
		log_warn("limits_weak",
		    "missing=\"%s%s\" reason=\"%s\" instead=\"rlimits: memory "
		    "for each process, processes of all actions together, no "
		    "CPU\"",
		    memory ? "" : "memory ", pids ? "" : "pids",
		    cgroup_tree_why(groups));
}

static struct spawner *
spawner_new(const struct spawner_options *options)
{
	struct spawner *spawner = xcalloc(1, sizeof(*spawner));

	spawner->options = *options;
	if (options->scratch_path != NULL)
		spawner->scratch_path = xstrdup(options->scratch_path);
	spawner->options.scratch_path = spawner->scratch_path;
	spawner->options.cache = NULL; /* not needed after the start */
	spawner->pid = -1;
	spawner->place = -1;
	spawner->connections =
	    xcalloc(options->slots, sizeof(*spawner->connections));
	for (size_t i = 0; i < options->slots; i++)
		spawner->connections[i] = (struct connection){
		    .socket = -1, .place = -1, .attached = -1};
	return spawner;
}

static int
open_place(const char *cache, const char *name, int *place, struct error *err)
{
	char *path = xasprintf("%s/mounts/%s", cache, name);

	*place = -1;
	if (file_make_directories(path, err) == 0)
		*place = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*place == -1)
		error_set_errno(err, errno, "open %s", path);
	free(path);
	return *place != -1 ? 0 : -1;
}

static int
open_places(struct spawner *spawner, const char *cache, struct error *err)
{
	char name[32];

	if (open_place(cache, "spawner", &spawner->place, err) < 0)
		return -1;
	for (size_t i = 0; i < spawner->options.slots; i++) {
		snprintf(name, sizeof(name), "%zu", i);
		if (open_place(
			cache, name, &spawner->connections[i].place, err) < 0)
			return -1;
	}
	return 0;
}

/* What was asked for, or else the first that works; why tells of the last that
 * does not. */
static int
try_stagings(struct spawner *spawner, const char *cache, struct error *why)
{
	static const enum staging images[] = {
	    STAGING_EROFS, STAGING_EROFS_PATH};
	enum staging wanted = spawner->options.staging;
	struct error err;
	int rc = -1;

	*why = (struct error){.code = ERROR_OK};
	for (size_t i = 0; i < 2 && rc < 0; i++) {
		if (wanted != STAGING_AUTO && wanted != images[i])
			continue;
		rc = staging_probe(images[i], cache, &err);
		if (rc == 0)
			spawner->staging = images[i];
		else
			*why = err;
	}
	return rc;
}

/* In the mount namespace of sandboxes. */
static int
choose_staging(struct spawner *spawner, const char *cache, struct error *err)
{
	enum staging wanted = spawner->options.staging;
	struct error why = {.code = ERROR_OK};
	bool told;
	int rc = -1;

	spawner->staging = STAGING_TMPFS;
	if (spawner->tier == SANDBOX_NONE) {
		spawner->staging = STAGING_COPIES;
		return 0;
	}
	if (wanted == STAGING_TMPFS)
		return 0;
	if (spawner->tier != SANDBOX_NAMESPACES || cache == NULL)
		error_set(&why, ERROR_FAILED_PRECONDITION,
		    "images need root (in the first user namespace)");
	else
		rc = try_stagings(spawner, cache, &why);
	if (rc < 0 && wanted != STAGING_AUTO) {
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "staging by %s was asked for: %s", staging_name(wanted),
		    why.text);
		return -1;
	}
	told = why.code != ERROR_OK;
	log_info("staging", "tier=%s%s%s%s", staging_name(spawner->staging),
	    told ? " not_erofs=\"" : "", told ? why.text : "",
	    told ? "\"" : "");
	if (spawner->staging == STAGING_EROFS_PATH)
		return open_places(spawner, cache, err);
	return 0;
}

struct spawner *
spawner_start(const struct spawner_options *options, struct error *err)
{
	struct spawner *spawner = spawner_new(options);
	int *theirs = xcalloc(options->slots, sizeof(int));
	int rc = -1;

	memset(theirs, 0xff, options->slots * sizeof(int));
	umask(SPAWNER_UMASK);
	spawner->groups = cgroup_tree_open();
	if (options->unfenced)
		spawner->tier = SANDBOX_NONE;
	else if (namespaces_enter(&spawner->tier, err) < 0)
		goto out;
	if (choose_staging(spawner, options->cache, err) < 0)
		goto out;
	if (connect_slots(spawner, theirs, err) < 0)
		goto out;
	if (fork_process(spawner, theirs, err) < 0)
		goto out;
	for (size_t i = 0; i < options->slots; i++)
		file_close(&theirs[i]);
	if (spawner->tier == SANDBOX_USER_NAMESPACES &&
	    namespaces_drop_capabilities(err) < 0)
		goto out;
	rc = try_sandbox(spawner, err);
	if (rc == 0)
		log_limits(spawner);
out:
	for (size_t i = 0; i < options->slots; i++)
		file_close(&theirs[i]);
	free(theirs);
	if (rc < 0) {
		spawner_stop(spawner);
		spawner = NULL;
	}
	return spawner;
}

void
spawner_stop(struct spawner *spawner)
{
	if (spawner == NULL)
		return;
	for (size_t i = 0; i < spawner->options.slots; i++) {
		file_close(&spawner->connections[i].socket);
		spawner_settle(spawner, i);
		file_close(&spawner->connections[i].place);
	}
	file_close(&spawner->place);
	if (spawner->pid > 0) {
		kill(spawner->pid, SIGKILL);
		while (waitpid(spawner->pid, NULL, 0) == -1 && errno == EINTR)
			;
	}
	cgroup_tree_close(spawner->groups);
	free(spawner->connections);
	free(spawner->scratch_path);
	free(spawner);
}

bool
spawner_lives(struct spawner *spawner)
{
	if (spawner->pid > 0 &&
	    waitpid(spawner->pid, NULL, WNOHANG) == spawner->pid)
		spawner->pid = -1;
	return spawner->pid > 0;
}

enum sandbox_tier
spawner_tier(const struct spawner *spawner)
{
	return spawner->tier;
}

enum staging
spawner_staging(const struct spawner *spawner)
{
	return spawner->staging;
}

const struct spawner_options *
spawner_options(const struct spawner *spawner)
{
	return &spawner->options;
}

enum cgroup_kind
spawner_limits_kind(const struct spawner *spawner)
{
	return cgroup_tree_kind(spawner->groups);
}

/* Sends the request with the message's descriptors. */
static int
send_request(int socket, enum spawner_request_kind kind,
    struct fd_message *message, struct error *err)
{
	struct spawner_request request = {kind};
	int rc;

	message->data = &request;
	message->len = sizeof(request);
	rc = fd_message_send(socket, message, err);
	message->data = NULL;
	return rc;
}

/* Receives the descriptors of the reply into the message. */
static int
receive_reply(int socket, struct fd_message *message, struct error *err)
{
	struct spawner_reply reply = {.error = {.code = ERROR_OK}};
	int rc;

	message->data = &reply;
	message->len = sizeof(reply);
	rc = fd_message_receive(socket, message, err);
	message->data = NULL;
	if (rc == 0)
		return error_set(
		    err, ERROR_UNAVAILABLE, "the worker's spawner is gone");
	if (rc < 0)
		return -1;
	if (reply.error.code != ERROR_OK) {
		*err = reply.error;
		fd_message_close(message);
		return -1;
	}
	return 0;
}

static int
ask(int socket, enum spawner_request_kind kind, struct fd_message *message,
    struct error *err)
{
	if (send_request(socket, kind, message, err) < 0)
		return -1;
	return receive_reply(socket, message, err);
}

void
spawner_prepare(struct spawner *spawner, size_t slot)
{
	struct connection *connection = &spawner->connections[slot];
	struct fd_message message = {.fd_count = 0};
	struct error err;

	/* What fails now does so again when the sandbox is taken. */
	if (!connection->asked)
		connection->asked = send_request(connection->socket,
					SPAWNER_TAKE, &message, &err) == 0;
}

static void
spawned_close(struct spawned *spawned)
{
	file_close(&spawned->root);
	file_close(&spawned->layers);
	file_close(&spawned->socket);
	file_close(&spawned->pidfd);
}

static int
take_reply(const struct spawner *spawner, struct fd_message *message,
    struct spawned *spawned, struct error *err)
{
	bool layered = staging_has_images(spawner->staging);

	/* The root's layers, where there are such, are last. */
	if (message->fd_count != (layered ? 4 : 3)) {
		fd_message_close(message);
		return error_set(
		    err, ERROR_INTERNAL, "the spawner sent no sandbox");
	}
	spawned->root = message->fds[0];
	spawned->socket = message->fds[1];
	spawned->pidfd = message->fds[2];
	spawned->layers = layered ? message->fds[3] : -1;
	return 0;
}

/* The one that was asked for ahead; false when there is none that lives. */
static bool
take_prepared(struct spawner *spawner, size_t slot, struct spawned *spawned)
{
	struct connection *connection = &spawner->connections[slot];
	struct fd_message message = {.fd_count = 0};
	struct pollfd ended = {.events = POLLIN};
	struct error err;

	if (!connection->asked)
		return false;
	connection->asked = false;
	if (receive_reply(connection->socket, &message, &err) < 0 ||
	    take_reply(spawner, &message, spawned, &err) < 0)
		return false;
	/* It may have waited for long. */
	ended.fd = spawned->pidfd;
	if (poll(&ended, 1, 0) == 0)
		return true;
	spawned_close(spawned);
	return false;
}

int
spawner_take(struct spawner *spawner, size_t slot, struct spawned *spawned,
    struct error *err)
{
	struct fd_message message = {.fd_count = 0};

	if (take_prepared(spawner, slot, spawned))
		return 0;
	if (ask(spawner->connections[slot].socket, SPAWNER_TAKE, &message,
		err) < 0)
		return -1;
	return take_reply(spawner, &message, spawned, err);
}

int
spawner_attach(
    struct spawner *spawner, size_t slot, int layers, struct error *err)
{
	struct connection *connection = &spawner->connections[slot];

	spawner_settle(spawner, slot);
	connection->attached = fcntl(layers, F_DUPFD_CLOEXEC, 3);
	if (connection->attached == -1)
		return error_set_errno(err, errno, "keep a mount");
	return image_mount_attach(layers, connection->place, err);
}

void
spawner_settle(struct spawner *spawner, size_t slot)
{
	struct connection *connection = &spawner->connections[slot];

	if (connection->attached == -1)
		return;
	image_mount_detach(connection->attached);
	file_close(&connection->attached);
}

/* In place of the given ones, which stay open. */
static int
clone_here(struct fd_message *descriptors, struct error *err)
{
	struct fd_message mounts = {.fd_count = 0};

	if (mount_clone(descriptors, &mounts, err) < 0) {
		fd_message_close(&mounts);
		return -1;
	}
	*descriptors = mounts;
	return 0;
}

int
spawner_clone_mounts(struct spawner *spawner, size_t slot,
    struct fd_message *descriptors, struct error *err)
{
	size_t count = descriptors->fd_count;

	/* Without root the privilege is the spawner's alone. */
	if (spawner->tier == SANDBOX_NAMESPACES)
		return clone_here(descriptors, err);
	if (ask(spawner->connections[slot].socket, SPAWNER_CLONE_MOUNTS,
		descriptors, err) < 0)
		return -1;
	if (descriptors->fd_count == count)
		return 0;
	fd_message_close(descriptors);
	return error_set(
	    err, ERROR_INTERNAL, "the spawner sent too few mounts");
}
