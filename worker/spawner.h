/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spawner: a small process with one thread that makes sandboxes, so that
 * the worker, large and with many threads, never forks. Started first thing,
 * before any thread and before gRPC; it keeps the privilege to make
 * namespaces and mounts, which the worker then gives up. It keeps sandboxes
 * ready ahead of demand, and dies with the worker; they die with it.
 *
 * Each slot has its own connection, used by one thread at a time, so slots
 * never wait for one another here.
 */
#ifndef TOOLROOT_WORKER_SPAWNER_H
#define TOOLROOT_WORKER_SPAWNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/action_limits.h"
#include "worker/cgroup.h"
#include "worker/namespaces.h"
#include "worker/staging.h"

struct error;
struct spawner;

struct spawner_options {
	size_t slots;
	bool host_root; /* non-hermetic: see worker/host_root.h */
	bool unfenced;  /* SANDBOX_NONE; needs scratch_path */
	/* For SANDBOX_NONE: where actions' roots are made. */
	const char *scratch_path;
	/* What one action may write, inputs included: bytes and files. */
	uint64_t scratch_bytes;
	uint64_t scratch_files;
	struct action_limits limits; /* of an action that asks for no less */
	bool network;                /* actions may ask for the host's */
	/* How inputs are to get in; images are tried out in the cache
	 * directory, and need one. With STAGING_EROFS_PATH "mounts" in it is
	 * the spawner's. */
	enum staging staging;
	const char *cache;
};

/* The process's umask from then on: what is staged relies on it. */
#define SPAWNER_UMASK 022

/* Needs a process with one thread, which from then on is in a mount namespace
 * of its own (and a user namespace where it is not root, without a capability
 * there) and has SPAWNER_UMASK. Tries one sandbox, so that whatever the
 * host forbids is said now. NULL on error. */
struct spawner *spawner_start(
    const struct spawner_options *options, struct error *err);
/* Ends the process and all sandboxes. NULL is allowed. */
void spawner_stop(struct spawner *spawner);
/* False once the process is gone: nothing can be run any more. One thread. */
bool spawner_lives(struct spawner *spawner);
enum sandbox_tier spawner_tier(const struct spawner *spawner);
/* How inputs get into its sandboxes: never STAGING_AUTO. */
enum staging spawner_staging(const struct spawner *spawner);
const struct spawner_options *spawner_options(const struct spawner *spawner);
/* By what limits hold; CGROUP_NONE: by those of single processes alone. */
enum cgroup_kind spawner_limits_kind(const struct spawner *spawner);

/* A sandbox that waits for its SANDBOX_START (worker/sandbox_init.h). The
 * caller closes the descriptors. */
struct spawned {
	int root;   /* empty file system (a detached mount), or directory */
	int layers; /* with images: worker/scratch.h; else -1 */
	int socket; /* to the sandbox's first process */
	int pidfd;  /* of it */
};
#define SPAWNED_NONE ((struct spawned){-1, -1, -1, -1})
int spawner_take(struct spawner *spawner, size_t slot, struct spawned *spawned,
    struct error *err);

/* Asks for the slot's next sandbox, so that it is there when it is taken; to be
 * called when the one before has ended and nobody waits. Does not block. */
void spawner_prepare(struct spawner *spawner, size_t slot);

/* With STAGING_EROFS_PATH: attaches the scratch of the slot's sandbox
 * (spawned.layers), so that it can be a layer and has a place for more; what
 * the slot had attached before is detached. */
int spawner_attach(
    struct spawner *spawner, size_t slot, int layers, struct error *err);
/* Detaches it, which takes the kernel 0.25 ms, when nobody waits. Whoever uses
 * it goes on. */
void spawner_settle(struct spawner *spawner, size_t slot);

/* Replaces each descriptor of a file or directory by a detached, read-only
 * mount of it; at most FD_MESSAGE_FDS_MAX. The given ones stay open. */
struct fd_message;
int spawner_clone_mounts(struct spawner *spawner, size_t slot,
    struct fd_message *descriptors, struct error *err);

#endif
