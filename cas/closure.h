/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hangs together: the blobs that an input root or an action result needs
 * to be whole. Walks Merkle trees of Directory messages and Tree messages,
 * checking each on the way (cas/directory.h), with bounds on depth, number of
 * directories and digests, so that no tree from a peer can exhaust us. A
 * Directory digest that was walked before in the same walk is not read again;
 * a cycle cannot be built from honest digests, and a depth limit ends the rest.
 * Any thread; reads block as the source does.
 */
#ifndef TOOLROOT_CAS_CLOSURE_H
#define TOOLROOT_CAS_CLOSURE_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "cas/digest.h"

struct buffer;
struct digest_list;
struct error;
struct store;

/* Where the walk reads blobs. */
struct closure_source {
	/* Appends the blob to content. 1, 0 when absent, -1. */
	int (*read)(void *cookie, const struct digest *digest,
	    struct buffer *content, struct error *err);
	void *cookie;
	enum digest_function function; /* of every digest in the tree */
};

/* The blobs of a store. */
struct closure_source closure_source_of_store(
    struct store *store, enum digest_function function);

#define CLOSURE_DEPTH_MAX 256
#define CLOSURE_DIRECTORIES_MAX (1u << 20)
#define CLOSURE_DIGESTS_MAX (8u << 20)
/* Files, directories and links of an input root as it would be laid out, with
 * what is referred to twice counted twice: for those who lay it out. */
#define CLOSURE_ENTRIES_MAX (4u << 20)
/* A Directory or Tree blob larger than this is refused. */
#define CLOSURE_MESSAGE_MAX (64u << 20)

/* Adds to files every file blob and to directories every Directory blob below
 * and including root, each digest once. Directories that are absent go to
 * missing (the walk goes on with the others). INVALID_ARGUMENT, naming the
 * path, for a malformed tree. */
struct closure {
	struct digest_list *files;
	struct digest_list *directories;
	struct digest_list *missing;
	uint64_t entries_max; /* of the tree laid out; 0 = any number */
};
int closure_of_directory(const struct closure_source *source,
    const struct digest *root, const struct closure *closure,
    struct error *err);

/* Adds every blob that the result names, directly, through its Tree messages
 * or its root directories, to blobs, each once. FAILED_PRECONDITION names a
 * Tree or Directory that cannot be read since it is absent. */
int closure_of_action_result(const struct closure_source *source,
    const Reapi__ActionResult *result, struct digest_list *blobs,
    struct error *err);

#endif
