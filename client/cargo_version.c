/* SPDX-License-Identifier: Apache-2.0 */
/* "cargo 1.65.0", and a day and a commit where it was made with them. */
#include "client/cargo_version.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "client/cargo_process.h"
#include "client/cargo_strings.h"

#define ANSWER_MAX (1u << 20)
#define TIMEOUT_MS 60000
/* The first that asks through the wrapper. */
#define MAJOR 1
#define MINOR 79

struct cargo_version {
	pthread_t thread;
	struct cargo_strings words;
	char *const *environment;
	bool old; /* the thread's until it has ended */
};

bool
cargo_version_is_old(struct str answer)
{
	unsigned major, minor;
	char text[80];

	(void)snprintf(text, sizeof(text), "%.*s", STR_ARG(answer));
	if (sscanf(text, "cargo %u.%u.", &major, &minor) != 2) /* NOLINT */
		return false;
	return major < MAJOR || (major == MAJOR && minor < MINOR);
}

static void *
run(void *argument)
{
	struct cargo_version *version = argument;
	const struct cargo_process process = {
	    .environment = version->environment,
	    .timeout_ms = TIMEOUT_MS,
	    .wanted_by = -1,
	};
	struct buffer output, errors;
	struct error ignored; /* the build itself tells what is wrong */

	buffer_init(&output, ANSWER_MAX);
	buffer_init(&errors, ANSWER_MAX);
	version->old = cargo_process_capture(&process, version->words.items,
			   &output, &errors, &ignored) == 0 &&
		       cargo_version_is_old(buffer_str(&output));
	buffer_clear(&output);
	buffer_clear(&errors);
	return NULL;
}

struct cargo_version *
cargo_version_ask(
    const char *cargo, const char *toolchain, char *const *environment)
{
	struct cargo_version *version = xcalloc(1, sizeof(*version));

	version->environment = environment;
	cargo_strings_add(&version->words, cargo);
	if (toolchain != NULL)
		cargo_strings_add(&version->words, toolchain);
	cargo_strings_add(&version->words, "-V");
	thread_start(&version->thread, run, version);
	return version;
}

bool
cargo_version_end(struct cargo_version *version)
{
	bool old = false;

	if (version == NULL)
		return false;
	pthread_join(version->thread, NULL);
	old = version->old;
	cargo_strings_clear(&version->words);
	free(version);
	return old;
}
