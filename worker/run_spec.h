/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the first process of a sandbox is to do: which mounts complete the
 * action's root, and which program runs in it how. Travels as a sealed memory
 * file, since arguments and environment may exceed a datagram. Plain data.
 */
#ifndef TOOLROOT_WORKER_RUN_SPEC_H
#define TOOLROOT_WORKER_RUN_SPEC_H

#include <stdbool.h>
#include <stddef.h>

#include "worker/action_limits.h"

struct error;

enum run_mount_kind {
	RUN_MOUNT_HOST, /* source: a top directory of the host, such as "usr" */
	RUN_MOUNT_FD,   /* the next detached mount sent after the start */
};

struct run_mount {
	enum run_mount_kind kind;
	const char *source; /* "" where the kind needs none */
	const char *target; /* below the root, no leading slash; exists */
};

struct run_spec {
	const char **arguments; /* none: only build the root and report */
	size_t argument_count;
	const char **environment; /* "NAME=value" */
	size_t environment_count;
	const char *search_path;       /* for a bare program name */
	const char *working_directory; /* absolute, in the sandbox */
	struct run_mount *mounts;      /* in this order */
	size_t mount_count;
	bool new_root; /* another root is sent; it has dev and proc */
	bool network;  /* the host's, not one of its own */
	struct action_limits limits;
};

/* A descriptor of the encoded form in *fd. */
int run_spec_write(const struct run_spec *spec, int *fd, struct error *err);
/* The strings stay mapped and the arrays allocated until the process ends:
 * only one-shot processes read one. Both arrays of strings end in NULL. */
int run_spec_read(int fd, struct run_spec *spec, struct error *err);

#endif
