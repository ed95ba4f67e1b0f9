/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries in the order of the archive, which may come from anybody: blobs are
 * verified as an upload is, and what names blobs goes the way that it goes
 * when a client sends it. Small blobs are stored many at a time.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/container.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/action_value.h"
#include "cas/archive.h"
#include "cas/archive_stream.h"
#include "cas/archive_value.h"
#include "cas/closure.h"
#include "cas/names.h"
#include "cas/pins.h"
#include "cas/provenance.h"
#include "cas/store.h"
#include "cas/waiter.h"

#define BATCH_BLOBS 1024
#define BATCH_BYTES ((size_t)8 << 20)
/* Larger ones are written as they come. */
#define SMALL_BLOB ((uint64_t)1 << 20)
#define PIECE ((size_t)256 << 10)
#define WRITER_MARK "archive:"

struct import {
	struct store *store;
	const struct archive_import_options *options;
	struct archive_report *report;
	struct archive_reader *reader;
	uint64_t entries; /* before this one */
	struct buffer entry;
	/* Small blobs that wait to be stored. */
	struct store_batch batch;
	struct store_put puts[BATCH_BLOBS];
	struct iovec parts[BATCH_BLOBS]; /* owned */
	size_t bytes;
	struct waiter waiter;
};

/* --- small blobs ---------------------------------------------------------- */

static void
batch_done(struct store_batch *batch)
{
	struct import *import = CONTAINER_OF(batch, struct import, batch);

	waiter_finish(&import->waiter);
}

static void
batch_free(struct import *import)
{
	for (size_t i = 0; i < import->batch.count; i++) {
		free(import->parts[i].iov_base);
		free(import->puts[i].error);
	}
	import->batch.count = import->bytes = 0;
}

/* Stores what waits. */
static int
batch_flush(struct import *import, struct error *err)
{
	int rc = 0;

	if (import->batch.count == 0)
		return 0;
	import->batch.puts = import->puts;
	import->batch.done = batch_done;
	waiter_init(&import->waiter);
	store_put_batch(import->store, &import->batch);
	waiter_wait(&import->waiter);
	for (size_t i = 0; rc == 0 && i < import->batch.count; i++) {
		if (import->puts[i].error != NULL) {
			*err = *import->puts[i].error;
			rc = -1;
		}
	}
	batch_free(import);
	return rc;
}

static int
import_small(
    struct import *import, const struct digest *digest, struct error *err)
{
	size_t i = import->batch.count, size = (size_t)digest->size;
	char *content;

	if (i == BATCH_BLOBS || import->bytes + size > BATCH_BYTES) {
		if (batch_flush(import, err) < 0)
			return -1;
		i = 0;
	}
	content = xmalloc(size + 1);
	if (archive_read(import->reader, content, size, err) < 0) {
		free(content);
		return -1;
	}
	import->parts[i] = (struct iovec){content, size};
	import->puts[i] = (struct store_put){.digest = *digest,
	    .encoding = ENCODING_IDENTITY,
	    .parts = &import->parts[i],
	    .part_count = 1};
	import->batch.count = i + 1;
	import->bytes += size;
	return 0;
}

/* --- large blobs ---------------------------------------------------------- */

struct large_wait {
	struct waiter waiter;
	struct error *err;
	int rc;
};

static void
large_done(void *cookie, const struct error *err)
{
	struct large_wait *wait = cookie;

	if (err != NULL)
		*wait->err = *err;
	wait->rc = err != NULL ? -1 : 0;
	waiter_finish(&wait->waiter);
}

static int
import_large(
    struct import *import, const struct digest *digest, struct error *err)
{
	struct blob_writer *writer =
	    blob_writer_new(import->store, digest, ENCODING_IDENTITY, 0, err);
	struct large_wait wait = {.err = err};
	uint8_t *piece = xmalloc(PIECE);
	int rc = writer != NULL ? 0 : -1;

	for (uint64_t left = digest->size; rc == 0 && left > 0;) {
		size_t len = left < PIECE ? (size_t)left : PIECE;

		rc = archive_read(import->reader, piece, len, err);
		if (rc == 0)
			rc = blob_writer_append(writer, piece, len, err);
		left -= len;
	}
	free(piece);
	if (rc < 0) {
		blob_writer_free(writer);
		return -1;
	}
	waiter_init(&wait.waiter);
	blob_writer_commit(writer, large_done, &wait);
	waiter_wait(&wait.waiter);
	return wait.rc;
}

static int
import_blob(struct import *import, uint64_t length, struct error *err)
{
	char bytes[ARCHIVE_DIGEST_MAX];
	struct str rest = {bytes, 1};
	struct digest digest;
	size_t hash;

	if (archive_read(import->reader, bytes, 1, err) < 0)
		return -1;
	hash = digest_hash_length((enum digest_function)bytes[0]);
	rest.len = 9 + hash;
	if (hash == 0 ||
	    archive_read(import->reader, bytes + 1, 8 + hash, err) < 0 ||
	    action_value_take_digest(&rest, &digest) < 0 ||
	    digest.size > DIGEST_SIZE_MAX || length != 9 + hash + digest.size)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the archive is malformed: a blob's length is not its "
		    "digest's");
	import->report->blobs++;
	import->report->blob_bytes += digest.size;
	return digest.size <= SMALL_BLOB ? import_small(import, &digest, err)
					 : import_large(import, &digest, err);
}

/* --- what names blobs ----------------------------------------------------- */

static int
import_result(struct import *import, struct str bytes, struct error *err)
{
	char writer[sizeof(WRITER_MARK) + PROVENANCE_TEXT_MAX];
	struct provenance provenance;
	struct action_key key;
	struct str result;

	if (archive_decode_result(bytes, &key, &result, &provenance, err) < 0)
		return -1;
	snprintf(writer, sizeof(writer), WRITER_MARK "%.*s",
	    provenance.writer.len > PROVENANCE_TEXT_MAX
		? (int)PROVENANCE_TEXT_MAX
		: (int)provenance.writer.len,
	    provenance.writer.data);
	provenance.writer = str_from(writer);
	import->report->results++;
	return store_put_action(import->store, &key, result, &provenance, err);
}

static int
read_blob(void *cookie, const struct digest *digest, struct buffer *content,
    struct error *err)
{
	return store_read(cookie, digest, content, err);
}

static int
import_name(struct import *import, struct str bytes, struct error *err)
{
	struct name_key key;
	struct name_entry entry;
	struct closure_source source = {
	    .read = read_blob, .cookie = import->store};
	struct digest_list blobs;
	const struct closure closure = {
	    .files = &blobs, .directories = &blobs, .missing = &blobs};
	struct digest previous;
	int rc;

	if (archive_decode_name(bytes, &key, &entry, err) < 0 ||
	    names_check(key.name, err) < 0)
		return -1;
	source.function = entry.root.function;
	/* What is missing is among the blobs, and names_put says so. */
	digest_list_init(&blobs, CLOSURE_DIGESTS_MAX);
	rc = closure_of_directory(&source, &entry.root, &closure, err);
	if (rc == 0)
		rc = names_put(
		    import->store, &key, &entry, &blobs, &previous, err);
	digest_list_clear(&blobs);
	import->report->names++;
	return rc < 0 ? -1 : 0;
}

static int
import_pin(struct import *import, struct str bytes, struct error *err)
{
	struct pin pin = {.kind = PIN_BLOB};

	if (archive_decode_pin(bytes, &pin, err) < 0)
		return -1;
	import->report->pins++;
	return pin_set(import->store, &pin, err);
}

/* --- entries -------------------------------------------------------------- */

static int
import_value(struct import *import, enum archive_kind kind, uint64_t length,
    struct error *err)
{
	char *room;

	/* Its blobs are to be found. */
	if (batch_flush(import, err) < 0)
		return -1;
	buffer_reset(&import->entry);
	room = length <= ARCHIVE_VALUE_MAX
		   ? buffer_reserve(&import->entry, (size_t)length)
		   : NULL;
	if (room == NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the archive is malformed: an entry of %" PRIu64
		    " bytes is larger than the limit of %zu",
		    length, ARCHIVE_VALUE_MAX);
	if (archive_read(import->reader, room, (size_t)length, err) < 0)
		return -1;
	import->entry.len = (size_t)length;
	switch (kind) {
	case ARCHIVE_RESULT:
		return import_result(import, buffer_str(&import->entry), err);
	case ARCHIVE_NAME:
		return import_name(import, buffer_str(&import->entry), err);
	case ARCHIVE_PIN:
		return import_pin(import, buffer_str(&import->entry), err);
	case ARCHIVE_BLOB:
	case ARCHIVE_END:
		break;
	}
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "the archive has an entry of an unknown kind (%d); it is of a "
	    "later version",
	    (int)kind);
}

static int
import_entries(struct import *import, struct error *err)
{
	const struct archive_import_options *options = import->options;
	enum archive_kind kind;
	uint64_t length;
	int rc;

	while ((rc = archive_next(import->reader, &kind, &length, err)) == 1) {
		if ((kind == ARCHIVE_BLOB
			    ? import_blob(import, length, err)
			    : import_value(import, kind, length, err)) < 0) {
			error_prefix(err, "entry %" PRIu64 " of the archive",
			    import->entries);
			return -1;
		}
		import->entries++;
		if (options->progress != NULL)
			options->progress(options->cookie,
			    archive_position(import->reader), options->size);
	}
	return rc;
}

int
archive_import(struct store *store,
    const struct archive_import_options *options, struct archive_report *report,
    struct error *err)
{
	struct import *import = xcalloc(1, sizeof(*import));
	int rc = -1;

	memset(report, 0, sizeof(*report));
	import->store = store;
	import->options = options;
	import->report = report;
	buffer_init(&import->entry, ARCHIVE_VALUE_MAX);
	import->reader = archive_reader_new(options->fd, err);
	if (import->reader != NULL)
		rc = import_entries(import, err);
	if (rc == 0)
		rc = batch_flush(import, err);
	if (import->reader != NULL)
		report->archive_bytes = archive_position(import->reader);
	batch_free(import);
	archive_reader_free(import->reader);
	buffer_clear(&import->entry);
	free(import);
	return rc;
}
