/* SPDX-License-Identifier: Apache-2.0 */
/* One file an answer, named by the digest of toolchain, place and question:
 * "VERSION OUTPUT-LENGTH ERRORS-LENGTH", then both. */
#include "client/cargo_probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/digest.h"
#include "client/cargo_crate.h"
#include "client/cargo_message.h"
#include "client/cargo_process.h"
#include "client/cargo_session.h"
#include "client/cargo_toolchain.h"

#define VERSION "toolroot-probe 2"
/* A few KiB in truth. */
#define FILE_MAX (1u << 20)
#define TIMEOUT_MS 60000

bool
cargo_probe_is(const struct cargo_crate *crate)
{
	char *const *words = crate->words.items;
	bool asks = false;

	/* Standard input would be a source; cargo's question has an empty one,
	 * and this name of a crate. A target by file is another question
	 * when the file changes, "target-cpu=native" on another machine. */
	if (crate->driver != NULL || crate->wrapper != NULL || words == NULL ||
	    words[0] == NULL || strcmp(words[0], "-") != 0)
		return false;
	if (words[1] == NULL || strcmp(words[1], "--crate-name") != 0 ||
	    words[2] == NULL || strcmp(words[2], "___") != 0)
		return false;
	for (words += 3; *words != NULL; words++) {
		const char *dot = strrchr(*words, '.');

		if ((dot != NULL && strcmp(dot, ".json") == 0) ||
		    strstr(*words, "cpu=native") != NULL)
			return false;
		asks = asks || strncmp(*words, "--print", 7) == 0;
	}
	return asks;
}

/* --- the file ------------------------------------------------------------- */

static void
add(struct digest_hasher *hasher, const char *text)
{
	digest_hasher_update(hasher, text, strlen(text) + 1);
}

/* The caller frees it. */
static char *
path_of(
    const struct cargo_crate *crate, const struct cargo_toolchain *toolchain)
{
	struct digest_hasher *hasher = digest_hasher_new(DIGEST_SHA256);
	char text[DIGEST_TEXT_MAX];
	struct digest digest;

	add(hasher, VERSION);
	add(hasher, digest_format(&toolchain->root, text));
	/* --print=sysroot tells where it is. */
	add(hasher, toolchain->rustc);
	for (size_t i = 0; i < crate->words.count; i++)
		add(hasher, crate->words.items[i]);
	/* What makes a stable compiler a nightly one, for instance. */
	for (char *const *at = crate->call->environment.items; *at != NULL;
	     at++) {
		if (strncmp(*at, "RUST", 4) == 0)
			add(hasher, *at);
	}
	digest_hasher_finish(hasher, &digest);
	digest_hasher_free(hasher);
	digest_format_hash(&digest, text);
	return xasprintf(
	    "%s/probe-%s", cargo_session_cache(crate->session), text);
}

/* "VERSION OUTPUT-LENGTH ERRORS-LENGTH": whether it is ours and says how long
 * what follows is. */
static bool
parse_header(struct str line, size_t length, size_t lengths[static 2])
{
	char text[80], *end;

	(void)snprintf(text, sizeof(text), "%.*s", STR_ARG(line));
	if (strncmp(text, VERSION " ", sizeof(VERSION)) != 0)
		return false;
	lengths[0] = strtoul(text + sizeof(VERSION), &end, 10);
	if (*end != ' ')
		return false;
	lengths[1] = strtoul(end + 1, &end, 10);
	return *end == '\0' && lengths[0] <= length &&
	       lengths[1] == length - lengths[0];
}

static bool
load(const char *path, struct cargo_message_answer *answer)
{
	struct buffer content;
	struct error ignored;
	size_t lengths[2];
	struct str rest, line;
	bool found = false;

	buffer_init(&content, FILE_MAX);
	if (file_read_all(path, &content, &ignored) == 0) {
		rest = buffer_str(&content);
		line = str_cut(&rest, '\n');
		found = parse_header(line, rest.len, lengths) &&
			buffer_append(&answer->output, rest.data, lengths[0]) ==
			    0 &&
			buffer_append(&answer->errors, rest.data + lengths[0],
			    lengths[1]) == 0;
	}
	buffer_clear(&content);
	return found;
}

static void
save(const char *path, const struct cargo_message_answer *answer)
{
	struct buffer content;
	/* Without it the next build asks again. */
	struct error ignored;

	buffer_init(&content, FILE_MAX);
	if (buffer_printf(&content, VERSION " %zu %zu\n", answer->output.len,
		answer->errors.len) == 0 &&
	    buffer_append(&content, answer->output.data, answer->output.len) ==
		0 &&
	    buffer_append(&content, answer->errors.data, answer->errors.len) ==
		0)
		(void)file_replace(path, content.data, content.len, &ignored);
	buffer_clear(&content);
}

/* --- the question --------------------------------------------------------- */

static bool
ask(const struct cargo_crate *crate, struct cargo_message_answer *answer)
{
	const struct cargo_process process = {
	    .directory = crate->call->directory,
	    .environment = crate->call->environment.items,
	    .timeout_ms = TIMEOUT_MS,
	    .wanted_by = crate->call->caller,
	};
	struct error ignored; /* the shim asks itself, and cargo is told */

	return cargo_process_capture(&process, crate->call->arguments.items,
		   &answer->output, &answer->errors, &ignored) == 0;
}

void
cargo_probe_answer(
    const struct cargo_crate *crate, struct cargo_message_answer *answer)
{
	struct error ignored; /* noted in the summary */
	const struct cargo_session_programs programs = {.rustc = crate->rustc};
	const struct cargo_toolchain *toolchain =
	    cargo_session_toolchain(crate->session, &programs, &ignored);
	char *path;
	bool known;

	if (toolchain == NULL)
		return;
	path = path_of(crate, toolchain);
	known = load(path, answer);
	if (!known) {
		buffer_reset(&answer->output);
		buffer_reset(&answer->errors);
		known = ask(crate, answer);
		if (known)
			save(path, answer);
	}
	if (known)
		answer->kind = CARGO_MESSAGE_DONE;
	free(path);
}
