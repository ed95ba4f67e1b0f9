/* SPDX-License-Identifier: Apache-2.0 */
/* Lists operations, or copies the two streams of one to ours: standard error
 * by a thread of its own. */
#include "client/logs_command.h"

#include <google/bytestream/bytestream.pb-c.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/standard_output.h"
#include "client/admin_command.h"
#include "client/client_options.h"
#include "client/operation_list.h"
#include "client/retry.h"
#include "rpc/channel.h"
#include "rpc/message.h"
#include "rpc/runtime.h"

#define EXIT_USAGE 2
#define PATH_READ "/google.bytestream.ByteStream/Read"
#define ANSWER_MEMORY (256u << 20)
#define PIECE_MEMORY (8u << 20)
#define RETRIES 5
#define WAIT_STEP_NS 200000000

struct logs_options {
	struct client_options client;
	bool all;
	bool wait;
	bool json;
};

#define FIELD(name) offsetof(struct logs_options, name)

static const struct setting table[] = {
    {"all", SETTING_FLAG, FIELD(all), "", "no",
	"List those that have ended, too."},
    {"wait", SETTING_FLAG, FIELD(wait), "", "no",
	"Wait until there is such an operation."},
    {"json", SETTING_FLAG, FIELD(json), "", "no", "List as JSON."},
    CLIENT_OPTIONS_TABLE(struct logs_options),
};

static const struct settings logs_settings = {
    .command = "logs",
    .section = "client",
    .synopsis = "[OPERATION|TARGET|INVOCATION|ACTION] [options]",
    .about = "Shows what an action writes while it runs: its standard output "
	     "on standard output,\nits standard error on standard error, from "
	     "the beginning to the end. Of several that\nmatch, the newest "
	     "that still runs. Without an argument: lists what is queued and\n"
	     "what runs. What ended can be read for five minutes.",
    .table = table,
    .count = sizeof(table) / sizeof(table[0]),
    .epilogue =
	"Exit status: 0 the action ended with 0, 1 it did not, or an error.\n\n"
	"Examples:\n"
	"  toolroot logs                        # what runs now\n"
	"  toolroot logs //app:server_test\n"
	"  toolroot logs --wait //app:server_test",
};

/* --- following ------------------------------------------------------------ */

struct following {
	struct rpc_channel *channel;
	const char *resource;
	int fd;
	bool broken; /* fd does not take any more */
	struct error err;
	int rc;
};

static int
write_out(struct following *following, const Bytestream__ReadResponse *response,
    struct error *err)
{
	if (file_write(following->fd, response->data.data, response->data.len,
		err) == 0)
		return 0;
	following->broken = true;
	error_prefix(err, "write the action's output");
	return -1;
}

/* Messages until the end; *offset moves on. */
static int
receive_all(struct following *following, struct rpc_stream *stream,
    int64_t *offset, struct error *err)
{
	struct rpc_message *message;
	int rc;

	while ((rc = rpc_stream_receive(stream, &message, err)) > 0) {
		const Bytestream__ReadResponse *response;
		struct arena arena;

		arena_init(&arena, PIECE_MEMORY);
		response = rpc_message_unpack(message,
		    &bytestream__read_response__descriptor, &arena, err);
		rpc_message_free(message);
		rc =
		    response != NULL ? write_out(following, response, err) : -1;
		if (rc == 0)
			*offset += (int64_t)response->data.len;
		arena_clear(&arena);
		if (rc < 0)
			break;
	}
	return rc;
}

static int
read_from(struct following *following, int64_t *offset, struct error *err)
{
	const struct rpc_call_options options = {.timeout_ms = 0};
	Bytestream__ReadRequest request = BYTESTREAM__READ_REQUEST__INIT;
	struct rpc_stream *stream =
	    rpc_stream_open(following->channel, PATH_READ, &options, err);
	struct error ignored;
	int rc;

	if (stream == NULL)
		return -1;
	request.resource_name =
	    (ProtobufCBinaryData){strlen(following->resource),
		(uint8_t *)(uintptr_t)following->resource};
	request.read_offset = *offset;
	/* Why sending fails is told by what is received. */
	if (rpc_stream_send(
		stream, rpc_message_pack(&request.base), &ignored) == 0)
		(void)rpc_stream_half_close(stream, &ignored);
	rc = receive_all(following, stream, offset, err);
	rpc_stream_free(stream);
	return rc;
}

static void *
follow_main(void *cookie)
{
	struct following *following = cookie;
	struct error *err = &following->err;
	int64_t offset = 0;
	struct retry retry;

	retry_init(&retry, RETRIES, NULL);
	for (;;) {
		int64_t before = offset;

		following->rc = read_from(following, &offset, err);
		if (following->rc == 0 || following->broken)
			return NULL;
		if (offset > before)
			retry_progress(&retry);
		if (err->code == ERROR_ABORTED) {
			offset = 0;
			fprintf(stderr, "toolroot logs: %s\n", err->text);
			continue;
		}
		if (!retry_again(&retry, err))
			return NULL;
	}
}

/* Both streams to their end. */
static int
follow_streams(struct rpc_channel *channel, const struct operation_info *info,
    struct error *err)
{
	struct following output = {.channel = channel,
	    .resource = info->stdout_stream,
	    .fd = STDOUT_FILENO};
	struct following errors = {.channel = channel,
	    .resource = info->stderr_stream,
	    .fd = STDERR_FILENO};
	pthread_t thread;

	if (pthread_create(&thread, NULL, follow_main, &errors) != 0)
		return error_set(
		    err, ERROR_RESOURCE_EXHAUSTED, "cannot start a thread");
	follow_main(&output);
	pthread_join(thread, NULL);
	if (output.rc == 0 && errors.rc == 0)
		return 0;
	*err = output.rc < 0 ? output.err : errors.err;
	return -1;
}

static void
print_head(const struct operation_info *info)
{
	fprintf(stderr, "toolroot logs: %s%s%s%s%s\n", info->name,
	    *info->target != '\0' ? " of " : "", info->target,
	    *info->worker != '\0' ? " on " : "", info->worker);
}

/* The exit status. The operation may have ended long before its streams were
 * read, or not be known any more: then the streams' error counts. */
static int
follow(struct rpc_channel *channel, const struct operation_info *info,
    struct arena *arena, struct error *err)
{
	struct operation_info end;
	int rc;

	print_head(info);
	if (*info->stdout_stream == '\0' || *info->stderr_stream == '\0')
		return error_set(err, ERROR_UNIMPLEMENTED,
		    "the server tells no streams for the output of %s",
		    info->name);
	rc = follow_streams(channel, info, err);
	if (operation_info_get(&end, channel, info->name, arena, err) < 0)
		return -1;
	if (*end.error != '\0')
		return error_set(err, ERROR_UNKNOWN, "%s", end.error);
	if (rc < 0)
		return -1;
	fprintf(stderr, "toolroot logs: exit code %d\n", end.exit_code);
	return end.has_exit_code && end.exit_code == 0 ? 0 : 1;
}

/* --- listing -------------------------------------------------------------- */

static void
print_list(const struct operation_list *list, bool all)
{
	int64_t now_s = clock_wall_ns() / 1000000000;
	size_t shown = 0;

	for (size_t i = 0; i < list->count; i++) {
		const struct operation_info *info = &list->items[i];
		char age[ADMIN_AGE_MAX] = "-";

		if (info->done && !all)
			continue;
		if (info->queued_s > 0)
			snprintf(age, sizeof(age), "%lld s",
			    (long long)(now_s - info->queued_s));
		if (shown++ == 0)
			printf("%-10s %-8s %-16s %-40s %s\n", "STAGE", "AGE",
			    "WORKER", "TARGET", "OPERATION");
		printf("%-10s %-8s %-16s %-40s %s\n", info->stage, age,
		    *info->worker != '\0' ? info->worker : "-",
		    *info->target != '\0' ? info->target : "-", info->name);
	}
	if (shown == 0)
		puts("Nothing is queued, and nothing runs.");
}

static json_t *
info_json(const struct operation_info *info)
{
	json_t *json = json_pack(
	    "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:b}", "operation",
	    info->name, "stage", info->stage, "action_digest", info->action,
	    "worker", info->worker, "target", info->target, "mnemonic",
	    info->mnemonic, "invocation_id", info->invocation, "queued_seconds",
	    (json_int_t)info->queued_s, "done", (int)info->done);

	/* A text that is no UTF-8. */
	if (json == NULL)
		json = json_pack("{s:s, s:s}", "operation", info->name, "stage",
		    info->stage);
	if (json != NULL && info->has_exit_code)
		json_object_set_new(
		    json, "exit_code", json_integer(info->exit_code));
	return json;
}

static void
print_json(const struct operation_list *list, bool all)
{
	json_t *array = json_array();

	for (size_t i = 0; i < list->count; i++)
		if (all || !list->items[i].done)
			json_array_append_new(
			    array, info_json(&list->items[i]));
	json_dumpf(array, stdout,
	    JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII);
	putchar('\n');
	json_decref(array);
}

/* --- running -------------------------------------------------------------- */

/* One look at the server. 1: *status is the exit status; 0: there is no such
 * operation; -1. */
static int
look(const struct logs_options *options, struct rpc_channel *channel,
    const char *what, int *status, struct error *err)
{
	const struct operation_info *info;
	struct operation_list list;
	struct arena arena;
	int rc = 1;

	arena_init(&arena, ANSWER_MEMORY);
	if (operation_list_get(
		&list, channel, options->client.instance, &arena, err) < 0) {
		client_options_unreachable(options->client.server, err);
		arena_clear(&arena);
		return -1;
	}
	info = what != NULL ? operation_list_find(&list, what) : NULL;
	if (info != NULL) {
		*status = follow(channel, info, &arena, err);
		rc = *status < 0 ? -1 : 1;
	} else if (what != NULL) {
		rc = 0;
	} else if (options->json) {
		print_json(&list, options->all);
	} else {
		print_list(&list, options->all);
	}
	operation_list_clear(&list);
	arena_clear(&arena);
	return rc;
}

static int
show(const struct logs_options *options, const char *what, int *status,
    struct error *err)
{
	const struct timespec step = {.tv_nsec = WAIT_STEP_NS};
	struct rpc_channel *channel =
	    client_options_channel(&options->client, err);
	int rc;

	if (channel == NULL)
		return -1;
	while ((rc = look(options, channel, what, status, err)) == 0 &&
	       options->wait)
		nanosleep(&step, NULL);
	if (rc == 0)
		rc = error_set(err, ERROR_NOT_FOUND,
		    "no operation of \"%s\" is known: toolroot logs lists what "
		    "runs, --wait waits for one; an action that was in the "
		    "cache does not run",
		    what);
	rpc_channel_close(channel);
	return rc < 0 ? -1 : 0;
}

static int
run(const struct logs_options *options,
    const struct setting_arguments *arguments)
{
	const char *what = arguments->count > 0 ? arguments->items[0] : NULL;
	int status = EXIT_SUCCESS;
	struct error err;
	int rc;

	if (arguments->count > 1) {
		fprintf(stderr,
		    "toolroot logs: unexpected argument \"%s\"; see toolroot "
		    "logs --help\n",
		    arguments->items[1]);
		return EXIT_USAGE;
	}
	rpc_init();
	rc = show(options, what, &status, &err);
	rpc_shutdown();
	if (rc < 0) {
		fprintf(stderr, "toolroot logs: %s\n", err.text);
		return EXIT_FAILURE;
	}
	if (standard_output_finish("logs") < 0)
		return EXIT_FAILURE;
	return status;
}

int
logs_command(char **argv)
{
	struct logs_options options = {.json = false};
	struct setting_arguments arguments;
	struct error err;
	int status = EXIT_USAGE;
	int rc =
	    settings_read(&logs_settings, argv, &options, &arguments, &err);

	if (rc > 0) {
		settings_help(&logs_settings);
		status = EXIT_SUCCESS;
	} else if (rc < 0) {
		fprintf(stderr, "toolroot logs: %s\n", err.text);
	} else {
		status = run(&options, &arguments);
	}
	free(arguments.items);
	settings_clear(&logs_settings, &options);
	return status;
}
