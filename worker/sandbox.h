/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One sandbox, for one action, as the worker uses it:
 *
 *	sandbox = sandbox_new(spawner, slot, &err);
 *	input_root = sandbox_lay_out(sandbox, &view, &err);
 *	... write inputs below input_root, sandbox_bind large ones, unless
 *	    the view has an image of them ...
 *	sandbox_run(sandbox, &command, &outcome, &err);
 *	... read outputs below input_root, all processes are gone ...
 *	sandbox_free(sandbox);
 *
 * The action sees: its input root, /dev (minimal), /proc (its own processes),
 * /tmp (its own, /dev/shm leads there), the trees it asks for, read-only, with
 * --host-root the host's /usr, /etc and so on read-only, a network with nothing
 * but loopback (or the host's, if it asks and may), the host name "toolroot",
 * user and group SANDBOX_UID and SANDBOX_GID, no capability. Without namespaces
 * (SANDBOX_NONE) it sees the host, and the root is a directory of it. One
 * thread at a time, that of the slot.
 */
#ifndef TOOLROOT_WORKER_SANDBOX_H
#define TOOLROOT_WORKER_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "worker/action_limits.h"
#include "worker/capture.h"
#include "worker/cgroup.h"
#include "worker/namespaces.h"

struct error;
struct image_lower;
struct live_output;
struct sandbox;
struct spawner;

struct sandbox *sandbox_new(
    struct spawner *spawner, size_t slot, struct error *err);
/* Ends what still runs and forgets all files. NULL is allowed. */
void sandbox_free(struct sandbox *sandbox);

/* An input root as an image (worker/image_build.h). */
struct sandbox_inputs {
	int image;       /* the file; borrowed */
	int bodies;      /* directory of its large bodies; borrowed */
	const char *top; /* where it is in the image; "" = its root */
	/* Images that it refers to; borrowed. */
	const struct image_lower *lowers;
	size_t lower_count;
	mode_t mode;          /* of the root directory */
	struct timespec time; /* likewise */
};

struct sandbox_graft;
struct sandbox_view {
	/* A path without leading slash, "" = the root itself. */
	const char *input_root;
	/* Trees, sorted by path (worker/sandbox_graft.h). Must stand until the
	 * sandbox is freed; not without namespaces. */
	const struct sandbox_graft *grafts;
	size_t graft_count;
	/* What the input root consists of; only with images. NULL: it
	 * is to be written below the descriptor that is returned. */
	const struct sandbox_inputs *inputs;
};

/* Makes the directories that every action finds, those down to the input root,
 * and what trees need. With a tree or the input root at "/" nothing of the
 * host is shown. Returns a descriptor of the input root, the sandbox's, or -1:
 * INVALID_ARGUMENT when it lies in /proc or the like, or trees are where they
 * cannot be. */
int sandbox_lay_out(struct sandbox *sandbox, const struct sandbox_view *view,
    struct error *err);
/* How the action names its input root, absolute. */
const char *sandbox_input_root(const struct sandbox *sandbox);
/* Whether the action sees directories of the host. */
bool sandbox_shows_host(const struct sandbox *sandbox);
/* Files staged must belong to the action's user: whether that takes a chown.
 */
bool sandbox_needs_chown(const struct sandbox *sandbox);
/* Whether sandbox_bind works. */
bool sandbox_can_bind(const struct sandbox *sandbox);

/* Has the file or directory mounted read-only on target, relative to the input
 * root, where a file or directory stands. Takes fd. */
void sandbox_bind(struct sandbox *sandbox, int fd, const char *target);

struct sandbox_command {
	const char **arguments; /* at least one */
	size_t argument_count;
	const char **environment; /* "NAME=value" */
	size_t environment_count;
	const char *search_path;       /* for a bare program name */
	const char *working_directory; /* relative to the input root */
	int64_t timeout_ms;  /* from when the sandbox is told to start */
	int cancel_fd;       /* readable: the action is to end; -1 = never */
	size_t stream_limit; /* bytes of each output stream that are kept */
	struct action_limits limits;
	bool network; /* the host's instead of one of its own */
	/* Shows the streams while they grow; NULL: nobody looks. */
	struct live_output *live;
};

struct sandbox_outcome {
	bool timed_out;
	bool cancelled;
	/* 128 + n when signal n ended the program; 137 (SIGKILL) also when
	 * the kernel ended any of its processes for want of memory: what goes
	 * on without them must not pass for success. */
	int exit_code;
	int64_t duration_ns; /* of the program */
	int64_t started_wall_ns;
	int64_t completed_wall_ns;
	int64_t user_us; /* all processes together */
	int64_t system_us;
	int64_t max_rss_bytes; /* of the largest process */
	struct cgroup_usage usage;
	bool scratch_full;     /* no byte or no file more could be written */
	struct capture output; /* standard output */
	struct capture errors; /* standard error */
};

/* Once per sandbox. 0 when the program ran, to its end or until it was ended;
 * -1: see action_process_start for a program that cannot run; the rest is
 * trouble of this worker. outcome is to be cleared in any case. */
int sandbox_run(struct sandbox *sandbox, const struct sandbox_command *command,
    struct sandbox_outcome *outcome, struct error *err);
void sandbox_outcome_clear(struct sandbox_outcome *outcome);

/* All but a program: whether sandboxes work on this host. */
int sandbox_try(struct sandbox *sandbox, struct error *err);

#endif
