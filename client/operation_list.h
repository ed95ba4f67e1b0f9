/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations of a server (google.longrunning.Operations), unpacked to what
 * people want to know of them. One thread.
 */
#ifndef TOOLROOT_CLIENT_OPERATION_LIST_H
#define TOOLROOT_CLIENT_OPERATION_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct error;
struct rpc_channel;

/* Texts are in the arena; "" where the server says nothing. */
struct operation_info {
	const char *name;
	const char *stage;  /* "queued", "executing", "done" */
	const char *action; /* "<hash>/<size>" */
	const char *worker;
	const char *target;
	const char *mnemonic;
	const char *invocation;
	const char *stdout_stream; /* "": it cannot be followed */
	const char *stderr_stream;
	int64_t queued_s; /* since 1970; 0 = not said */
	bool done;
	/* When done. */
	bool has_exit_code;
	int exit_code;
	const char *error; /* "": it came to an end by itself */
};

struct operation_list {
	struct operation_info *items; /* oldest first; malloc */
	size_t count;
};

/* All of the instance. */
int operation_list_get(struct operation_list *list, struct rpc_channel *channel,
    const char *instance, struct arena *arena, struct error *err);
void operation_list_clear(struct operation_list *list);
/* One, as it is now. */
int operation_info_get(struct operation_info *info, struct rpc_channel *channel,
    const char *name, struct arena *arena, struct error *err);

/* The newest that `what` means (a name or its last part, a target, an
 * invocation, an action's hash or the first 8 characters of it or more), one
 * that is not done before one that is; NULL. */
const struct operation_info *operation_list_find(
    const struct operation_list *list, const char *what);

#endif
