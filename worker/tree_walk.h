/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A walk over a tree of Directory messages in the local store, as it is laid
 * out: what is referred to twice is shown twice, a directory's files and links
 * before the directories below it. What is made of the entries is the
 * visitor's business: files in a sandbox's memory (worker/stage_files.c), files
 * on disk (worker/tree_build.c), or a file system image
 * (worker/image_build.c). Names come from directory_decode, so none leads out;
 * depth and number of entries are bounded. Blocks; one thread for a walk.
 */
#ifndef TOOLROOT_WORKER_TREE_WALK_H
#define TOOLROOT_WORKER_TREE_WALK_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/buffer.h"
#include "base/str.h"
#include "cas/digest.h"
#include "cas/directory.h"

struct blob;
struct digest_list;
struct error;
struct store;
struct tree_walk;

struct tree_file {
	char name[DIRECTORY_NAME_MAX + 1];
	struct digest digest;
	bool executable;
	mode_t mode; /* permissions: stage_file_mode */
	struct timespec time;
	/* Its bytes, read ahead; data NULL: it is to be read. Until the call
	 * returns. */
	struct str content;
};

struct tree_link {
	char name[DIRECTORY_NAME_MAX + 1];
	char target[DIRECTORY_TARGET_MAX + 1];
	struct timespec time;
};

/* All -1 on error, which ends the walk. A place is whatever the visitor keeps
 * of a directory that it has entered. */
struct tree_visitor {
	/* name "" and parent NULL: the root. What is set in *place goes to
	 * the other functions. */
	int (*enter)(struct tree_walk *walk, void *parent, const char *name,
	    const Reapi__Directory *message, void **place, struct error *err);
	int (*file)(struct tree_walk *walk, void *place,
	    const struct tree_file *file, struct error *err);
	int (*link)(struct tree_walk *walk, void *place,
	    const struct tree_link *link, struct error *err);
	/* All below is done. */
	int (*complete)(struct tree_walk *walk, void *parent, void *place,
	    const Reapi__Directory *message, struct error *err);
	/* After complete or an error; for each place that was entered. */
	void (*leave)(void *place);
	/* May be NULL. 1: the directory is dealt with and not walked, *entries
	 * are all below it; 0: it is to be walked; -1. */
	int (*skip)(struct tree_walk *walk, void *parent,
	    const struct digest *digest, uint64_t *entries, struct error *err);
	/* May be NULL. Tells what was walked. */
	void (*walked)(struct tree_walk *walk, const struct digest *digest,
	    const Reapi__Directory *message, uint64_t entries);
};

struct tree_walk {
	const struct tree_visitor *visitor;
	void *cookie; /* the visitor's */
	struct store *store;
	const char *what; /* the tree, in errors: "input root" */
	int cancel_fd;    /* readable: CANCELLED; -1 = never */
	/* Files up to here are read ahead, many at once; 0 = none. */
	uint64_t ahead_max;
	/* Blobs found absent are added; the walk then fails with
	 * FAILED_PRECONDITION. May be NULL. */
	struct digest_list *missing;
	/* Of the directory at hand, "" or ending in "/". */
	struct buffer path;
	uint64_t entries; /* files, directories and links so far */
	unsigned depth;   /* the walk's */
};

/* INVALID_ARGUMENT names what is malformed in the tree or above a limit. */
int tree_walk_run(
    struct tree_walk *walk, const struct digest *root, struct error *err);

/* For visitors: the blob's bytes, appended to content, and the blob; an absent
 * one is reported as such. */
int tree_walk_read(struct tree_walk *walk, const struct digest *digest,
    struct buffer *content, struct error *err);
int tree_walk_open(struct tree_walk *walk, const struct digest *digest,
    struct blob **blob, struct error *err);

#endif
