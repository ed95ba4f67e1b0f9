/* SPDX-License-Identifier: Apache-2.0 */
/* Things that are made once, while those who need them wait. */
#include "client/cargo_session.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <uuid/uuid.h>

#include "base/clock.h"
#include "base/condition.h"
#include "base/error.h"
#include "base/memory.h"
#include "client/cargo_process.h"
#include "client/cargo_summary.h"
#include "client/cargo_toolchain.h"
#include "client/cas_client.h"
#include "client/client_options.h"
#include "client/retry.h"
#include "client/toolchain_progress.h"
#include "client/toolchain_upload.h"
#include "rpc/channel.h"

#define TOOLCHAINS_MAX 16
/* Of a call. A build should go on soon when the server hangs. */
#define TIMEOUT_MS 20000
#define FIRST_TIMEOUT_MS 5000
#define RETRIES 1
#define FAILURES_MAX 3
#define PATIENCE_MS 20000
/* Since one began or ended. Crates take minutes, and gigabytes. */
#define LOCAL_PATIENCE_NS ((int64_t)300 * 1000000000)
/* It reads the manifests of the workspace, nothing else. */
#define METADATA_TIMEOUT_MS 60000

enum stage { STAGE_NONE, STAGE_BUSY, STAGE_DONE, STAGE_FAILED };

/* One thing; the stage is guarded by the session's lock, the rest is its
 * maker's while BUSY and nobody's to write after. */
struct once {
	enum stage stage;
	struct error error; /* when FAILED */
};

struct toolchain {
	struct once made;
	struct once uploaded;
	char *rustc;
	char *driver; /* or NULL, both */
	char *linker;
	struct cargo_toolchain *toolchain;
};

struct cargo_session {
	struct cargo_session_options options;
	enum digest_function function;
	struct stat_ledger *ledger;
	struct cargo_summary *summary;
	char invocation[UUID_STR_LEN];
	/* Guards stages, the count of toolchains and what they are for, lost,
	 * failures, repeats and what is about waiting, putting and compilers
	 * here. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct once layout_made;
	struct cargo_layout layout;
	struct once server_made;
	struct cargo_server server;
	bool lost;
	unsigned failures; /* of executions, one after the other */
	unsigned waiting;  /* calls, for room on the server */
	int64_t waiting_since;
	int64_t waited_ms; /* before that */
	unsigned putting;  /* calls, results in place */
	unsigned local;    /* compilers here */
	int64_t local_ns;  /* when one began or ended last */
	bool stopped;
	enum cargo_repeats repeats;
	struct toolchain toolchains[TOOLCHAINS_MAX];
	size_t toolchain_count;
};

/* --- once ----------------------------------------------------------------- */

/* 1: the caller makes it and then calls once_end; 0: it is made; -1: it could
 * not be made. */
static int
once_begin(struct cargo_session *session, struct once *once, struct error *err)
{
	int rc;

	pthread_mutex_lock(&session->lock);
	while (once->stage == STAGE_BUSY)
		pthread_cond_wait(&session->changed, &session->lock);
	rc = once->stage == STAGE_NONE ? 1 : 0;
	if (once->stage == STAGE_FAILED) {
		*err = once->error;
		rc = -1;
	}
	if (rc > 0)
		once->stage = STAGE_BUSY;
	pthread_mutex_unlock(&session->lock);
	return rc;
}

static int
once_end(struct cargo_session *session, struct once *once, int rc,
    const struct error *err)
{
	pthread_mutex_lock(&session->lock);
	once->stage = rc == 0 ? STAGE_DONE : STAGE_FAILED;
	if (rc < 0)
		once->error = *err;
	pthread_cond_broadcast(&session->changed);
	pthread_mutex_unlock(&session->lock);
	return rc;
}

/* To be made by the next one. */
static void
once_undo(struct cargo_session *session, struct once *once)
{
	pthread_mutex_lock(&session->lock);
	once->stage = STAGE_NONE;
	pthread_cond_broadcast(&session->changed);
	pthread_mutex_unlock(&session->lock);
}

/* --- the whole ------------------------------------------------------------ */

struct cargo_session *
cargo_session_open(
    const struct cargo_session_options *options, struct error *err)
{
	struct cargo_session *session;
	enum digest_function function;
	char *ledger;
	uuid_t uuid;

	if (client_options_function(options->client, &function, err) < 0)
		return NULL;
	session = xcalloc(1, sizeof(*session));
	session->options = *options;
	session->function = function;
	session->summary = cargo_summary_new();
	ledger = xasprintf("%s/ledger", options->cache);
	session->ledger = stat_ledger_open(ledger, function, options->verify);
	free(ledger);
	uuid_generate(uuid);
	uuid_unparse_lower(uuid, session->invocation);
	pthread_mutex_init(&session->lock, NULL);
	condition_init(&session->changed);
	return session;
}

void
cargo_session_close(struct cargo_session *session)
{
	struct error err;

	if (session == NULL)
		return;
	if (stat_ledger_save(session->ledger, &err) < 0)
		fprintf(stderr, "toolroot: %s\n", err.text);
	stat_ledger_close(session->ledger);
	cas_client_close(session->server.cas);
	if (session->server.channel != NULL)
		rpc_channel_close(session->server.channel);
	for (size_t i = 0; i < session->toolchain_count; i++) {
		cargo_toolchain_close(session->toolchains[i].toolchain);
		free(session->toolchains[i].rustc);
		free(session->toolchains[i].driver);
		free(session->toolchains[i].linker);
	}
	cargo_summary_free(session->summary);
	free(session->layout.workspace);
	free(session->layout.target);
	free(session->layout.home);
	pthread_cond_destroy(&session->changed);
	pthread_mutex_destroy(&session->lock);
	free(session);
}

struct cargo_summary *
cargo_session_summary(struct cargo_session *session)
{
	return session->summary;
}

struct stat_ledger *
cargo_session_ledger(struct cargo_session *session)
{
	return session->ledger;
}

const char *
cargo_session_cache(const struct cargo_session *session)
{
	return session->options.cache;
}

char *const *
cargo_session_environment(const struct cargo_session *session)
{
	return session->options.environment;
}

const char *
cargo_session_invocation(const struct cargo_session *session)
{
	return session->invocation;
}

enum digest_function
cargo_session_function(const struct cargo_session *session)
{
	return session->function;
}

bool
cargo_session_keeps(const struct cargo_session *session, const char *crate)
{
	const struct setting_list *local = session->options.local;

	for (size_t i = 0; i < local->count; i++) {
		const char *name = local->items[i];
		size_t at = 0;

		/* As the package or as the compiler calls it. */
		while (name[at] != '\0' &&
		       (name[at] == crate[at] ||
			   (name[at] == '-' && crate[at] == '_')))
			at++;
		if (name[at] == '\0' && crate[at] == '\0')
			return true;
	}
	return false;
}

/* --- results -------------------------------------------------------------- */

bool
cargo_session_begin_put(struct cargo_session *session)
{
	bool may;

	pthread_mutex_lock(&session->lock);
	may = !session->stopped;
	session->putting += may ? 1 : 0;
	pthread_mutex_unlock(&session->lock);
	return may;
}

void
cargo_session_end_put(struct cargo_session *session)
{
	pthread_mutex_lock(&session->lock);
	session->putting--;
	pthread_cond_broadcast(&session->changed);
	pthread_mutex_unlock(&session->lock);
}

/* Each that begins in spite of it renews the patience of all. */
static bool
is_to_wait(const struct cargo_session *session)
{
	unsigned limit = session->options.local_jobs;

	return limit > 0 && session->local >= limit && !session->stopped &&
	       clock_monotonic_ns() < session->local_ns + LOCAL_PATIENCE_NS;
}

void
cargo_session_begin_local(struct cargo_session *session)
{
	pthread_mutex_lock(&session->lock);
	while (is_to_wait(session))
		(void)condition_wait_until(&session->changed, &session->lock,
		    session->local_ns + LOCAL_PATIENCE_NS);
	session->local++;
	session->local_ns = clock_monotonic_ns();
	pthread_mutex_unlock(&session->lock);
}

void
cargo_session_end_local(struct cargo_session *session)
{
	pthread_mutex_lock(&session->lock);
	session->local--;
	session->local_ns = clock_monotonic_ns();
	pthread_cond_broadcast(&session->changed);
	pthread_mutex_unlock(&session->lock);
}

enum cargo_repeats
cargo_session_repeats(struct cargo_session *session)
{
	enum cargo_repeats repeats;

	pthread_mutex_lock(&session->lock);
	repeats = session->repeats;
	pthread_mutex_unlock(&session->lock);
	return repeats;
}

void
cargo_session_set_repeats(struct cargo_session *session, bool can)
{
	pthread_mutex_lock(&session->lock);
	session->repeats = can ? CARGO_REPEATS : CARGO_REPEATS_NOT;
	pthread_mutex_unlock(&session->lock);
}

void
cargo_session_stop(struct cargo_session *session)
{
	pthread_mutex_lock(&session->lock);
	session->stopped = true;
	pthread_cond_broadcast(&session->changed);
	while (session->putting > 0)
		pthread_cond_wait(&session->changed, &session->lock);
	pthread_mutex_unlock(&session->lock);
}

/* --- where things are ----------------------------------------------------- */

static char *
cargo_home(char *const *environment)
{
	const char *home = cargo_strings_value(environment, "CARGO_HOME");

	if (home != NULL && home[0] == '/')
		return xstrdup(home);
	home = cargo_strings_value(environment, "HOME");
	return xasprintf("%s/.cargo", home != NULL ? home : "/nonexistent");
}

static int
make_layout(struct cargo_session *session, struct error *err)
{
	const struct cargo_process process = {
	    .environment = session->options.environment,
	    .timeout_ms = METADATA_TIMEOUT_MS,
	    .wanted_by = -1,
	};
	struct cargo_layout *layout = &session->layout;
	char *text =
	    cargo_process_read(&process, session->options.metadata, err);
	const char *workspace, *target;
	json_t *json;
	int rc = -1;

	if (text == NULL)
		return -1;
	json = json_loads(text, 0, NULL);
	workspace = json_string_value(json_object_get(json, "workspace_root"));
	/* Where compilers write; cargo before 1.91 knows one directory alone.
	 */
	target = json_string_value(json_object_get(json, "build_directory"));
	if (target == NULL)
		target = json_string_value(
		    json_object_get(json, "target_directory"));
	/* Messages of the compiler are JSON: a path stands in them as it is. */
	if (workspace == NULL || target == NULL)
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "cargo metadata did not tell where the workspace is");
	else if (strpbrk(workspace, "\"\\\n\t") != NULL ||
		 strpbrk(target, "\"\\\n\t") != NULL)
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "the path of the workspace has a character in it that "
		    "JSON would escape");
	else
		rc = 0;
	if (rc == 0) {
		layout->workspace = xstrdup(workspace);
		layout->target = xstrdup(target);
		layout->home = cargo_home(session->options.environment);
	}
	json_decref(json);
	free(text);
	return rc;
}

const struct cargo_layout *
cargo_session_layout(struct cargo_session *session, struct error *err)
{
	int rc = once_begin(session, &session->layout_made, err);

	if (rc > 0)
		rc = once_end(session, &session->layout_made,
		    make_layout(session, err), err);
	return rc == 0 ? &session->layout : NULL;
}

/* --- toolchains ----------------------------------------------------------- */

static bool
is_same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static char *
copy(const char *text)
{
	return text != NULL ? xstrdup(text) : NULL;
}

static struct toolchain *
find_toolchain(struct cargo_session *session,
    const struct cargo_session_programs *programs)
{
	struct toolchain *found = NULL;

	pthread_mutex_lock(&session->lock);
	for (size_t i = 0; i < session->toolchain_count; i++) {
		struct toolchain *toolchain = &session->toolchains[i];

		if (strcmp(toolchain->rustc, programs->rustc) == 0 &&
		    is_same(toolchain->driver, programs->driver) &&
		    is_same(toolchain->linker, programs->linker))
			found = toolchain;
	}
	if (found == NULL && session->toolchain_count < TOOLCHAINS_MAX) {
		found = &session->toolchains[session->toolchain_count++];
		found->rustc = xstrdup(programs->rustc);
		found->driver = copy(programs->driver);
		found->linker = copy(programs->linker);
	}
	pthread_mutex_unlock(&session->lock);
	return found;
}

static int
make_toolchain(struct cargo_session *session, struct toolchain *toolchain,
    struct error *err)
{
	const struct cargo_toolchain_options options = {
	    .rustc = toolchain->rustc,
	    .driver = toolchain->driver,
	    .linker = toolchain->linker,
	    .cache = session->options.cache,
	    .ledger = session->ledger,
	    .function = session->function,
	    .libraries = session->options.libraries,
	};

	toolchain->toolchain = cargo_toolchain_open(&options, err);
	return toolchain->toolchain != NULL ? 0 : -1;
}

const struct cargo_toolchain *
cargo_session_toolchain(struct cargo_session *session,
    const struct cargo_session_programs *programs, struct error *err)
{
	struct toolchain *toolchain = find_toolchain(session, programs);
	int rc;

	if (toolchain == NULL) {
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "more than %d compilers in one build", TOOLCHAINS_MAX);
		return NULL;
	}
	rc = once_begin(session, &toolchain->made, err);
	if (rc > 0) {
		rc = once_end(session, &toolchain->made,
		    make_toolchain(session, toolchain, err), err);
		if (rc < 0)
			cargo_summary_note(session->summary, err->text);
	}
	return rc == 0 ? toolchain->toolchain : NULL;
}

/* --- the server ----------------------------------------------------------- */

static int
make_server(struct cargo_session *session, struct error *err)
{
	const struct client_options *options = session->options.client;
	struct cargo_server *server = &session->server;
	struct cas_client_options cas = {
	    .instance = options->instance,
	    .function = session->function,
	    .compress = options->compress,
	    .retries = RETRIES,
	    .timeout_ms = TIMEOUT_MS,
	    .first_timeout_ms = FIRST_TIMEOUT_MS,
	};

	server->instance = options->instance;
	server->channel = client_options_channel(options, err);
	if (server->channel == NULL)
		return -1;
	cas.channel = server->channel;
	server->cas = cas_client_open(&cas, err);
	return server->cas != NULL ? 0 : -1;
}

static void
note_loss(struct cargo_session *session, const struct error *err)
{
	char *text = xasprintf("server %s: %s; the build goes on here",
	    session->options.client->server, err->text);

	cargo_summary_note(session->summary, text);
	free(text);
}

const struct cargo_server *
cargo_session_server(struct cargo_session *session, struct error *err)
{
	bool lost;
	int rc = once_begin(session, &session->server_made, err);

	if (rc > 0) {
		rc = once_end(session, &session->server_made,
		    make_server(session, err), err);
		if (rc < 0)
			note_loss(session, err);
	}
	if (rc < 0) {
		/* Told once, in the note. */
		error_set(err, ERROR_UNAVAILABLE, "no server");
		return NULL;
	}
	pthread_mutex_lock(&session->lock);
	lost = session->lost;
	pthread_mutex_unlock(&session->lock);
	if (lost) {
		error_set(err, ERROR_UNAVAILABLE, "no server");
		return NULL;
	}
	return &session->server;
}

void
cargo_session_failed(struct cargo_session *session, const struct error *err)
{
	bool first;

	if (err->code != ERROR_UNAVAILABLE &&
	    err->code != ERROR_DEADLINE_EXCEEDED &&
	    err->code != ERROR_UNAUTHENTICATED &&
	    err->code != ERROR_PERMISSION_DENIED)
		return;
	pthread_mutex_lock(&session->lock);
	first = !session->lost;
	session->lost = true;
	pthread_mutex_unlock(&session->lock);
	if (first)
		note_loss(session, err);
}

/* --- executions ----------------------------------------------------------- */

int
cargo_session_may_execute(struct cargo_session *session, struct error *err)
{
	bool may;

	pthread_mutex_lock(&session->lock);
	may = session->failures < FAILURES_MAX;
	pthread_mutex_unlock(&session->lock);
	return may ? 0
		   : error_set(err, ERROR_FAILED_PRECONDITION,
			 "the server does not execute");
}

void
cargo_session_executed(struct cargo_session *session)
{
	pthread_mutex_lock(&session->lock);
	if (session->failures < FAILURES_MAX)
		session->failures = 0;
	pthread_mutex_unlock(&session->lock);
}

void
cargo_session_not_executed(
    struct cargo_session *session, const struct error *err)
{
	bool last;

	pthread_mutex_lock(&session->lock);
	last = ++session->failures == FAILURES_MAX && !session->lost;
	pthread_mutex_unlock(&session->lock);
	if (last)
		note_loss(session, err);
}

/* --- uploading ------------------------------------------------------------ */

static int
upload(struct cargo_session *session, struct toolchain *toolchain, uint64_t *up,
    struct error *err)
{
	/* The terminal is cargo's meanwhile. */
	struct toolchain_progress *progress = toolchain_progress_start(false);
	const struct toolchain_upload what = {session->server.cas,
	    toolchain->toolchain->tree, toolchain->toolchain->builder, NULL,
	    progress};
	struct toolchain_upload_stats stats = {.bytes = 0};
	int rc;

	cargo_summary_set_status(session->summary, "sending the toolchain");
	rc = toolchain_upload(&what, &stats, err);
	cargo_summary_set_status(session->summary, NULL);
	toolchain_progress_stop(progress);
	if (rc == 0)
		*up += stats.bytes - stats.present_bytes;
	return rc;
}

/* It is one of ours: nothing is ever taken from the list. */
static struct toolchain *
entry_of(struct cargo_session *session, const struct cargo_toolchain *toolchain)
{
	size_t i = 0;

	pthread_mutex_lock(&session->lock);
	while (session->toolchains[i].toolchain != toolchain)
		i++;
	pthread_mutex_unlock(&session->lock);
	return &session->toolchains[i];
}

int
cargo_session_upload(struct cargo_session *session,
    const struct cargo_toolchain *toolchain, uint64_t *up, struct error *err)
{
	struct toolchain *entry = entry_of(session, toolchain);
	int rc = once_begin(session, &entry->uploaded, err);

	if (rc <= 0)
		return rc;
	rc = upload(session, entry, up, err);
	if (rc < 0 && err->code == ERROR_RESOURCE_EXHAUSTED) {
		once_undo(session, &entry->uploaded);
		return -1;
	}
	return once_end(session, &entry->uploaded, rc, err);
}

static bool
begin_waiting(struct cargo_session *session, int64_t delay)
{
	int64_t now = clock_monotonic_ms();
	int64_t waited;
	bool may;

	pthread_mutex_lock(&session->lock);
	if (session->waiting == 0)
		session->waiting_since = now;
	waited = session->waited_ms + now - session->waiting_since;
	may = waited + delay < PATIENCE_MS;
	if (may)
		session->waiting++;
	pthread_mutex_unlock(&session->lock);
	return may;
}

static void
end_waiting(struct cargo_session *session)
{
	pthread_mutex_lock(&session->lock);
	if (--session->waiting == 0)
		session->waited_ms +=
		    clock_monotonic_ms() - session->waiting_since;
	pthread_mutex_unlock(&session->lock);
}

bool
cargo_session_retry(
    struct cargo_session *session, struct retry *retry, const struct error *err)
{
	bool again;

	if (err->code != ERROR_RESOURCE_EXHAUSTED ||
	    !begin_waiting(session, err->retry_delay_ms))
		return false;
	again = retry_again(retry, err);
	end_waiting(session);
	return again;
}
