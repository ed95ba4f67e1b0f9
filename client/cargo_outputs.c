/* SPDX-License-Identifier: Apache-2.0 */
/* Names come from the server: only those that were asked for are taken. Files
 * have no name until they are whole: whatever ends us, nothing stays behind. */
#include "client/cargo_outputs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/str.h"
#include "cas/digest_message.h"
#include "client/cargo_arguments.h"
#include "client/cargo_dep_info.h"
#include "client/cargo_paths.h"
#include "client/cargo_process.h"
#include "client/cargo_rlib.h"
#include "client/cas_client.h"
#include "client/stat_ledger.h"

#define TEXT_MAX (64u << 20) /* a dep-info file, standard error */
#define LIBRARY ".rlib"
#define METADATA ".rmeta"
/* Smaller ones are written at once anyhow. */
#define RESERVE_MIN (64u << 10)
/* The size is what a server says: no disk is filled by its word. */
#define RESERVE_MAX (64u << 20)

void
cargo_outputs_init(struct cargo_outputs *outputs)
{
	buffer_init(&outputs->dep_info, TEXT_MAX);
	buffer_init(&outputs->errors, TEXT_MAX);
}

/* What is not in its place. */
static void
discard(struct cargo_output *item)
{
	if (item->temporary != NULL)
		unlink(item->temporary);
	free(item->temporary);
	item->temporary = NULL;
	file_close(&item->fd);
	item->writing = false;
}

void
cargo_outputs_clear(struct cargo_outputs *outputs)
{
	for (size_t i = 0; i < outputs->count; i++) {
		discard(&outputs->items[i]);
		free(outputs->items[i].final);
	}
	free(outputs->items);
	outputs->items = NULL;
	outputs->count = 0;
	buffer_clear(&outputs->dep_info);
	buffer_clear(&outputs->errors);
}

static bool
has_end(const char *path, const char *end)
{
	size_t length = strlen(path), tail = strlen(end);

	return length > tail && strcmp(path + length - tail, end) == 0;
}

bool
cargo_outputs_is_dep_info(const char *path)
{
	return has_end(path, ".d");
}

/* --- fetching ------------------------------------------------------------- */

static int
read_blob(struct cargo_outputs *outputs, const Reapi__Digest *message,
    struct buffer *content, struct error *err)
{
	struct digest digest;
	char text[DIGEST_TEXT_MAX];
	int rc = 0;

	if (digest_from_message(DIGEST_UNKNOWN, message, &digest, err) < 0)
		return -1;
	if (!digest_is_empty(&digest))
		rc = cas_client_read(
		    outputs->client, outputs->transfer, &digest, content, err);
	else
		rc = 1;
	if (rc == 0)
		return error_set(err, ERROR_NOT_FOUND, "the server lacks %s",
		    digest_format(&digest, text));
	outputs->bytes += digest.size;
	return rc < 0 ? -1 : 0;
}

/* What came with the result is checked as all else. */
static int
read_output(struct cargo_outputs *outputs, const Reapi__OutputFile *file,
    struct buffer *content, struct error *err)
{
	struct digest digest, actual;

	if (file->contents.len == 0)
		return read_blob(outputs, file->digest, content, err);
	if (digest_from_message(DIGEST_UNKNOWN, file->digest, &digest, err) < 0)
		return -1;
	digest_compute(
	    digest.function, file->contents.data, file->contents.len, &actual);
	if (!digest_equal(&digest, &actual))
		return error_set(err, ERROR_DATA_LOSS,
		    "the server's bytes for an output do not match its digest");
	if (buffer_append(content, file->contents.data, file->contents.len) < 0)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the dep-info file is too large");
	outputs->bytes += digest.size;
	return 0;
}

static int
fetch_dep_info(struct cargo_outputs *outputs, const Reapi__OutputFile *file,
    int fd, struct error *err)
{
	struct buffer mapped;
	int rc;

	buffer_init(&mapped, TEXT_MAX);
	rc = read_output(outputs, file, &outputs->dep_info, err);
	if (rc == 0 && cargo_dep_info_map(outputs->paths,
			   buffer_str(&outputs->dep_info), &mapped) < 0)
		rc = error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the dep-info file is too large");
	if (rc == 0)
		rc = file_write(fd, mapped.data, mapped.len, err);
	buffer_clear(&mapped);
	return rc;
}

static int
create(const struct cargo_outputs *outputs, struct cargo_output *item,
    bool executable, struct error *err)
{
	/* The umask takes its part, as it does from a compiler's file. */
	mode_t mode = executable ? 0777 : 0666;

	item->writing = true;
	item->fd =
	    open(outputs->directory, O_TMPFILE | O_RDWR | O_CLOEXEC, mode);
	if (item->fd != -1)
		return 0;
	/* Not every file system has such files. */
	item->temporary =
	    xasprintf("%s.toolroot-%d", item->final, (int)getpid());
	item->fd =
	    open(item->temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	if (item->fd == -1)
		return error_set_errno(err, errno, "%s", item->temporary);
	return 0;
}

/* One extent at once is cheaper than one page after the other. Elsewhere it is
 * not (tmpfs clears what is reserved), and nowhere needed. */
static void
reserve(const struct cargo_output *item)
{
	struct statfs system;

	if (item->digest.size >= RESERVE_MIN &&
	    item->digest.size <= RESERVE_MAX &&
	    fstatfs(item->fd, &system) == 0 &&
	    system.f_type == EXT4_SUPER_MAGIC)
		(void)fallocate(item->fd, 0, 0, (off_t)item->digest.size);
}

/* A program that somebody has open for writing cannot be started. */
static int
end_writing(struct cargo_output *item, struct error *err)
{
	int written = item->fd;
	char path[32];
	int rc = 0;

	item->writing = false;
	item->fd = -1;
	if (fstat(written, &item->written) == -1)
		rc = error_set_errno(err, errno, "%s", item->final);
	if (rc == 0 && item->temporary == NULL) {
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", written);
		item->fd = open(path, O_PATH | O_CLOEXEC);
		if (item->fd == -1)
			rc = error_set_errno(err, errno, "open %s", path);
	}
	file_close(&written);
	return rc;
}

static int
begin_writing(struct cargo_outputs *outputs, const Reapi__OutputFile *file,
    struct cargo_output *item, struct error *err)
{
	item->mapped = cargo_outputs_is_dep_info(item->final);
	if (digest_from_message(
		DIGEST_UNKNOWN, file->digest, &item->digest, err) < 0 ||
	    create(outputs, item, file->is_executable, err) < 0)
		return -1;
	if (item->mapped)
		return fetch_dep_info(outputs, file, item->fd, err);
	reserve(item);
	return 0;
}

/* Without the directory; the caller frees it. */
static char *
name_of(const Reapi__OutputFile *file)
{
	struct str path = {(const char *)file->path.data, file->path.len};
	const char *slash =
	    path.len > 0 ? memrchr(path.data, '/', path.len) : NULL;
	size_t skipped = slash != NULL ? (size_t)(slash - path.data) + 1 : 0;

	return xstrndup(path.data + skipped, path.len - skipped);
}

/* Takes final. One that was there early has its item already. */
static struct cargo_output *
item_of(struct cargo_outputs *outputs, char *final)
{
	struct cargo_output *item;

	for (size_t i = 0; i < outputs->count; i++) {
		item = &outputs->items[i];
		if (strcmp(item->final, final) != 0)
			continue;
		free(final);
		if (!item->placed)
			discard(item);
		return item;
	}
	outputs->items = xreallocarray(
	    outputs->items, outputs->count + 1, sizeof(*outputs->items));
	item = &outputs->items[outputs->count++];
	*item = (struct cargo_output){.fd = -1, .final = final};
	return item;
}

/* What is in its place stays: cargo was told of it. */
static int
check_unchanged(const struct cargo_output *item, const Reapi__OutputFile *file,
    struct error *err)
{
	struct digest digest;

	if (digest_from_message(DIGEST_UNKNOWN, file->digest, &digest, err) < 0)
		return -1;
	if (digest_equal(&digest, &item->digest))
		return 0;
	return error_set(err, ERROR_FAILED_PRECONDITION,
	    "%s came out otherwise than when cargo was told of it",
	    item->final);
}

static int
begin_file(struct cargo_outputs *outputs, const Reapi__OutputFile *file,
    struct error *err)
{
	char *name = name_of(file);
	struct cargo_output *item =
	    item_of(outputs, xasprintf("%s/%s", outputs->directory, name));

	free(name);
	if (item->placed)
		return check_unchanged(item, file, err);
	return begin_writing(outputs, file, item, err);
}

/* The library that is fetched with this metadata; or NULL. */
static const struct cargo_output *
library_of(const struct cargo_outputs *outputs, const struct cargo_output *item)
{
	size_t stem = strlen(item->final) - strlen(METADATA);

	if (!has_end(item->final, METADATA))
		return NULL;
	for (size_t i = 0; i < outputs->count; i++) {
		const struct cargo_output *other = &outputs->items[i];

		if (other->writing && has_end(other->final, LIBRARY) &&
		    strlen(other->final) == stem + strlen(LIBRARY) &&
		    strncmp(other->final, item->final, stem) == 0)
			return other;
	}
	return NULL;
}

/* What was left out, since a library has it. */
static int
extract_metadata(struct cargo_outputs *outputs, struct error *err)
{
	for (size_t i = 0; i < outputs->count; i++) {
		const struct cargo_output *item = &outputs->items[i];
		const struct cargo_output *library =
		    item->writing ? library_of(outputs, item) : NULL;
		const struct cas_client_file file = {item->digest, item->fd};
		int rc;

		if (library == NULL)
			continue;
		rc = cargo_rlib_extract(
		    library->fd, &item->digest, item->fd, err);
		if (rc == 0) {
			outputs->bytes += item->digest.size;
			rc = cas_client_read_files(
			    outputs->client, outputs->transfer, &file, 1, err);
		}
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* At once: each by itself would cost a round trip. */
static int
fetch_binaries(struct cargo_outputs *outputs, struct error *err)
{
	struct cas_client_file *files =
	    xcalloc(outputs->count + 1, sizeof(*files));
	size_t count = 0;
	int rc;

	for (size_t i = 0; i < outputs->count; i++) {
		const struct cargo_output *item = &outputs->items[i];

		if (!item->writing || item->mapped ||
		    library_of(outputs, item) != NULL)
			continue;
		files[count++] =
		    (struct cas_client_file){item->digest, item->fd};
		outputs->bytes += item->digest.size;
	}
	rc = cas_client_read_files(
	    outputs->client, outputs->transfer, files, count, err);
	free(files);
	return rc < 0 ? -1 : extract_metadata(outputs, err);
}

static int
fetch_files(struct cargo_outputs *outputs, Reapi__OutputFile *const *files,
    size_t count, struct error *err)
{
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		rc = begin_file(outputs, files[i], err);
	if (rc == 0)
		rc = fetch_binaries(outputs, err);
	for (size_t i = 0; i < outputs->count && rc == 0; i++) {
		if (outputs->items[i].writing)
			rc = end_writing(&outputs->items[i], err);
	}
	cargo_process_settle();
	return rc;
}

int
cargo_outputs_fetch_early(struct cargo_outputs *outputs,
    const Reapi__OutputFile *file, struct error *err)
{
	char *name = name_of(file);
	bool dep_info = cargo_outputs_is_dep_info(name);
	Reapi__OutputFile *files[1] = {(Reapi__OutputFile *)(uintptr_t)file};

	free(name);
	return dep_info ? read_output(outputs, file, &outputs->dep_info, err)
			: fetch_files(outputs, files, 1, err);
}

const Reapi__OutputFile *
cargo_outputs_find(const struct cargo_outputs *outputs,
    Reapi__OutputFile *const *files, size_t count, const char *end)
{
	const Reapi__OutputFile *found = NULL;

	for (size_t i = 0; i < count && found == NULL; i++) {
		char *name = name_of(files[i]);

		if (has_end(name, end) &&
		    cargo_strings_have(outputs->expected, name))
			found = files[i];
		free(name);
	}
	return found;
}

/* All that were asked for and must be there, and no others. */
static int
check_names(const struct cargo_outputs *outputs,
    const Reapi__ActionResult *result, struct error *err)
{
	struct cargo_strings names = {.count = 0};
	char *missing = NULL;
	int rc = 0;

	for (size_t i = 0; i < result->n_output_files && rc == 0; i++) {
		char *name = cargo_strings_take(
		    &names, name_of(result->output_files[i]));

		if (!cargo_strings_have(outputs->expected, name))
			rc = error_set(err, ERROR_DATA_LOSS,
			    "the result has an output nobody asked for");
	}
	if (rc == 0)
		missing = cargo_arguments_missing(outputs->arguments, &names);
	if (missing != NULL)
		rc = error_set(
		    err, ERROR_NOT_FOUND, "the result lacks %s", missing);
	free(missing);
	cargo_strings_clear(&names);
	return rc;
}

int
cargo_outputs_fetch_errors(struct cargo_outputs *outputs,
    const Reapi__ActionResult *result, struct error *err)
{
	struct buffer text;
	struct str raw = {
	    (const char *)result->stderr_raw.data, result->stderr_raw.len};
	int rc = 0;

	buffer_init(&text, TEXT_MAX);
	if (raw.len == 0 && result->stderr_digest != NULL) {
		rc = read_blob(outputs, result->stderr_digest, &text, err);
		raw = buffer_str(&text);
	}
	if (rc == 0 && cargo_paths_map(outputs->paths, CARGO_PATHS_TO_REAL, raw,
			   &outputs->errors) < 0)
		rc = error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the compiler's messages are too long");
	buffer_clear(&text);
	return rc;
}

int
cargo_outputs_fetch(struct cargo_outputs *outputs,
    const Reapi__ActionResult *result, struct error *err)
{
	int rc = check_names(outputs, result, err);

	if (rc == 0)
		rc = fetch_files(
		    outputs, result->output_files, result->n_output_files, err);
	if (rc == 0)
		rc = cargo_outputs_fetch_errors(outputs, result, err);
	return rc;
}

/* --- into their places ---------------------------------------------------- */

/* 1 when it has its own name then; 0 when that is another file's and it has a
 * temporary one; -1 and errno. */
static int
give_name(struct cargo_output *item)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", item->fd);
	if (linkat(AT_FDCWD, path, AT_FDCWD, item->final, AT_SYMLINK_FOLLOW) ==
	    0)
		return 1;
	if (errno != EEXIST)
		return -1;
	item->temporary =
	    xasprintf("%s.toolroot-%d", item->final, (int)getpid());
	return linkat(AT_FDCWD, path, AT_FDCWD, item->temporary,
		   AT_SYMLINK_FOLLOW) == -1
		   ? -1
		   : 0;
}

static int
put(struct cargo_output *item, struct error *err)
{
	int rc = item->fd != -1 ? give_name(item) : 0;

	if (rc == 0)
		rc = rename(item->temporary, item->final);
	if (rc == -1)
		return error_set_errno(err, errno, "%s", item->final);
	free(item->temporary);
	item->temporary = NULL;
	file_close(&item->fd);
	item->placed = true;
	return 0;
}

int
cargo_outputs_put(struct cargo_outputs *outputs, struct error *err)
{
	for (size_t i = 0; i < outputs->count; i++) {
		struct cargo_output *item = &outputs->items[i];

		if (item->placed)
			continue;
		if (put(item, err) < 0)
			return -1;
		if (!item->mapped)
			stat_ledger_note(outputs->ledger, item->final,
			    &item->digest, &item->written);
	}
	return 0;
}
