/* SPDX-License-Identifier: Apache-2.0 */
/* Checks in the order in which they depend on each other; the first that fails
 * leaves the rest skipped. */
#include "client/doctor_server.h"

#include <inttypes.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uuid/uuid.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/digest_list.h"
#include "cas/digest_message.h"
#include "cas/merkle_builder.h"
#include "client/cargo_action.h"
#include "client/cargo_execute.h"
#include "client/cargo_strings.h"
#include "client/cas_client.h"
#include "client/client_options.h"
#include "client/doctor_program.h"
#include "client/doctor_report.h"
#include "client/request_metadata.h"
#include "rpc/channel.h"
#include "rpc/connect_hint.h"

#define SMALL ((size_t)1000)
#define LARGE ((size_t)3 << 20) /* goes in a stream */
#define EXECUTION_MS 60000
#define CALL_MS 10000
#define RESULT_MEMORY (1u << 20)
/* Time stamps of results mean little beyond that. */
#define CLOCK_SECONDS 5

struct round_trip {
	struct doctor_report *report;
	const struct client_options *options;
	struct rpc_channel *channel;
	struct cas_client *cas;
	enum digest_function function;
	uint8_t *data; /* SMALL and LARGE bytes that no server has */
	struct digest digests[2];
	int64_t start;
};

static void
add(struct round_trip *trip, enum doctor_result result, const char *name,
    const char *found, const char *remedy)
{
	doctor_report_add(trip->report, result, name, found, remedy);
}

/* --- reaching it ---------------------------------------------------------- */

static int
open_client(struct round_trip *trip, struct error *err)
{
	struct cas_client_options cas = {
	    .instance = trip->options->instance,
	    .compress = trip->options->compress,
	    .retries = 1,
	    .timeout_ms = CALL_MS,
	};

	if (client_options_function(trip->options, &trip->function, err) < 0)
		return -1;
	cas.function = trip->function;
	trip->channel = client_options_channel(trip->options, err);
	if (trip->channel == NULL)
		return -1;
	cas.channel = trip->channel;
	trip->cas = cas_client_open(&cas, err);
	return trip->cas != NULL ? 0 : -1;
}

static bool
reach(struct round_trip *trip)
{
	const char *remedy = NULL;
	struct error err;
	char *found;
	int rc = open_client(trip, &err);

	found = rc == 0 ? xasprintf("%s answers after %" PRId64 " ms",
			      trip->options->server,
			      clock_monotonic_ms() - trip->start)
			: xasprintf("%s: %s", trip->options->server, err.text);
	if (rc < 0)
		remedy = rpc_connect_hint(trip->options->server, &err);
	if (rc < 0 && remedy == NULL)
		remedy = "start one (toolroot serve), or name another: "
			 "--server, TOOLROOT_SERVER, or server under [client] "
			 "in the settings file";
	add(trip, rc == 0 ? DOCTOR_OK : DOCTOR_FAILED, "server", found, remedy);
	free(found);
	return rc == 0;
}

static bool
look_at_capabilities(struct round_trip *trip)
{
	const struct cas_capabilities *can = cas_client_capabilities(trip->cas);
	char *batches =
	    can->told_batch_bytes > 0
		? xasprintf("%" PRIu64 " bytes", can->told_batch_bytes)
		: xstrdup("any size");
	char *found = xasprintf("%s; execution: %s; action results by clients: "
				"%s; zstd: %s; batches of %s",
	    digest_function_name(trip->function), can->execution ? "yes" : "no",
	    can->action_cache_update ? "yes" : "no", can->zstd ? "yes" : "no",
	    batches);

	add(trip, can->execution ? DOCTOR_OK : DOCTOR_FAILED,
	    "server: capabilities", found,
	    can->execution
		? NULL
		: "cargo toolroot needs a server that executes; this "
		  "one is a cache alone");
	free(found);
	free(batches);
	return can->execution;
}

/* --- blobs ---------------------------------------------------------------- */

static int
write_blobs(struct round_trip *trip, struct error *err)
{
	struct cas_upload uploads[2];
	const size_t sizes[2] = {SMALL, LARGE};
	const uint8_t *at = trip->data;

	if (RAND_bytes(trip->data, (int)(SMALL + LARGE)) != 1)
		return error_set(err, ERROR_INTERNAL, "no random bytes");
	for (size_t i = 0; i < 2; i++) {
		digest_compute(trip->function, at, sizes[i], &trip->digests[i]);
		uploads[i] = (struct cas_upload){
		    .digest = trip->digests[i],
		    .from = CAS_UPLOAD_CONTENT,
		    .content = {(const char *)at, sizes[i]},
		};
		at += sizes[i];
	}
	return cas_client_upload(trip->cas, NULL, uploads, 2, NULL, err);
}

static int
find_blobs(struct round_trip *trip, struct error *err)
{
	struct digest_list asked, missing;
	int rc;

	digest_list_init(&asked, 2);
	digest_list_init(&missing, 2);
	if (digest_list_add(&asked, &trip->digests[0]) < 0 ||
	    digest_list_add(&asked, &trip->digests[1]) < 0)
		abort(); /* there is room */
	rc = cas_client_find_missing(trip->cas, NULL, &asked, &missing, err);
	if (rc == 0 && missing.count > 0)
		rc = error_set(err, ERROR_NOT_FOUND,
		    "%zu of 2 blobs that were just written are missing",
		    missing.count);
	digest_list_clear(&asked);
	digest_list_clear(&missing);
	return rc;
}

/* The client compares with the digests. */
static int
read_blobs(struct round_trip *trip, struct error *err)
{
	int rc = 1;

	for (size_t i = 0; i < 2 && rc == 1; i++) {
		struct buffer content;

		buffer_init(&content, LARGE);
		rc = cas_client_read(
		    trip->cas, NULL, &trip->digests[i], &content, err);
		buffer_clear(&content);
	}
	if (rc == 0)
		return error_set(err, ERROR_NOT_FOUND,
		    "a blob that was just written is not there");
	return rc == 1 ? 0 : -1;
}

typedef const char *remedy_function(const struct error *err);

static const char *
store_remedy(const struct error *err)
{
	(void)err;
	return "the server's log and `toolroot store stats` tell more: a full "
	       "store or disk is the usual cause";
}

static const char *
read_remedy(const struct error *err)
{
	(void)err;
	return "run `toolroot store check`: what the server sends is not what "
	       "it was sent";
}

static const char *
execute_remedy(const struct error *err)
{
	if (strstr(err->text, "no worker") != NULL)
		return "start workers for it: serve --workers 2, or toolroot "
		       "worker on another machine";
	if (strstr(err->text, "--sandbox=none") != NULL)
		return "start its workers without --sandbox none: cargo "
		       "toolroot, and all that name a toolchain-root, need the "
		       "sandbox";
	return "the logs of the worker and of the server say why";
}

static bool
step(struct round_trip *trip, const char *name,
    int (*run)(struct round_trip *trip, struct error *err),
    remedy_function *remedy)
{
	int64_t start = clock_monotonic_ms();
	struct error err;
	char *found;
	int rc = run(trip, &err);

	found = rc == 0
		    ? xasprintf("%" PRId64 " ms", clock_monotonic_ms() - start)
		    : xstrdup(err.text);
	add(trip, rc == 0 ? DOCTOR_OK : DOCTOR_FAILED, name, found,
	    rc == 0 ? NULL : remedy(&err));
	free(found);
	return rc == 0;
}

/* --- executing ------------------------------------------------------------ */

/* The program alone in the root, and a variable that makes each action one of
 * its own. */
static int
make_action(struct round_trip *trip, struct merkle_builder *builder,
    struct cargo_action *action, struct error *err)
{
	struct merkle_file file = {.executable = true};
	struct cargo_strings arguments = {.count = 0}, outputs = {.count = 0};
	struct cargo_strings environment = {.count = 0};
	struct cargo_action_parts parts = {
	    .arguments = &arguments,
	    .environment = &environment,
	    .input_root = "",
	    .directory = "/w",
	    .out_dir = "/w",
	    .outputs = &outputs,
	};
	struct str program = doctor_program();
	char text[UUID_STR_LEN];
	uuid_t uuid;

	digest_compute(trip->function, program.data, program.len, &file.digest);
	if (merkle_builder_add_file(builder, STR("probe"), &file, err) < 0 ||
	    merkle_builder_add_directory(builder, STR("w"), err) < 0 ||
	    merkle_builder_finish(builder, err) < 0)
		return -1;
	parts.root = *merkle_builder_root(builder);
	uuid_generate(uuid);
	uuid_unparse_lower(uuid, text);
	cargo_strings_add(&arguments, "/probe");
	cargo_strings_take(&environment, xasprintf("TOOLROOT_DOCTOR=%s", text));
	cargo_action_make(action, &parts);
	cargo_strings_clear(&arguments);
	cargo_strings_clear(&environment);
	return 0;
}

static int
send_action(struct round_trip *trip, const struct merkle_builder *builder,
    const struct cargo_action *action, struct error *err)
{
	struct str program = doctor_program();
	struct cas_upload uploads[8] = {
	    {.digest = action->command_digest, .content = action->command},
	    {.digest = action->digest, .content = action->action},
	    {.content = program},
	};
	size_t count;
	const struct merkle_directory *directories =
	    merkle_builder_directories(builder, &count);

	digest_compute(
	    trip->function, program.data, program.len, &uploads[2].digest);
	for (size_t i = 0; i < count && i < 5; i++) {
		uploads[3 + i].digest = directories[i].digest;
		uploads[3 + i].content = directories[i].bytes;
	}
	return cas_client_upload(
	    trip->cas, NULL, uploads, 3 + (count < 5 ? count : 5), NULL, err);
}

static int
check_output(struct round_trip *trip, const Reapi__ActionResult *result,
    struct error *err)
{
	const struct str wanted = STR(DOCTOR_PROGRAM_OUTPUT);
	struct digest digest, got;

	if (result->exit_code != 0)
		return error_set(err, ERROR_INTERNAL,
		    "the program ended with status %d", result->exit_code);
	if (str_equal((struct str){(const char *)result->stdout_raw.data,
			  result->stdout_raw.len},
		wanted))
		return 0;
	digest_compute(trip->function, wanted.data, wanted.len, &digest);
	if (result->stdout_digest != NULL &&
	    digest_from_message(
		trip->function, result->stdout_digest, &got, err) == 0 &&
	    digest_equal(&digest, &got))
		return 0;
	return error_set(
	    err, ERROR_INTERNAL, "the program's output did not come back");
}

static void
check_clock(struct round_trip *trip, const Reapi__ActionResult *result)
{
	const Reapi__ExecutedActionMetadata *metadata =
	    result->execution_metadata;
	int64_t apart;
	char *found;

	if (metadata == NULL || metadata->worker_completed_timestamp == NULL)
		return;
	apart =
	    metadata->worker_completed_timestamp->seconds - (int64_t)time(NULL);
	found = xasprintf("the worker's differs by %" PRId64 " s", apart);
	add(trip, llabs(apart) <= CLOCK_SECONDS ? DOCTOR_OK : DOCTOR_WARNING,
	    "server: clock", found,
	    llabs(apart) <= CLOCK_SECONDS
		? NULL
		: "set the clocks by NTP; times in results and histories are "
		  "wrong otherwise");
	free(found);
}

static int
execute(struct round_trip *trip, struct error *err)
{
	struct merkle_builder *builder = merkle_builder_new(trip->function);
	struct cargo_action action = {.command = {NULL, 0}};
	const struct request_metadata metadata = {
	    .tool_name = "toolroot-doctor",
	    .tool_version = TOOLROOT_VERSION,
	    .action_mnemonic = "Doctor",
	};
	struct arena arena;
	struct cargo_execute call = {
	    .channel = trip->channel,
	    .instance = trip->options->instance,
	    .metadata = &metadata,
	    .arena = &arena,
	    .timeout_ms = EXECUTION_MS,
	};
	Reapi__ActionResult *result;
	int rc = -1;

	arena_init(&arena, RESULT_MEMORY);
	if (make_action(trip, builder, &action, err) < 0 ||
	    send_action(trip, builder, &action, err) < 0)
		goto out;
	call.action = action.digest;
	if (cargo_execute_run(&call, &result, err) < 0)
		goto out;
	rc = check_output(trip, result, err);
	if (rc == 0)
		check_clock(trip, result);
out:
	cargo_action_clear(&action);
	merkle_builder_free(builder);
	arena_clear(&arena);
	return rc;
}

/* --- the whole ------------------------------------------------------------ */

static bool
run(struct round_trip *trip)
{
	if (!reach(trip) || !look_at_capabilities(trip) ||
	    !step(trip, "server: write", write_blobs, store_remedy) ||
	    !step(trip, "server: find", find_blobs, store_remedy) ||
	    !step(trip, "server: read", read_blobs, read_remedy))
		return false;
	if (doctor_program().len == 0) {
		add(trip, DOCTOR_SKIPPED, "server: execute",
		    "there is no program to try it with for this kind of "
		    "processor",
		    NULL);
		return true;
	}
	return step(trip, "server: execute", execute, execute_remedy);
}

bool
doctor_server(
    struct doctor_report *report, const struct client_options *options)
{
	struct round_trip trip = {
	    .report = report,
	    .options = options,
	    .data = xmalloc(SMALL + LARGE),
	    .start = clock_monotonic_ms(),
	};
	bool good = run(&trip);

	cas_client_close(trip.cas);
	if (trip.channel != NULL)
		rpc_channel_close(trip.channel);
	free(trip.data);
	return good;
}
