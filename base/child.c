/* SPDX-License-Identifier: Apache-2.0 */
/* posix_spawn of /proc/self/exe. */
#include "base/child.h"

#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/settings.h"
#include "base/str.h"

#define PROGRAM "/proc/self/exe"
#define OUR_VARIABLES "TOOLROOT_"

extern char **environ;

void
child_arguments_add(struct child_arguments *arguments, char *text)
{
	arguments->items = xreallocarray(
	    arguments->items, arguments->count + 2, sizeof(*arguments->items));
	arguments->items[arguments->count++] = text;
	arguments->items[arguments->count] = NULL;
}

void
child_arguments_clear(struct child_arguments *arguments)
{
	for (size_t i = 0; i < arguments->count; i++)
		free(arguments->items[i]);
	free(arguments->items);
	*arguments = (struct child_arguments){NULL, 0};
}

static bool
is_ours(const char *entry, const struct settings *settings)
{
	struct str text = str_from(entry);
	struct str name = str_cut(&text, '=');

	return settings != NULL ? settings_have_variable(settings, name)
				: str_starts_with(name, STR(OUR_VARIABLES));
}

/* Borrowed texts; the array is the caller's. */
static char **
environment_without(const struct settings *settings)
{
	size_t count = 0;
	size_t kept = 0;
	char **environment;

	while (environ[count] != NULL)
		count++;
	environment = xcalloc(count + 1, sizeof(*environment));
	for (size_t i = 0; i < count; i++) {
		if (!is_ours(environ[i], settings))
			environment[kept++] = environ[i];
	}
	return environment;
}

int
child_start(const struct child_arguments *arguments,
    const struct child_options *options, pid_t *pid, struct error *err)
{
	char **environment = environment_without(options->settings);
	posix_spawn_file_actions_t actions;
	short flags = POSIX_SPAWN_SETSIGMASK;
	posix_spawnattr_t attributes;
	sigset_t none;
	int number;

	if (options->own_group)
		flags |= POSIX_SPAWN_SETPGROUP;
	sigemptyset(&none);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, flags);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawn_file_actions_init(&actions);
	if (options->output_to_errors)
		posix_spawn_file_actions_adddup2(
		    &actions, STDERR_FILENO, STDOUT_FILENO);
	number = posix_spawn(
	    pid, PROGRAM, &actions, &attributes, arguments->items, environment);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	free(environment);
	if (number == 0)
		return 0;
	*pid = -1;
	return error_set_errno(err, number, "start %s %s", arguments->items[0],
	    arguments->count > 1 ? arguments->items[1] : "");
}
