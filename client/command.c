/* SPDX-License-Identifier: Apache-2.0 */
#include "client/command.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/settings.h"
#include "base/standard_output.h"
#include "rpc/runtime.h"

#define EXIT_USAGE 2

static int
check_arguments(const struct command *command,
    const struct setting_arguments *arguments, struct error *err)
{
	if (arguments->count == command->arguments ||
	    (command->more && arguments->count > command->arguments))
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

static int
command_do(const struct command *command, char **arguments, int *status,
    struct error *err)
{
	int rc;

	if (command->rpc)
		rpc_init();
	rc = command->run(command->options, arguments, status, err);
	if (command->rpc)
		rpc_shutdown();
	return rc;
}

int
command_run(const struct command *command, char **argv)
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
	if (rc == 0 && command->check != NULL)
		rc = command->check(command->options, &err);
	arguments.items = xreallocarray(
	    arguments.items, arguments.count + 1, sizeof(*arguments.items));
	arguments.items[arguments.count] = NULL;
	if (rc == 0) {
		status = EXIT_SUCCESS;
		rc = command_do(command, arguments.items, &status, &err);
		if (rc < 0)
			status = err.code == ERROR_INVALID_ARGUMENT &&
					 !command->reads
				     ? EXIT_USAGE
				     : EXIT_FAILURE;
	}
	if (rc < 0)
		fprintf(
		    stderr, "toolroot %s: %s\n", settings->command, err.text);
	if (rc == 0 && standard_output_finish(settings->command) < 0)
		status = EXIT_FAILURE;
out:
	free(arguments.items);
	settings_clear(settings, command->options);
	return status;
}
