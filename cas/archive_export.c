/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First all digests that are needed are gathered, then the blobs are written,
 * then what names them: whoever reads the archive has everything when a name
 * comes.
 */
#include <stdlib.h>
#include <string.h>

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/action_value.h"
#include "cas/archive.h"
#include "cas/archive_stream.h"
#include "cas/archive_value.h"
#include "cas/closure.h"
#include "cas/digest_message.h"
#include "cas/names.h"
#include "cas/pins.h"
#include "cas/provenance.h"
#include "cas/store_internal.h"
#include "protos/arena_allocator.h"

#define WALK_BATCH 256
#define PIECE ((size_t)256 << 10)
#define NAMES_MEMORY ((size_t)16 << 20)
#define ACTION_MAX ((size_t)4 << 20)
#define ACTION_UNPACKED_MAX ((size_t)32 << 20)

struct export
{
	struct store *store;
	const struct archive_roots *roots;
	struct archive_report *report;
	struct archive_writer *writer;
	struct digest_list wanted; /* sorted when they are written */
	struct buffer entry;
	uint64_t total; /* bytes of blobs */
};

/* --- gathering ------------------------------------------------------------ */

static int
want(struct export *export, const struct digest *digest, struct error *err)
{
	if (digest_list_add(&export->wanted, digest) == 0)
		return 0;
	digest_list_unique(&export->wanted);
	if (digest_list_add(&export->wanted, digest) == 0)
		return 0;
	return error_set(err, ERROR_RESOURCE_EXHAUSTED,
	    "more than %u blobs are too many for one archive; export less",
	    CLOSURE_DIGESTS_MAX);
}

static int
want_all(
    struct export *export, const struct digest_list *list, struct error *err)
{
	for (size_t i = 0; i < list->count; i++) {
		if (want(export, &list->items[i], err) < 0)
			return -1;
	}
	return 0;
}

static int
read_blob(void *cookie, const struct digest *digest, struct buffer *content,
    struct error *err)
{
	return store_read(cookie, digest, content, err);
}

/* FAILED_PRECONDITION names the first that is absent. */
static int
check_present(
    struct export *export, const struct digest_list *list, struct error *err)
{
	bool *missing = xcalloc(list->count + 1, sizeof(*missing));
	int rc = store_find_missing(
	    export->store, list->items, list->count, missing, err);
	char text[DIGEST_TEXT_MAX];

	for (size_t i = 0; rc == 0 && i < list->count; i++) {
		if (missing[i])
			rc = error_set(err, ERROR_FAILED_PRECONDITION,
			    "the blob %s is not in the store",
			    digest_format(&list->items[i], text));
	}
	free(missing);
	return rc;
}

static int
want_tree(struct export *export, const struct digest *root, struct error *err)
{
	const struct closure_source source = {
	    read_blob, export->store, root->function};
	struct digest_list files, directories, missing;
	const struct closure closure = {
	    .files = &files, .directories = &directories, .missing = &missing};
	char text[DIGEST_TEXT_MAX];
	int rc;

	digest_list_init(&files, CLOSURE_DIGESTS_MAX);
	digest_list_init(&directories, CLOSURE_DIRECTORIES_MAX);
	digest_list_init(&missing, CLOSURE_DIRECTORIES_MAX);
	rc = closure_of_directory(&source, root, &closure, err);
	if (rc == 0 && missing.count > 0)
		rc = error_set(err, ERROR_FAILED_PRECONDITION,
		    "the Directory %s is not in the store",
		    digest_format(&missing.items[0], text));
	if (rc == 0)
		rc = check_present(export, &files, err);
	if (rc == 0)
		rc = want_all(export, &files, err);
	if (rc == 0)
		rc = want_all(export, &directories, err);
	digest_list_clear(&files);
	digest_list_clear(&directories);
	digest_list_clear(&missing);
	if (rc < 0)
		error_prefix(err, "tree %s", digest_format(root, text));
	return rc;
}

/* 1 when all of the result's blobs are there; they are added to list. */
static int
result_blobs(struct export *export, const struct action_value *value,
    struct digest_list *list, struct error *err)
{
	struct str rest = {(const char *)value->blobs, value->blobs_length};
	bool *missing;
	int rc;

	for (uint32_t i = 0; i < value->count; i++) {
		struct digest digest;

		if (action_value_take_digest(&rest, &digest) < 0 ||
		    digest_list_add(list, &digest) < 0)
			return 0;
	}
	missing = xcalloc(list->count + 1, sizeof(*missing));
	rc = store_find_missing(
	    export->store, list->items, list->count, missing, err);
	if (rc == 0)
		rc = memchr(missing, true, list->count) == NULL;
	free(missing);
	return rc;
}

/* Absent or malformed: NULL, and *rc 0. */
static const Reapi__Action *
read_action(struct export *export, const struct digest *digest,
    struct arena *arena, int *rc, struct error *err)
{
	const Reapi__Action *action = NULL;
	struct buffer content;
	struct error ignored;

	buffer_init(&content, ACTION_MAX);
	*rc = 0;
	if (digest->size <= ACTION_MAX)
		*rc = store_read(export->store, digest, &content, err);
	if (*rc == 1)
		action = protos_unpack(arena, &reapi__action__descriptor,
		    buffer_str(&content), &ignored);
	if (*rc == 1)
		*rc = 0;
	buffer_clear(&content);
	return action;
}

/* 1 when all of it is there, 0, -1. */
static int
want_action_parts(struct export *export, const struct digest *digest,
    const Reapi__Action *action, struct error *err)
{
	struct provenance provenance = {.toolchain_count = 0};
	struct digest command, root;
	struct error ignored;
	bool missing = true;
	int rc;

	if (digest_from_message(digest->function, action->command_digest,
		&command, &ignored) < 0 ||
	    digest_from_message(digest->function, action->input_root_digest,
		&root, &ignored) < 0)
		return 0;
	if (store_find_missing(export->store, &command, 1, &missing, err) < 0)
		return -1;
	if (missing)
		return 0;
	provenance_find_toolchains(export->store, digest, &provenance);
	rc = want_tree(export, &root, err);
	for (size_t i = 0; rc == 0 && i < provenance.toolchain_count; i++)
		rc = want_tree(export, &provenance.toolchains[i], err);
	if (rc < 0)
		return err->code == ERROR_FAILED_PRECONDITION ? 0 : -1;
	if (want(export, digest, err) < 0 || want(export, &command, err) < 0)
		return -1;
	return 1;
}

static int
want_inputs(
    struct export *export, const struct digest *digest, struct error *err)
{
	const Reapi__Action *action;
	struct arena arena;
	int rc;

	arena_init(&arena, ACTION_UNPACKED_MAX);
	action = read_action(export, digest, &arena, &rc, err);
	if (action != NULL)
		rc = want_action_parts(export, digest, action, err);
	arena_clear(&arena);
	if (rc == 0)
		export->report->without_inputs++;
	return rc < 0 ? -1 : 0;
}

static int
want_result(
    struct export *export, const struct action_value *value, struct error *err)
{
	struct digest_list blobs;
	int rc;

	digest_list_init(&blobs, CLOSURE_DIGESTS_MAX);
	rc = result_blobs(export, value, &blobs, err);
	if (rc == 1)
		rc = want_all(export, &blobs, err) < 0 ? -1 : 1;
	else if (rc == 0)
		export->report->incomplete_results++;
	digest_list_clear(&blobs);
	if (rc == 1 && export->roots->inputs)
		rc = want_inputs(export, &value->action, err);
	return rc < 0 ? -1 : 0;
}

/* --- results that match ----------------------------------------------------
 */

typedef int result_fn(
    struct export *export, const struct action_value *value, struct error *err);

/* Copies of entries, so that no transaction is open while they are dealt
 * with. */
struct result_batch {
	const struct export *export;
	char *values[WALK_BATCH];
	size_t lengths[WALK_BATCH];
	size_t count;
};

static int
batch_visit(void *cookie, struct str key, struct str bytes, struct error *err)
{
	struct result_batch *batch = cookie;
	struct provenance provenance;
	struct action_value value;

	if (action_value_decode(bytes, &value, err) < 0)
		return -1;
	(void)action_value_provenance(&value, &provenance);
	if (!action_value_is_sound(key, bytes, &value) ||
	    !result_filter_matches(
		&batch->export->roots->filter, &value, &provenance))
		return 0;
	batch->values[batch->count] = xstrndup(bytes.data, bytes.len);
	batch->lengths[batch->count++] = bytes.len;
	return 0;
}

static int
batch_run(struct export *export, struct result_batch *batch,
    result_fn *function, struct error *err)
{
	int rc = 0;

	for (size_t i = 0; i < batch->count; i++) {
		const struct str bytes = {batch->values[i], batch->lengths[i]};
		struct action_value value;

		if (rc == 0)
			rc = action_value_decode(bytes, &value, err);
		if (rc == 0)
			rc = function(export, &value, err);
		free(batch->values[i]);
	}
	batch->count = 0;
	return rc;
}

static int
for_results(struct export *export, result_fn *function, struct error *err)
{
	struct store_index *index = export->store->index;
	struct index_position position = {.length = 0};
	struct result_batch batch = {.export = export};
	int rc = export->roots->results ? 1 : 0;

	while (rc == 1) {
		MDB_txn *txn;

		if (index_read_begin(index, &txn, err) < 0)
			return -1;
		rc = index_walk(index, txn, INDEX_ACTIONS, &position,
		    WALK_BATCH, batch_visit, &batch, err);
		index_read_end(index, txn);
		if (batch_run(export, &batch, function, err) < 0)
			rc = -1;
	}
	return rc;
}

/* --- writing -------------------------------------------------------------- */

static int
write_entry(struct export *export, enum archive_kind kind, struct error *err)
{
	const struct str entry = buffer_str(&export->entry);

	if (archive_begin(export->writer, kind, entry.len, err) < 0)
		return -1;
	return archive_write(export->writer, entry.data, entry.len, err);
}

static int
write_content(
    struct export *export, struct blob *blob, uint64_t size, struct error *err)
{
	const struct blob_stream_options options = {ENCODING_IDENTITY, 0, 0};
	struct blob_stream *stream = blob_stream_open(blob, &options, err);
	uint8_t *piece = xmalloc(PIECE);
	uint64_t written = 0;
	size_t len = 1;
	int rc = stream != NULL ? 0 : -1;

	while (rc == 0 && len > 0) {
		rc = blob_stream_next(stream, piece, PIECE, &len, err);
		if (rc == 0)
			rc = archive_write(export->writer, piece, len, err);
		written += len;
	}
	blob_stream_free(stream);
	free(piece);
	if (rc == 0 && written != size)
		rc = error_set(err, ERROR_DATA_LOSS,
		    "it has another size than its digest says");
	return rc;
}

static int
write_blob(
    struct export *export, const struct digest *digest, struct error *err)
{
	char text[DIGEST_TEXT_MAX];
	struct blob *blob;
	int rc;

	if (digest_is_empty(digest))
		return 0;
	rc = store_open_blob(export->store, digest, &blob, err);
	if (rc == 0)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "blob %s is not in the store", digest_format(digest, text));
	if (rc < 0)
		return -1;
	buffer_reset(&export->entry);
	archive_value_digest(&export->entry, digest);
	rc = archive_begin(export->writer, ARCHIVE_BLOB,
	    export->entry.len + digest->size, err);
	if (rc == 0)
		rc = archive_write(
		    export->writer, export->entry.data, export->entry.len, err);
	if (rc < 0) {
		blob_free(blob);
		return -1;
	}
	if (write_content(export, blob, digest->size, err) < 0) {
		error_prefix(err, "blob %s", digest_format(digest, text));
		return -1;
	}
	export->report->blobs++;
	export->report->blob_bytes += digest->size;
	if (export->roots->progress != NULL)
		export->roots->progress(export->roots->cookie,
		    export->report->blob_bytes, export->total);
	return 0;
}

static int
write_blobs(struct export *export, struct error *err)
{
	digest_list_unique(&export->wanted);
	for (size_t i = 0; i < export->wanted.count; i++)
		export->total += export->wanted.items[i].size;
	for (size_t i = 0; i < export->wanted.count; i++) {
		if (write_blob(export, &export->wanted.items[i], err) < 0)
			return -1;
	}
	return 0;
}

static int
compare_digests(const void *a, const void *b)
{
	return digest_compare(a, b);
}

/* One that came, or was replaced, since the blobs were gathered is left out. */
static int
write_result(
    struct export *export, const struct action_value *value, struct error *err)
{
	struct str rest = {(const char *)value->blobs, value->blobs_length};
	struct provenance provenance;

	for (uint32_t i = 0; i < value->count; i++) {
		struct digest digest;

		if (action_value_take_digest(&rest, &digest) < 0 ||
		    export->wanted.count == 0 ||
		    bsearch(&digest, export->wanted.items, export->wanted.count,
			sizeof(digest), compare_digests) == NULL)
			return 0;
	}
	(void)action_value_provenance(value, &provenance);
	buffer_reset(&export->entry);
	if (archive_value_result(&export->entry, value, &provenance) < 0)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "an action result is too large for an archive");
	export->report->results++;
	return write_entry(export, ARCHIVE_RESULT, err);
}

/* --- names and pins ------------------------------------------------------- */

/* write: the second time, when the blobs are in the archive. */
static int
each_toolchain(struct export *export, bool write, struct error *err)
{
	const struct archive_roots *roots = export->roots;

	for (size_t i = 0; i < roots->toolchain_count; i++) {
		const struct name_key key = {
		    roots->instance, str_from(roots->toolchains[i])};
		struct name_entry entry;
		struct arena arena;
		int rc;

		arena_init(&arena, NAMES_MEMORY);
		rc = names_check(key.name, err);
		if (rc == 0)
			rc =
			    names_get(export->store, &key, &arena, &entry, err);
		if (rc == 0)
			rc = error_set(err, ERROR_NOT_FOUND,
			    "there is no toolchain \"%s\" in the store",
			    roots->toolchains[i]);
		if (rc == 1 && write) {
			buffer_reset(&export->entry);
			archive_value_name(&export->entry, &key, &entry);
			export->report->names++;
			rc = write_entry(export, ARCHIVE_NAME, err);
		} else if (rc == 1) {
			rc = want_tree(export, &entry.root, err);
		}
		arena_clear(&arena);
		if (rc < 0)
			return -1;
	}
	return 0;
}

struct pin_search {
	struct export *export;
	const char *name;
	bool write;
	bool found;
};

static int
pin_visit(void *cookie, const struct pin *pin, struct error *err)
{
	struct pin_search *search = cookie;
	struct export *export = search->export;

	if (!str_equal(pin->name, str_from(search->name)))
		return 0;
	search->found = true;
	if (search->write) {
		buffer_reset(&export->entry);
		archive_value_pin(&export->entry, pin);
		export->report->pins++;
		return write_entry(export, ARCHIVE_PIN, err);
	}
	return pin->kind == PIN_TREE ? want_tree(export, &pin->digest, err)
				     : want(export, &pin->digest, err);
}

static int
each_pin(struct export *export, bool write, struct error *err)
{
	for (size_t i = 0; i < export->roots->pin_count; i++) {
		struct pin_search search = {.export = export,
		    .name = export->roots->pins[i],
		    .write = write};

		if (pins_list(export->store, pin_visit, &search, err) < 0)
			return -1;
		if (!search.found)
			return error_set(err, ERROR_NOT_FOUND,
			    "there is no pin \"%s\" in the store", search.name);
	}
	return 0;
}

/* --- the whole ------------------------------------------------------------ */

static int
export_gather(struct export *export, struct error *err)
{
	const struct archive_roots *roots = export->roots;

	for (size_t i = 0; i < roots->trees.count; i++) {
		if (want_tree(export, &roots->trees.items[i], err) < 0)
			return -1;
	}
	if (want_all(export, &roots->blobs, err) < 0 ||
	    each_toolchain(export, false, err) < 0 ||
	    each_pin(export, false, err) < 0)
		return -1;
	return for_results(export, want_result, err);
}

static int
export_write(struct export *export, struct error *err)
{
	if (write_blobs(export, err) < 0 ||
	    for_results(export, write_result, err) < 0 ||
	    each_toolchain(export, true, err) < 0 ||
	    each_pin(export, true, err) < 0)
		return -1;
	return archive_finish(
	    export->writer, &export->report->archive_bytes, err);
}

int
archive_export(struct store *store, const struct archive_roots *roots, int fd,
    struct archive_report *report, struct error *err)
{
	struct export export = {
	    .store = store, .roots = roots, .report = report};
	int rc = -1;

	memset(report, 0, sizeof(*report));
	digest_list_init(&export.wanted, CLOSURE_DIGESTS_MAX);
	buffer_init(&export.entry, ARCHIVE_VALUE_MAX);
	export.writer = archive_writer_new(fd, err);
	if (export.writer != NULL && export_gather(&export, err) == 0 &&
	    export_write(&export, err) == 0)
		rc = file_sync(fd, err);
	archive_writer_free(export.writer);
	buffer_clear(&export.entry);
	digest_list_clear(&export.wanted);
	return rc;
}
