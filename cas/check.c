/* SPDX-License-Identifier: Apache-2.0 */
/* Passes over blobs, results and files; see the header. */
#include "cas/check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/action_value.h"
#include "cas/store_internal.h"

#define WALK_BATCH 256
#define PIECE ((size_t)256 << 10)

struct check {
	struct store *store;
	const struct check_options *options;
	struct check_report *report;
	int64_t begun_ms;
	struct digest found[WALK_BATCH];
	size_t count;
	MDB_txn *txn;
};

/* --- blobs ---------------------------------------------------------------- */

/* Sleeps as long as what was read should have taken. */
static void
check_slow_down(const struct check *check)
{
	uint64_t rate = check->options->rate;
	int64_t due_ms, ahead_ms;
	struct timespec pause;

	if (rate == 0)
		return;
	due_ms = check->begun_ms +
		 (int64_t)((double)check->report->bytes * 1000 / (double)rate);
	ahead_ms = due_ms - clock_monotonic_ms();
	if (ahead_ms <= 0)
		return;
	pause.tv_sec = ahead_ms / 1000;
	pause.tv_nsec = ahead_ms % 1000 * 1000000;
	(void)nanosleep(&pause, NULL);
}

/* The first byte of hashes where a part begins. */
static unsigned
check_part_begin(unsigned part, unsigned parts)
{
	return parts == 0 ? 0 : (part - 1) * 256 / parts;
}

static bool
check_in_part(const struct check *check, const struct digest *digest)
{
	const struct check_options *options = check->options;
	unsigned byte = digest->hash[0];

	if (options->parts == 0)
		return true;
	return byte >= check_part_begin(options->part, options->parts) &&
	       byte < check_part_begin(options->part + 1, options->parts);
}

static int
check_visit_blob(
    void *cookie, struct str key, struct str value, struct error *err)
{
	struct check *check = cookie;
	struct digest *digest = &check->found[check->count];
	struct place place;

	if (index_decode_blob(key, value, digest, &place, err) < 0)
		return -1;
	check->count += check_in_part(check, digest);
	return 0;
}

int
check_blob(struct blob *blob, const struct digest *digest, struct error *err)
{
	const struct blob_stream_options options = {ENCODING_IDENTITY, 0, 0};
	struct digest_hasher *hasher = digest_hasher_new(digest->function);
	struct blob_stream *stream = blob_stream_open(blob, &options, err);
	uint8_t *piece = xmalloc(PIECE);
	struct digest computed;
	size_t len = 1;
	int rc = stream == NULL ? -1 : 0;

	while (rc == 0 && len > 0) {
		rc = blob_stream_next(stream, piece, PIECE, &len, err);
		if (rc == 0)
			digest_hasher_update(hasher, piece, len);
	}
	digest_hasher_finish(hasher, &computed);
	digest_hasher_free(hasher);
	blob_stream_free(stream);
	free(piece);
	if (rc < 0)
		return err->code == ERROR_DATA_LOSS ? 0 : -1;
	return store_check_digest(digest, &computed, err) < 0 ? 0 : 1;
}

static int
check_one(struct check *check, const struct digest *digest, struct error *err)
{
	struct check_report *report = check->report;
	struct blob *blob;
	uint64_t stored;
	int rc = store_open_blob(check->store, digest, &blob, err);

	if (rc < 0)
		return -1;
	if (rc == 0) {
		struct place place;

		/* Collected meanwhile, or its bytes are not there. */
		rc = store_find(check->store, digest, &place, err);
		if (rc != 1)
			return rc;
		error_set(err, ERROR_DATA_LOSS, "its file is gone");
		report->bad++;
		check->options->bad(check->options->cookie, digest, err->text);
		return 0;
	}
	stored = blob_stored_size(blob);
	rc = check_blob(blob, digest, err);
	report->blobs++;
	report->bytes += stored;
	if (rc == 0) {
		report->bad++;
		check->options->bad(check->options->cookie, digest, err->text);
	}
	check_slow_down(check);
	return rc < 0 ? -1 : 0;
}

static int
check_blobs(struct check *check, struct error *err)
{
	struct store_index *index = check->store->index;
	const struct check_options *options = check->options;
	struct index_position position = options->from;
	int rc = 1;

	while (rc == 1) {
		MDB_txn *txn;

		check->count = 0;
		if (index_read_begin(index, &txn, err) < 0)
			return -1;
		rc = index_walk(index, txn, INDEX_BLOBS, &position, WALK_BATCH,
		    check_visit_blob, check, err);
		index_read_end(index, txn);
		for (size_t i = 0; rc >= 0 && i < check->count; i++) {
			if (check_one(check, &check->found[i], err) < 0)
				return -1;
		}
		if (rc == 1 && options->reached != NULL &&
		    options->reached(options->cookie, &position, err) < 0)
			return -1;
	}
	return rc;
}

/* --- results -------------------------------------------------------------- */

static int
check_visit_result(
    void *cookie, struct str key, struct str bytes, struct error *err)
{
	struct check *check = cookie;
	struct action_value value;
	struct str rest;
	int found = 1;

	(void)key;
	if (action_value_decode(bytes, &value, err) < 0)
		return -1;
	rest = (struct str){(const char *)value.blobs, value.blobs_length};
	for (uint32_t i = 0; found == 1 && i < value.count; i++) {
		struct digest digest;
		struct place place;

		if (action_value_take_digest(&rest, &digest) < 0)
			found = 0;
		else if (!digest_is_empty(&digest) &&
			 !pending_find(check->store->pending, &digest, &place))
			found = index_find(check->store->index, check->txn,
			    &digest, &place, err);
	}
	if (found < 0)
		return -1;
	check->report->results++;
	check->report->incomplete += found == 0;
	return 0;
}

static int
check_results(struct check *check, struct error *err)
{
	struct store_index *index = check->store->index;
	struct index_position position = {.length = 0};
	int rc = 1;

	while (rc == 1) {
		if (index_read_begin(index, &check->txn, err) < 0)
			return -1;
		rc = index_walk(index, check->txn, INDEX_ACTIONS, &position,
		    WALK_BATCH, check_visit_result, check, err);
		index_read_end(index, check->txn);
	}
	return rc;
}

/* --- files ---------------------------------------------------------------- */

/* "sha256/ab/<hash>[.zst]": 1 when the index names the file, 0, -1. */
static int
check_file_named(struct check *check, enum digest_function function,
    const char *name, struct error *err)
{
	size_t length = 2 * digest_hash_length(function);
	bool compressed = strcmp(name + length, ".zst") == 0;
	struct digest digest;
	struct place place;
	struct error ignored;
	MDB_txn *txn;
	int found;

	if (digest_parse(
		function, (struct str){name, length}, 1, &digest, &ignored) < 0)
		return 0;
	if (index_read_begin(check->store->index, &txn, err) < 0)
		return -1;
	/* The name tells no size. */
	found = index_find_any(check->store->index, txn, &digest, &place, err);
	index_read_end(check->store->index, txn);
	if (found != 1)
		return found;
	return place.kind == PLACE_FILE &&
	       (place.encoding == ENCODING_ZSTD) == compressed;
}

static int
check_file(void *cookie, enum digest_function function, const char *path,
    const char *name, struct error *err)
{
	struct check *check = cookie;
	struct stat status;
	int named;

	if (strlen(name) < 2 * digest_hash_length(function) ||
	    fstatat(check->store->blobs, path, &status, AT_SYMLINK_NOFOLLOW) ==
		-1)
		return 0;
	named = check_file_named(check, function, name, err);
	if (named != 0)
		return named < 0 ? -1 : 0;
	check->report->strays++;
	check->report->stray_bytes += (uint64_t)status.st_size;
	check->options->stray(
	    check->options->cookie, path, (uint64_t)status.st_size);
	return 0;
}

static int
check_files(struct check *check, struct error *err)
{
	unsigned begin = 0, end = 256;
	const struct check_options *options = check->options;

	if (options->parts != 0) {
		begin = check_part_begin(options->part, options->parts);
		end = check_part_begin(options->part + 1, options->parts);
	}
	return blob_file_each(check->store, begin, end, check_file, check, err);
}

int
store_check(struct store *store, const struct check_options *options,
    struct check_report *report, struct error *err)
{
	struct check *check;
	int rc;

	memset(report, 0, sizeof(*report));
	if (!store->read_only)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "a store is checked while it is open for reading only");
	check = xcalloc(1, sizeof(*check));
	check->store = store;
	check->options = options;
	check->report = report;
	check->begun_ms = clock_monotonic_ms();
	rc = check_blobs(check, err);
	if (rc == 0)
		rc = check_results(check, err);
	if (rc == 0)
		rc = check_files(check, err);
	free(check);
	return rc;
}
