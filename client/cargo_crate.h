/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known of the crate that a call compiles: its package, its toolchain,
 * where things are for it, what it reads. A crate of the workspace is asked
 * for its sources and variables by a run of the compiler for dep-info alone;
 * fetched packages never change, so all of their directory counts. One thread;
 * blocks.
 */
#ifndef TOOLROOT_CLIENT_CARGO_CRATE_H
#define TOOLROOT_CLIENT_CARGO_CRATE_H

#include <stdbool.h>

#include "client/cargo_arguments.h"
#include "client/cargo_strings.h"

struct cargo_layout;
struct cargo_message_answer;
struct cargo_message_call;
struct cargo_paths;
struct cargo_session;
struct cargo_toolchain;
struct error;

struct cargo_crate {
	struct cargo_session *session; /* borrowed, both */
	const struct cargo_message_call *call;
	const char *driver;         /* clippy's, before rustc; or NULL */
	const char *wrapper;        /* another program there; or NULL */
	const char *rustc;          /* as cargo calls it */
	struct cargo_strings words; /* what follows, argument files read */
	struct cargo_arguments arguments;
	const struct cargo_layout *layout;
	const struct cargo_toolchain *toolchain;
	const char *package;          /* its directory, or NULL */
	bool fetched;                 /* from a registry or a repository */
	bool exact;                   /* all is where it is */
	bool exact_home;              /* what was fetched is */
	bool warm;                    /* there is incremental state for it */
	bool built;                   /* it was compiled here before */
	bool given;                   /* cargo was told of its metadata */
	struct cargo_strings learned; /* names of variables that it reads */
	struct cargo_strings sources; /* absolute; of the workspace's alone */
};

/* Reads the call: nothing else is looked at. */
void cargo_crate_init(struct cargo_crate *crate, struct cargo_session *session,
    const struct cargo_message_call *call);
void cargo_crate_clear(struct cargo_crate *crate);

/* Where it is, and what it is made of for those that use it. After an error it
 * can only be run as it was called. */
int cargo_crate_locate(struct cargo_crate *crate, struct error *err);
/* Which sources and variables it reads, if it is the workspace's. Sets exact.
 * -1 as above. */
int cargo_crate_discover(struct cargo_crate *crate, struct error *err);
/* A program may look for files where this variable of its dep-info says: moves
 * the crate to its true place, as far as need be. False when it is there. */
bool cargo_crate_move(struct cargo_crate *crate, const char *variable);
/* Whether true paths are among those of its actions: they may be anywhere. */
bool cargo_crate_is_moved(const struct cargo_crate *crate);
/* Of what was fetched nothing is known yet: sets exact_home and exact. What
 * cannot be known stays as it is. */
void cargo_crate_find_place(struct cargo_crate *crate);

/* Adds the fixed paths of its actions. */
void cargo_crate_paths(
    const struct cargo_crate *crate, struct cargo_paths *paths);
/* Where its metadata is; the caller frees it. */
char *cargo_crate_metadata(const struct cargo_crate *crate);
/* How it is run on this machine at these paths. */
void cargo_crate_place(
    const struct cargo_crate *crate, struct cargo_message_answer *answer);
/* The program and its arguments in an action. */
void cargo_crate_command(const struct cargo_crate *crate,
    const struct cargo_paths *paths, bool incremental,
    struct cargo_strings *out);

/* As cargo calls it when it tells of errors, such as "serde v1.0.219 (build
 * script)" or "app (bin "app" test)"; the version only if it was fetched, since
 * several of them may be in one build. After cargo_crate_locate. The caller
 * frees it. */
char *cargo_crate_title(const struct cargo_crate *crate);

/* Of the call's environment; NULL when it is not there. */
const char *cargo_crate_variable(
    const struct cargo_crate *crate, const char *name);

#endif
