/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spawner's own side: the process's loop and the messages it answers.
 * Only spawner.c uses it.
 */
#ifndef TOOLROOT_WORKER_SPAWNER_PROCESS_H
#define TOOLROOT_WORKER_SPAWNER_PROCESS_H

#include "base/error.h"
#include "worker/spawner.h"

struct cgroup_tree;

enum spawner_request_kind {
	SPAWNER_TAKE = 1,
	SPAWNER_CLONE_MOUNTS = 2,
};

struct spawner_request {
	enum spawner_request_kind kind;
};

/* With SPAWNER_TAKE: root, socket, pidfd, and with images the root's layers.
 * With SPAWNER_CLONE_MOUNTS: as many mounts as descriptors were sent. */
struct spawner_reply {
	struct error error;
};

struct spawner_process {
	const struct spawner_options *options;
	enum sandbox_tier tier;
	enum staging staging;
	int place;          /* of scratch_options */
	const int *sockets; /* one a slot */
	struct cgroup_tree *groups;
};

/* Runs until the worker is gone. */
void spawner_process_main(const struct spawner_process *process)
    __attribute__((noreturn));

#endif
