/* SPDX-License-Identifier: Apache-2.0 */
/* "cargo 1.65.0", and a day and a commit where it was made with them. */
#include "client/cargo_version.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/thread.h"
#include "cas/digest.h"
#include "client/capture_run.h"
#include "client/cargo_process.h"
#include "client/cargo_strings.h"
#include "client/stat_ledger.h"

#define ANSWER_MAX (1u << 20)
#define TIMEOUT_MS 60000
/* The first that asks through the wrapper. */
#define MAJOR 1
#define MINOR 79

struct cargo_version {
	pthread_t thread;
	struct cargo_strings words;
	char *const *environment;
	char *file; /* to remember it in, with the key; NULL: not to be */
	char *key;
	bool asking; /* else it is known */
	bool old;    /* the thread's until it has ended */
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

/* --- what is remembered --------------------------------------------------- */

/* Not rustup, nor a script, under its name: these may run another the next
 * time.
 */
static bool
is_itself(const char *path)
{
	const char *name = strrchr(path, '/');
	bool itself = false;
	struct stat status;
	char start[4];
	int fd;

	if (name != NULL && strcmp(name, "/cargo") == 0 &&
	    stat(path, &status) == 0 && status.st_nlink == 1) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		itself = fd != -1 && read(fd, start, sizeof(start)) == 4 &&
			 memcmp(start, "\177ELF", 4) == 0;
		file_close(&fd);
	}
	return itself;
}

/* The caller frees it. */
static char *
file_of(const char *cache, const char *path)
{
	char text[DIGEST_TEXT_MAX];
	struct digest name;

	digest_compute(DIGEST_SHA256, path, strlen(path), &name);
	return xasprintf(
	    "%s/cargo-%.16s", cache, digest_format_hash(&name, text));
}

static void
find_memory(struct cargo_version *version, const char *cache, const char *cargo)
{
	char *path = capture_run_find(cargo);
	char *real = path != NULL ? realpath(path, NULL) : NULL;
	struct error ignored; /* then it is asked */

	if (real != NULL && is_itself(real))
		version->key = stat_ledger_key(real, &ignored);
	if (real != NULL && version->key != NULL)
		version->file = file_of(cache, real);
	free(real);
	free(path);
}

/* The caller frees it. */
static char *
memory(const struct cargo_version *version, bool old)
{
	return xasprintf("%s %s\n", version->key, old ? "old" : "new");
}

static bool
says(const struct cargo_version *version, const struct buffer *text, bool old)
{
	char *wanted = memory(version, old);
	bool same = str_equal(buffer_str(text), str_from(wanted));

	free(wanted);
	return same;
}

static bool
remember(struct cargo_version *version)
{
	struct buffer text;
	struct error ignored;
	bool known = false;

	if (version->file == NULL)
		return false;
	buffer_init(&text, ANSWER_MAX);
	if (file_read_all(version->file, &text, &ignored) == 0) {
		version->old = says(version, &text, true);
		known = version->old || says(version, &text, false);
	}
	buffer_clear(&text);
	return known;
}

static void
keep(const struct cargo_version *version)
{
	char *text = memory(version, version->old);
	struct error ignored; /* it is asked again */

	(void)file_replace(version->file, text, strlen(text), &ignored);
	free(text);
}

/* --- the question --------------------------------------------------------- */

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
	if (cargo_process_capture(&process, version->words.items, &output,
		&errors, &ignored) == 0) {
		version->old = cargo_version_is_old(buffer_str(&output));
		if (version->file != NULL)
			keep(version);
	}
	buffer_clear(&output);
	buffer_clear(&errors);
	return NULL;
}

struct cargo_version *
cargo_version_ask(const char *cache, const char *cargo, const char *toolchain,
    char *const *environment)
{
	struct cargo_version *version = xcalloc(1, sizeof(*version));

	version->environment = environment;
	if (toolchain == NULL)
		find_memory(version, cache, cargo);
	version->asking = !remember(version);
	if (!version->asking)
		return version;
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
	if (version->asking)
		pthread_join(version->thread, NULL);
	old = version->old;
	cargo_strings_clear(&version->words);
	free(version->file);
	free(version->key);
	free(version);
	return old;
}
