/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the commands that administer a store share: the methods of cas/admin.h
 * on a running server or an idle store, and how figures are written. Main
 * thread.
 */
#ifndef TOOLROOT_CLIENT_ADMIN_COMMAND_H
#define TOOLROOT_CLIENT_ADMIN_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/settings.h"
#include "base/str.h"

struct Adminapi__InstanceUse;
struct ProtobufCMessage;
struct client_options;
struct error;
struct store;
struct store_options;

/* Exit status beside 0, 1 (failed) and 2 (called wrongly). */
#define ADMIN_EXIT_SHORT 3

/* Where a command works: on a running server, or on the store in a directory
 * that no server has open. */
struct admin_place {
	const struct client_options *client;
	const char *store; /* NULL = the server */
	bool read_only;    /* the store, which a server may have open */
	int64_t min_age;   /* of collections in store; ms */
	const struct admin_watcher *watcher; /* NULL: nobody watches */
};
/* Asked now and then while the answer is waited for. */
struct admin_watcher {
	const char *path;
	const struct ProtobufCMessage *request;
	/* Borrowed; on a thread of its own. */
	void (*show)(void *cookie, const void *message);
	void *cookie;
};
/* The row of a command's table for it. */
#define ADMIN_STORE_ROW(type, field) \
	{ \
		"store", SETTING_TEXT, offsetof(type, field), "DIR", NULL, \
		    "Work on the store in this directory, which no server " \
		    "has open,\ninstead of asking a server." \
	}

/* What a method of cas/admin.h answers. */
struct admin_answer {
	const void *message; /* NULL before the call and after a failure */
	struct arena arena;  /* its memory */
};
/* path: ADMIN_PATH("Collect"). The answer is the caller's, also on failure. */
int admin_call(const struct admin_place *place, const char *path,
    const struct ProtobufCMessage *request, struct admin_answer *answer,
    struct error *err);
void admin_answer_clear(struct admin_answer *answer);
/* As store_open, but makes no new store: NOT_FOUND. */
struct store *admin_open_store(
    const struct store_options *options, struct error *err);

/* To read, also beside the server that writes it. path NULL: INVALID_ARGUMENT
 * says that --store is missing. */
struct store *admin_read_store(const char *path, struct error *err);

/* One line on a terminal's standard error that takes the last one's place; else
 * nothing. The end clears it. */
void admin_progress(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
void admin_progress_end(void);

/* A table of what instances have; nothing without any. */
void admin_print_uses(struct Adminapi__InstanceUse *const *uses, size_t count);

/* "1.4 GiB". */
#define ADMIN_SIZE_MAX 32
const char *admin_format_size(uint64_t bytes, char text[static ADMIN_SIZE_MAX]);
/* "3 h 20 min"; "-" when below 0. */
#define ADMIN_AGE_MAX 32
const char *admin_format_age(int64_t ms, char text[static ADMIN_AGE_MAX]);
/* "2026-11-26T10:00:00Z"; "-" for 0. */
#define ADMIN_TIME_MAX 32
const char *admin_format_time(
    int64_t seconds, char text[static ADMIN_TIME_MAX]);

#endif
