/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the calls of one build share: where things are, the toolchain, the
 * server. Each is found when the first call needs it, so that a build with
 * nothing to do pays for nothing; others wait for it meanwhile. A server that
 * fails once is not asked again in this build. Any thread; blocks.
 */
#ifndef TOOLROOT_CLIENT_CARGO_SESSION_H
#define TOOLROOT_CLIENT_CARGO_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "client/cargo_strings.h"
#include "client/stat_ledger.h"

struct cargo_session;
struct cargo_summary;
struct cargo_toolchain;
struct cas_client;
struct client_options;
struct error;
struct retry;
struct rpc_channel;
struct setting_list;

struct cargo_session_options {
	const struct client_options *client; /* borrowed, all */
	const struct setting_list *libraries;
	const struct setting_list *local; /* crates that are to stay here */
	const char *cache;                /* directory, exists */
	enum stat_ledger_verify verify;
	/* `cargo metadata` for this build, ends in NULL. */
	char *const *metadata;
	char *const *environment; /* the build's */
	unsigned local_jobs;      /* compilers here at once; 0: no limit */
};

struct cargo_session *cargo_session_open(
    const struct cargo_session_options *options, struct error *err);
/* Saves the ledger. NULL is allowed. */
void cargo_session_close(struct cargo_session *session);

struct cargo_summary *cargo_session_summary(struct cargo_session *session);
struct stat_ledger *cargo_session_ledger(struct cargo_session *session);
const char *cargo_session_cache(const struct cargo_session *session);
char *const *cargo_session_environment(const struct cargo_session *session);
const char *cargo_session_invocation(const struct cargo_session *session);
enum digest_function cargo_session_function(
    const struct cargo_session *session);
bool cargo_session_keeps(
    const struct cargo_session *session, const char *crate);

/* Where the build is; both live as long as the session. */
struct cargo_layout {
	char *workspace;
	char *target;
	char *home; /* cargo's */
};
/* NULL on error, also when it failed before. */
const struct cargo_layout *cargo_session_layout(
    struct cargo_session *session, struct error *err);
/* Likewise, of these programs; see client/cargo_toolchain.h. */
struct cargo_session_programs {
	const char *rustc;
	const char *driver; /* or NULL, both */
	const char *linker;
};
const struct cargo_toolchain *cargo_session_toolchain(
    struct cargo_session *session,
    const struct cargo_session_programs *programs, struct error *err);

/* Around putting results in place: false, and nothing may be put, once
 * cargo_session_stop was called. That waits for those under way, so that
 * nothing changes in the target directory when cargo is gone. */
bool cargo_session_begin_put(struct cargo_session *session);
void cargo_session_end_put(struct cargo_session *session);
void cargo_session_stop(struct cargo_session *session);

/* Around a compiler on this machine: waits while there are as many of them as
 * there may be, yet not for ever, since one may wait for another, nor once
 * cargo_session_stop was called. */
void cargo_session_begin_local(struct cargo_session *session);
void cargo_session_end_local(struct cargo_session *session);

/* Whether a compilation that others began can be repeated here, so that cargo
 * may be told of its metadata before it is done. Each shim can find out. */
enum cargo_repeats {
	CARGO_REPEATS_UNKNOWN,
	CARGO_REPEATS,
	CARGO_REPEATS_NOT,
};
enum cargo_repeats cargo_session_repeats(struct cargo_session *session);
void cargo_session_set_repeats(struct cargo_session *session, bool can);

struct cargo_server {
	struct rpc_channel *channel;
	struct cas_client *cas;
	const char *instance;
};
/* NULL on error; UNAVAILABLE once it was given up. */
const struct cargo_server *cargo_session_server(
    struct cargo_session *session, struct error *err);
/* The server has the toolchain. *up gets the bytes that were sent. After
 * RESOURCE_EXHAUSTED it may be called again. */
int cargo_session_upload(struct cargo_session *session,
    const struct cargo_toolchain *toolchain, uint64_t *up, struct error *err);
/* After an upload: waits and returns true when err is RESOURCE_EXHAUSTED and
 * another try is left, as retry_again. All such pauses of a build, those at the
 * same time counted once, are 20 s or a little more. */
bool cargo_session_retry(struct cargo_session *session, struct retry *retry,
    const struct error *err);
/* Executions that fail one after the other, whatever the reason, are the last:
 * then results are looked for but nothing is sent any more. */
int cargo_session_may_execute(struct cargo_session *session, struct error *err);
void cargo_session_executed(struct cargo_session *session);
void cargo_session_not_executed(
    struct cargo_session *session, const struct error *err);
/* After an error of the server: gives it up if it is of that kind. */
void cargo_session_failed(
    struct cargo_session *session, const struct error *err);

#endif
