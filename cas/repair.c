/* SPDX-License-Identifier: Apache-2.0 */
/* The order of a repair, and the new index. */
#include "cas/repair.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/action_value.h"
#include "cas/names.h"
#include "cas/pins.h"
#include "cas/records.h"
#include "cas/repair_internal.h"
#include "cas/store_internal.h"

#define NEW_INDEX "index.new"
/* Blobs that one transaction takes in, in the order of their keys. */
#define FOUND_MAX 65536
/* Changes of one transaction. */
#define CHANGES_MAX 65536
#define PROGRESS_BYTES ((uint64_t)16 << 20)

struct repair_found {
	struct digest digest;
	struct place place;
	size_t order;
};

bool
repair_lost_something(const struct repair_report *report)
{
	return report->bad_blobs > 0 || report->dropped_results > 0 ||
	       report->dropped_entries > 0 || report->skipped_bytes > 0 ||
	       report->index_lost || report->index_damaged;
}

void
repair_progress(struct repair *repair, uint64_t bytes)
{
	repair->report->bytes += bytes;
	if (repair->options->progress == NULL ||
	    repair->report->bytes - repair->told < PROGRESS_BYTES)
		return;
	repair->told = repair->report->bytes;
	repair->options->progress(repair->options->cookie, repair->report);
}

void
repair_tell(struct repair *repair, const char *what, const char *why)
{
	repair->options->tell(repair->options->cookie, what, why);
}

void
repair_tell_digest(
    struct repair *repair, const struct digest *digest, const char *why)
{
	char text[DIGEST_TEXT_MAX];

	repair_tell(repair, digest_format(digest, text), why);
}

uint32_t
repair_epoch(time_t seconds)
{
	uint64_t minutes = seconds > 0 ? (uint64_t)seconds / 60 : 0;
	uint32_t now = store_epoch();

	minutes -= minutes % 10;
	return minutes < now ? (uint32_t)minutes : now;
}

/* --- the new index -------------------------------------------------------- */

int
repair_write_end(struct repair *repair, struct error *err)
{
	if (repair->changes == 0)
		return 0;
	repair->changes = 0;
	return index_write_commit(&repair->write, err);
}

int
repair_write_begin(struct repair *repair, struct error *err)
{
	if (repair->changes == CHANGES_MAX && repair_write_end(repair, err) < 0)
		return -1;
	if (repair->changes == 0 &&
	    index_write_begin(repair->index, &repair->write, err) < 0)
		return -1;
	repair->changes++;
	return 0;
}

static int
found_order(const void *a, const void *b)
{
	const struct repair_found *one = a, *other = b;
	int order = digest_compare(&one->digest, &other->digest);

	if (order != 0)
		return order;
	return one->order < other->order ? -1 : one->order > other->order;
}

/* Adds or replaces. A file whose blob has a record is left as a stray: the old
 * index may name it, and stands until the end. */
static int
repair_index(
    struct repair *repair, const struct repair_found *found, struct error *err)
{
	struct place present, before;
	int added;

	if (repair_write_begin(repair, err) < 0)
		return -1;
	added = index_add(
	    &repair->write, &found->digest, &found->place, &present, err);
	if (added != 0)
		return added < 0 ? -1 : 0;
	if (found->place.kind == PLACE_FILE) {
		repair->report->strays++;
		repair_tell_digest(repair, &found->digest,
		    "stands in a file and in a segment; the file is not used");
		return 0;
	}
	if (index_remove(&repair->write, &found->digest, &before, err) < 0)
		return -1;
	added = index_add(
	    &repair->write, &found->digest, &found->place, &present, err);
	return added < 0 ? -1 : 0;
}

int
repair_flush(struct repair *repair, struct error *err)
{
	if (repair->found_count > 0)
		qsort(repair->found, repair->found_count,
		    sizeof(*repair->found), found_order);
	for (size_t i = 0; i < repair->found_count; i++) {
		if (repair_index(repair, &repair->found[i], err) < 0)
			return -1;
	}
	repair->found_count = 0;
	return repair_write_end(repair, err);
}

int
repair_add(struct repair *repair, const struct digest *digest,
    const struct place *place, struct error *err)
{
	struct repair_found *found;

	if (digest_is_empty(digest))
		return 0;
	if (repair->found_count == FOUND_MAX && repair_flush(repair, err) < 0)
		return -1;
	found = &repair->found[repair->found_count];
	*found = (struct repair_found){*digest, *place, repair->found_count};
	repair->found_count++;
	return 0;
}

/* --- what the old index tells --------------------------------------------- */

/* Of the state, what is not counted anew. */
static int
take_state(struct repair *repair, struct str value, struct error *err)
{
	const MDB_val bytes = {value.len, (void *)(uintptr_t)value.data};
	struct index_state state;
	struct error ignored;

	if (index_decode_state(&bytes, &state, &ignored) < 0) {
		repair->report->index_damaged = true;
		return 0;
	}
	if (repair_write_begin(repair, err) < 0)
		return -1;
	repair->write.state.touch_floor = state.touch_floor;
	return 0;
}

/* Its name and limits; what it has was counted with the blobs, and will be with
 * the results. */
static int
take_owner(struct repair *repair, uint16_t number,
    const struct index_owner *owner, struct error *err)
{
	if (number == 0) {
		repair->report->dropped_entries++;
		repair_tell(repair, "the entry of an instance",
		    "is damaged and was dropped");
		return 0;
	}
	if (repair_write_begin(repair, err) < 0)
		return -1;
	return index_put_owner(&repair->write, number, owner, err);
}

static int
take_meta(
    struct repair *repair, struct str key, struct str value, struct error *err)
{
	bool pin = pin_entry_is_sound(key, value);
	bool record = records_entry_is_one(key);
	struct index_owner owner;
	uint16_t number;

	if (str_equal(key, STR("state")))
		return take_state(repair, value, err);
	if (index_decode_owner(key, value, &number, &owner))
		return take_owner(repair, number, &owner, err);
	if (!pin && !record && !names_entry_is_sound(key, value)) {
		repair->report->dropped_entries++;
		repair_tell(repair, "an entry of the table meta",
		    "is damaged and was dropped");
		return 0;
	}
	if (pin)
		repair->report->pins++;
	else if (!record)
		repair->report->names++;
	if (repair_write_begin(repair, err) < 0)
		return -1;
	return index_set_meta(&repair->write, key, value, err) < 0 ? -1 : 0;
}

/* 1 when all its blobs are there, 0 and *lost, -1. */
static int
result_is_whole(struct repair *repair, const struct action_value *value,
    struct digest *lost, struct error *err)
{
	struct str rest = {(const char *)value->blobs, value->blobs_length};
	struct place place;
	int found = 1;

	for (uint32_t i = 0; found == 1 && i < value->count; i++) {
		if (action_value_take_digest(&rest, lost) < 0)
			return 0;
		if (!digest_is_empty(lost))
			found = index_find(repair->index, repair->write.txn,
			    lost, &place, err);
	}
	return found;
}

static int
take_result(
    struct repair *repair, struct str key, struct str bytes, struct error *err)
{
	struct action_value value;
	struct error ignored;
	struct digest lost;
	char why[DIGEST_TEXT_MAX + 64], text[DIGEST_TEXT_MAX];
	int whole;

	if (repair_write_begin(repair, err) < 0)
		return -1;
	if (action_value_decode(bytes, &value, &ignored) < 0 ||
	    !action_value_is_sound(key, bytes, &value)) {
		repair->report->dropped_results++;
		repair_tell(
		    repair, "an action result", "is damaged and was dropped");
		return 0;
	}
	whole = result_is_whole(repair, &value, &lost, err);
	if (whole < 0)
		return -1;
	if (whole == 0) {
		repair->report->dropped_results++;
		snprintf(why, sizeof(why),
		    "action result dropped: it needs the blob %s",
		    digest_format(&lost, text));
		repair_tell_digest(repair, &value.action, why);
		return 0;
	}
	repair->report->results++;
	return index_put_action(&repair->write, key, bytes, err);
}

/* A blob keeps the time of its last use; one in a file, which has no header,
 * its owner too. */
static int
take_age(
    struct repair *repair, struct str key, struct str value, struct error *err)
{
	struct digest digest;
	struct place place;
	struct error ignored;

	if (index_decode_blob(key, value, &digest, &place, &ignored) < 0)
		return 0;
	if (repair_write_begin(repair, err) < 0)
		return -1;
	if (place.kind == PLACE_FILE && place.owner != 0 &&
	    index_own(&repair->write, key, place.owner, err) < 0)
		return -1;
	return index_touch(&repair->write, key,
	    place.epoch < store_epoch() ? place.epoch : store_epoch(), err);
}

static int
take_table(struct repair *repair, enum index_table table,
    repair_visit_fn *visit, struct error *err)
{
	int whole = repair_salvage(repair, table, visit, err);

	if (whole < 0)
		return -1;
	if (whole == 0 && !repair->report->index_lost)
		repair->report->index_damaged = true;
	return repair_write_end(repair, err);
}

static int
repair_take_over(struct repair *repair, struct error *err)
{
	char *path = xasprintf("%s/index/data.mdb", repair->store->path);
	bool there = access(path, R_OK) == 0;

	if (!there && errno != ENOENT) {
		error_set_errno(err, errno, "read %s", path);
		free(path);
		return -1;
	}
	free(path);
	repair->report->index_lost = !there;
	if (there &&
	    (take_table(repair, INDEX_META, take_meta, err) < 0 ||
		take_table(repair, INDEX_ACTIONS, take_result, err) < 0 ||
		take_table(repair, INDEX_BLOBS, take_age, err) < 0))
		return -1;
	if (!repair->report->index_lost && !repair->report->index_damaged)
		return 0;
	/* When anything was used last is not known for sure. */
	if (repair_write_begin(repair, err) < 0)
		return -1;
	repair->write.state.touch_floor = store_epoch();
	return repair_write_end(repair, err);
}

/* --- the order ------------------------------------------------------------ */

static int
repair_fill(struct repair *repair, struct error *err)
{
	struct log_position end = {0, 0};
	uint64_t segments, files;

	if (repair_measure_segments(repair, &segments, err) < 0 ||
	    repair_measure_files(repair, &files, err) < 0)
		return -1;
	repair->report->bytes_total = segments + files;
	if (repair_segments(repair, &end, err) < 0 ||
	    repair_files(repair, err) < 0 || repair_flush(repair, err) < 0 ||
	    repair_write_begin(repair, err) < 0)
		return -1;
	repair->write.state.active_segment = end.segment;
	repair->write.state.active_length = end.offset;
	repair->report->segments = repair->write.state.segments;
	repair->report->blobs = repair->write.state.blobs;
	if (repair_write_end(repair, err) < 0)
		return -1;
	return repair_take_over(repair, err);
}

/* One rename. The lock file is of the old one's readers; there are none, and
 * it is made anew. A damaged one is kept beside the new one: more may be wanted
 * from it than was taken. */
static int
repair_install(struct repair *repair, struct error *err)
{
	const struct store *store = repair->store;
	int directory = -1, rc = -1;

	if (mkdirat(store->directory, "index", 0700) == -1 && errno != EEXIST)
		return error_set_errno(
		    err, errno, "make directory %s/index", store->path);
	directory = openat(
	    store->directory, "index", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory == -1)
		return error_set_errno(
		    err, errno, "open %s/index", store->path);
	if (unlinkat(directory, "lock.mdb", 0) == -1 && errno != ENOENT) {
		error_set_errno(
		    err, errno, "remove %s/index/lock.mdb", store->path);
		goto out;
	}
	if (repair->report->index_damaged &&
	    linkat(directory, "data.mdb", directory, "data.mdb.old", 0) == -1 &&
	    errno != EEXIST)
		repair_tell(repair, "index/data.mdb",
		    "is damaged and could not be kept as data.mdb.old");
	if (renameat(store->directory, NEW_INDEX "/data.mdb", directory,
		"data.mdb") == -1) {
		error_set_errno(
		    err, errno, "rename %s/" NEW_INDEX, store->path);
		goto out;
	}
	if (file_sync_directory(directory, err) == 0)
		rc = file_sync_directory(store->directory, err);
out:
	file_close(&directory);
	return rc;
}

static int
repair_open_index(struct repair *repair, const char *path, struct error *err)
{
	if (file_remove_tree(path, err) < 0)
		return -1;
	if (mkdirat(repair->store->directory, NEW_INDEX, 0700) == -1)
		return error_set_errno(err, errno, "make directory %s", path);
	repair->index = index_open(path, false, err);
	return repair->index != NULL ? 0 : -1;
}

int
store_repair(const struct repair_options *options, struct repair_report *report,
    struct error *err)
{
	struct repair repair = {.options = options, .report = report};
	char *path = xasprintf("%s/" NEW_INDEX, options->path);
	struct error ignored;
	int rc = -1;

	memset(report, 0, sizeof(*report));
	repair.store = store_open_bare(options->path, err);
	if (repair.store == NULL)
		goto out;
	repair.found = xcalloc(FOUND_MAX, sizeof(*repair.found));
	if (repair_open_index(&repair, path, err) == 0)
		rc = repair_fill(&repair, err);
	if (rc < 0 && repair.changes > 0)
		index_write_abort(&repair.write);
	index_write_release(&repair.write);
	index_close(repair.index);
	if (rc == 0)
		rc = repair_install(&repair, err);
	if (rc < 0)
		store_disk_error(repair.store, err);
	/* What is left of it is in the way of nothing but the next repair,
	 * which removes it. */
	(void)file_remove_tree(path, &ignored);
out:
	store_close(repair.store);
	free(repair.found);
	free(path);
	return rc;
}
