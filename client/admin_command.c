/* SPDX-License-Identifier: Apache-2.0 */
/* Running a command, calling the server, writing figures. */
#include "client/admin_command.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "client/client_options.h"
#include "rpc/channel.h"
#include "rpc/message.h"
#include "rpc/runtime.h"

#define EXIT_USAGE 2
#define ANSWER_MEMORY (64u << 20)
/* A collection of a large store moves many bytes. */
#define TIMEOUT_MS (6 * 60 * 60 * 1000)

static int
check_arguments(const struct admin_command *command,
    const struct setting_arguments *arguments, struct error *err)
{
	if (arguments->count == command->arguments)
		return 0;
	if (arguments->count < command->arguments)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "an argument is missing: toolroot %s %s",
		    command->settings->command, command->settings->synopsis);
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "unexpected argument \"%s\": toolroot %s %s",
	    arguments->items[command->arguments], command->settings->command,
	    command->settings->synopsis);
}

int
admin_command_run(const struct admin_command *command, char **argv)
{
	const struct settings *settings = command->settings;
	struct setting_arguments arguments;
	struct error err;
	int status = EXIT_USAGE;
	int rc =
	    settings_read(settings, argv, command->options, &arguments, &err);

	if (rc > 0) {
		settings_help(settings);
		status = EXIT_SUCCESS;
		goto out;
	}
	if (rc == 0)
		rc = check_arguments(command, &arguments, &err);
	if (rc == 0) {
		status = EXIT_SUCCESS;
		rc = command->run(
		    command->options, arguments.items, &status, &err);
		if (rc < 0)
			status = EXIT_FAILURE;
	}
	if (rc < 0)
		fprintf(
		    stderr, "toolroot %s: %s\n", settings->command, err.text);
	if (fflush(stdout) != 0 && rc == 0) {
		fprintf(stderr, "toolroot %s: standard output: %s\n",
		    settings->command, strerror(errno));
		status = EXIT_FAILURE;
	}
out:
	free(arguments.items);
	settings_clear(settings, command->options);
	return status;
}

/* --- a server ------------------------------------------------------------- */

int
admin_server_open(struct admin_server *server,
    const struct client_options *options, struct error *err)
{
	rpc_init();
	server->address = options->server;
	arena_init(&server->arena, ANSWER_MEMORY);
	server->channel = client_options_channel(options, err);
	return server->channel != NULL ? 0 : -1;
}

void
admin_server_close(struct admin_server *server)
{
	if (server->channel != NULL)
		rpc_channel_close(server->channel);
	arena_clear(&server->arena);
	rpc_shutdown();
}

void *
admin_server_call(struct admin_server *server, const char *method,
    const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response,
    struct error *err)
{
	const struct rpc_call_options options = {.timeout_ms = TIMEOUT_MS};
	struct rpc_message *message = rpc_message_pack(request);
	struct rpc_message *answer = NULL;
	void *unpacked = NULL;
	char path[80];

	snprintf(path, sizeof(path), "/toolroot.admin.v1.Admin/%s", method);
	if (rpc_channel_call(
		server->channel, path, message, &options, &answer, err) == 0)
		unpacked =
		    rpc_message_unpack(answer, response, &server->arena, err);
	else if (err->code == ERROR_UNIMPLEMENTED)
		error_prefix(err, "the server cannot be administered");
	else
		client_options_unreachable(server->address, err);
	rpc_message_free(message);
	rpc_message_free(answer);
	return unpacked;
}

/* --- figures -------------------------------------------------------------- */

const char *
admin_format_size(uint64_t bytes, char text[static ADMIN_SIZE_MAX])
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(text, ADMIN_SIZE_MAX, "%" PRIu64 " B", bytes);
		return text;
	}
	while (value >= 1024 && unit < 3) {
		value /= 1024;
		unit++;
	}
	snprintf(text, ADMIN_SIZE_MAX, "%.1f %s", value, units[unit]);
	return text;
}

const char *
admin_format_age(int64_t ms, char text[static ADMIN_AGE_MAX])
{
	int64_t minutes = ms / 60000;

	if (ms < 0)
		snprintf(text, ADMIN_AGE_MAX, "-");
	else if (minutes < 60)
		snprintf(text, ADMIN_AGE_MAX, "%" PRId64 " min", minutes);
	else if (minutes < 48 * 60)
		snprintf(text, ADMIN_AGE_MAX, "%" PRId64 " h %" PRId64 " min",
		    minutes / 60, minutes % 60);
	else
		snprintf(text, ADMIN_AGE_MAX, "%" PRId64 " d %" PRId64 " h",
		    minutes / 1440, minutes / 60 % 24);
	return text;
}
