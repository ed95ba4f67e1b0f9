/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes behind what was collected: segments that nothing uses are unlinked,
 * and what is still used of mostly dead ones is appended to the log, so that
 * they can be. A segment is sealed, and may be taken, when the index has
 * passed it. The collecting thread; the job's functions: the indexer's.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/collector_internal.h"
#include "cas/index_job.h"
#include "cas/store_segment.h"
#include "cas/waiter.h"

#define WALK_BATCH 4096
/* Segments that one transaction forgets. */
#define SEGMENTS_A_JOB 64
/* Records that are moved in one go: what the log syncs at once. */
#define MOVE_RECORDS 1024
#define MOVE_BYTES ((uint64_t)4 << 20)

/* --- which ---------------------------------------------------------------- */

struct segment_list {
	struct segment_usage *items;
	size_t count;
	size_t capacity;
	uint32_t active; /* this one and later ones are not sealed */
};

static int
segment_list_visit(
    void *cookie, struct str key, struct str value, struct error *err)
{
	struct segment_list *list = cookie;
	struct segment_usage usage;

	if (index_decode_segment(key, value, &usage, err) < 0)
		return -1;
	if (usage.number >= list->active)
		return 0;
	if (list->count == list->capacity) {
		list->capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
		list->items = xreallocarray(
		    list->items, list->capacity, sizeof(*list->items));
	}
	list->items[list->count++] = usage;
	return 0;
}

/* The caller frees the items, also on failure. */
static int
segment_list_read(
    struct store *store, struct segment_list *list, struct error *err)
{
	struct index_position position = {.length = 0};
	struct index_state state;
	int rc = 1;

	memset(list, 0, sizeof(*list));
	while (rc == 1) {
		MDB_txn *txn;

		if (index_read_begin(store->index, &txn, err) < 0)
			return -1;
		rc = index_state(store->index, txn, &state, err);
		list->active = state.active_segment;
		if (rc == 0)
			rc = index_walk(store->index, txn, INDEX_SEGMENTS,
			    &position, WALK_BATCH, segment_list_visit, list,
			    err);
		index_read_end(store->index, txn);
	}
	return rc;
}

/* The emptiest first. */
static int
segment_order(const void *a, const void *b)
{
	const struct segment_usage *left = a, *right = b;
	long double one = (long double)left->used * (long double)right->length;
	long double two = (long double)right->used * (long double)left->length;

	return one < two ? -1 : one > two;
}

int
collection_dead_bytes(
    struct collection *collection, uint64_t *bytes, struct error *err)
{
	struct segment_list list;
	int rc = segment_list_read(collection->store, &list, err);

	*bytes = 0;
	for (size_t i = 0; rc == 0 && i < list.count; i++)
		*bytes += list.items[i].length - list.items[i].used;
	free(list.items);
	return rc;
}

/* --- forgetting ----------------------------------------------------------- */

struct forget {
	uint32_t numbers[SEGMENTS_A_JOB];
	bool removed[SEGMENTS_A_JOB];
	size_t count;
};

static int
forget_apply(void *cookie, struct store *store, struct index_write *write,
    struct error *err)
{
	struct forget *forget = cookie;

	for (size_t i = 0; i < forget->count; i++) {
		struct segment_usage usage;
		int found = index_segment(
		    store->index, write->txn, forget->numbers[i], &usage, err);

		forget->removed[i] = false;
		if (found < 0)
			return -1;
		if (found == 0 || usage.used != 0)
			continue;
		if (index_remove_segment(write, forget->numbers[i], err) < 0)
			return -1;
		forget->removed[i] = true;
	}
	return 0;
}

/* A crash before it leaves the file, which collection_remove_strays finds. */
static void
forget_finish(void *cookie, struct store *store, bool done)
{
	const struct forget *forget = cookie;

	for (size_t i = 0; done && i < forget->count; i++) {
		char name[16];

		if (!forget->removed[i])
			continue;
		snprintf(name, sizeof(name), "%08" PRIu32, forget->numbers[i]);
		(void)unlinkat(store->segments_directory, name, 0);
		segment_table_forget(store->segments, forget->numbers[i]);
	}
}

/* Removes those of them that nothing uses; returns how many, or -1. */
static int
collection_forget(struct collection *collection,
    const struct segment_usage *segments, size_t count, struct error *err)
{
	struct forget forget = {.count = count};
	const struct index_job job = {forget_apply, forget_finish, &forget};
	int removed = 0;

	for (size_t i = 0; i < count; i++)
		forget.numbers[i] = segments[i].number;
	if (count == 0)
		return 0;
	if (collection_check(collection, err) < 0 ||
	    index_job_run(collection->store, &job, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++)
		removed += forget.removed[i];
	collection->report->segments_removed += (uint64_t)removed;
	return removed;
}

/* --- moving --------------------------------------------------------------- */

/* A batch of records on its way to the end of the log. */
struct move {
	struct commit_job job; /* first: the committer gets its address */
	struct collection *collection;
	struct segment *segment;
	uint32_t number;
	uint64_t offset;           /* of the next record */
	bool ended;                /* no sound record follows */
	struct commit_blob *blobs; /* MOVE_RECORDS of them */
	size_t count;
	struct waiter waiter;
	struct error *error; /* the waiting thread's */
	int result;
};

static int
move_append(struct commit_job *job, struct log_group *group, struct error *err)
{
	struct move *move = (struct move *)job;

	for (size_t i = 0; i < move->count; i++) {
		if (log_group_add(group, &move->blobs[i], err) < 0)
			return -1;
	}
	return 0;
}

static void
move_finish(struct commit_job *job, const struct error *err)
{
	struct move *move = (struct move *)job;

	if (err != NULL)
		*move->error = *err;
	move->result = err != NULL ? -1 : 0;
	waiter_finish(&move->waiter);
}

/* Headers of the next records. */
static int
move_read_headers(struct move *move, struct error *err)
{
	int fd = segment_descriptor(move->segment);
	uint64_t bytes = 0;

	move->count = 0;
	while (
	    !move->ended && move->count < MOVE_RECORDS && bytes < MOVE_BYTES) {
		struct commit_blob *blob = &move->blobs[move->count];
		struct place *from = &blob->from;

		memset(blob, 0, sizeof(*blob));
		if (file_pread(fd, blob->header, sizeof(blob->header),
			move->offset, err) < 0) {
			if (err->code != ERROR_DATA_LOSS)
				return -1;
			move->ended = true;
			break;
		}
		if (record_decode(blob->header, &blob->digest, from) < 0) {
			move->ended = true;
			break;
		}
		from->kind = PLACE_SEGMENT;
		from->segment = move->number;
		from->offset = move->offset;
		blob->moves = true;
		blob->owner = from->owner;
		blob->encoding = from->encoding;
		blob->stored_size = from->stored_size;
		move->offset += RECORD_HEADER_SIZE + from->stored_size;
		bytes += RECORD_HEADER_SIZE + from->stored_size;
		move->count++;
	}
	return 0;
}

/* Keeps those that the index still finds here. */
static int
move_filter(struct move *move, struct error *err)
{
	struct store_index *index = move->collection->store->index;
	size_t kept = 0;
	MDB_txn *txn;
	int found = 0;

	if (index_read_begin(index, &txn, err) < 0)
		return -1;
	for (size_t i = 0; found >= 0 && i < move->count; i++) {
		const struct place *from = &move->blobs[i].from;
		struct place place;

		found =
		    index_find(index, txn, &move->blobs[i].digest, &place, err);
		if (found == 1 && place.kind == PLACE_SEGMENT &&
		    place.segment == from->segment &&
		    place.offset == from->offset)
			move->blobs[kept++] = move->blobs[i];
	}
	index_read_end(index, txn);
	move->count = kept;
	return found < 0 ? -1 : 0;
}

/* Takes the payload in, and space for it. 1, 0 when the record is bad (and
 * dropped), -1. */
static int
move_take(struct move *move, struct commit_blob *blob, struct error *err)
{
	struct store *store = move->collection->store;
	size_t size = (size_t)blob->stored_size;
	uint64_t cost = store_record_cost(size);

	if (store_reserve_move(store, cost, err) < 0)
		return -1;
	blob->reserved = cost;
	blob->owned = (struct iovec){xmalloc(size), size};
	blob->parts = &blob->owned;
	blob->part_count = 1;
	if (file_pread(segment_descriptor(move->segment), blob->owned.iov_base,
		size, blob->from.offset + RECORD_HEADER_SIZE, err) < 0)
		return err->code == ERROR_DATA_LOSS ? 0 : -1;
	if (record_check(blob->header, &blob->digest, &blob->from,
		blob->owned.iov_base, err) == 0)
		return 1;
	store_drop_bad(
	    store, &blob->digest, &blob->from, "its checksum is wrong");
	return 0;
}

static int
move_take_all(struct move *move, struct error *err)
{
	size_t kept = 0;

	for (size_t i = 0; i < move->count; i++) {
		struct commit_blob *blob = &move->blobs[i];
		int rc = move_take(move, blob, err);

		if (rc == 1) {
			/* The parts point into the blob itself. */
			if (kept < i) {
				move->blobs[kept] = *blob;
				blob->owned.iov_base = NULL;
				blob->reserved = 0;
			}
			move->blobs[kept].parts = &move->blobs[kept].owned;
			kept++;
			continue;
		}
		commit_blob_clear(move->collection->store, blob, true);
		if (rc < 0) {
			move->count = kept;
			return -1;
		}
	}
	move->count = kept;
	return 0;
}

/* Appends what was taken, and waits until it is durable. */
static int
move_run(struct move *move, struct error *err)
{
	struct store *store = move->collection->store;
	uint64_t bytes = 0;

	if (move->count == 0)
		return 0;
	memset(&move->job, 0, sizeof(move->job));
	move->job.append = move_append;
	move->job.finish = move_finish;
	move->error = err;
	for (size_t i = 0; i < move->count; i++)
		bytes += commit_blob_weight(&move->blobs[i]);
	move->job.weight = (size_t)bytes;
	waiter_init(&move->waiter);
	committer_submit(store->committer, &move->job);
	waiter_wait(&move->waiter);
	if (move->result == 0)
		move->collection->report->moved_bytes += bytes;
	return move->result;
}

static int
move_batch(struct move *move, struct error *err)
{
	int rc = -1;

	if (collection_check(move->collection, err) == 0 &&
	    move_read_headers(move, err) == 0 && move_filter(move, err) == 0) {
		rc = move_take_all(move, err);
		if (rc == 0)
			rc = move_run(move, err);
		for (size_t i = 0; i < move->count; i++)
			commit_blob_clear(
			    move->collection->store, &move->blobs[i], false);
	}
	return rc;
}

/* Moves all that is used. 1 when the segment was removed then, 0 when it has to
 * stay (a damaged header hides what follows it), -1. */
static int
collection_compact(struct collection *collection,
    const struct segment_usage *usage, struct error *err)
{
	struct store *store = collection->store;
	struct move move = {.collection = collection, .number = usage->number};
	int rc =
	    segment_ref(store->segments, usage->number, &move.segment, err);

	if (rc != 1)
		return rc;
	move.blobs = xcalloc(MOVE_RECORDS, sizeof(*move.blobs));
	rc = 0;
	while (rc == 0 && !move.ended)
		rc = move_batch(&move, err);
	free(move.blobs);
	segment_unref(store->segments, move.segment);
	if (rc == 0)
		rc = collection_forget(collection, usage, 1, err);
	if (rc == 1)
		collection->report->segments_compacted++;
	if (rc == 0)
		log_warn("segment_kept",
		    "segment=%08" PRIu32 " reason=\"a part of it cannot be "
		    "read; run toolroot store check\"",
		    usage->number);
	return rc;
}

/* --- all of them ---------------------------------------------------------- */

static bool
collection_above(const struct collection *collection, uint64_t target)
{
	struct store_usage usage;

	store_usage(collection->store, &usage);
	return usage.bytes > target;
}

/* Those at the front that nothing uses. Returns how many entries it passed, or
 * -1 (as the largest number). */
static int
collection_forget_unused(struct collection *collection,
    const struct segment_list *list, size_t *passed, struct error *err)
{
	size_t first = 0;

	while (first < list->count && list->items[first].used == 0) {
		size_t count = 0;

		while (first + count < list->count && count < SEGMENTS_A_JOB &&
		       list->items[first + count].used == 0)
			count++;
		if (collection_forget(
			collection, &list->items[first], count, err) < 0)
			return -1;
		first += count;
	}
	*passed = first;
	return 0;
}

int
collection_reclaim(
    struct collection *collection, uint64_t target, struct error *err)
{
	struct segment_list list;
	size_t i = 0;
	int rc = segment_list_read(collection->store, &list, err);

	if (rc == 0 && list.count > 0)
		qsort(
		    list.items, list.count, sizeof(*list.items), segment_order);
	collection_begin(collection, COLLECTION_COMPACTING, list.count);
	if (rc == 0)
		rc = collection_forget_unused(collection, &list, &i, err);
	collection_advance(collection, i);
	for (; rc >= 0 && i < list.count; i++) {
		const struct segment_usage *usage = &list.items[i];
		uint64_t dead = usage->length - usage->used;

		if (usage->used > dead &&
		    (dead * 10 < usage->length ||
			!collection_above(collection, target)))
			break;
		rc = collection_compact(collection, usage, err);
		collection_advance(collection, 1);
		/* No room to move to: what is there already stays. */
		if (rc < 0 && err->code == ERROR_RESOURCE_EXHAUSTED) {
			log_warn(
			    "compaction_put_off", "error=\"%s\"", err->text);
			rc = 0;
			break;
		}
	}
	free(list.items);
	return rc < 0 ? -1 : 0;
}

/* --- strays --------------------------------------------------------------- */

/* 1 when the index knows the segment or the log has not passed it, 0, -1. */
static int
stray_is_known(struct store *store, uint32_t number, struct error *err)
{
	struct segment_usage usage;
	struct index_state state;
	MDB_txn *txn;
	int rc;

	if (index_read_begin(store->index, &txn, err) < 0)
		return -1;
	rc = index_state(store->index, txn, &state, err);
	if (rc == 0 && number >= state.active_segment)
		rc = 1;
	if (rc == 0)
		rc = index_segment(store->index, txn, number, &usage, err);
	index_read_end(store->index, txn);
	return rc;
}

int
collection_remove_strays(struct store *store, struct error *err)
{
	int fd = openat(
	    store->segments_directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int rc = 0;

	if (directory == NULL) {
		error_set_errno(err, errno, "open %s/segments", store->path);
		file_close(&fd);
		return -1;
	}
	while (rc >= 0 && (entry = readdir(directory)) != NULL) {
		char *end;
		unsigned long number = strtoul(entry->d_name, &end, 10);

		if (end == entry->d_name || *end != '\0' || number > UINT32_MAX)
			continue;
		rc = stray_is_known(store, (uint32_t)number, err);
		if (rc != 0)
			continue;
		log_info("segment_stray_removed", "segment=%s", entry->d_name);
		(void)unlinkat(store->segments_directory, entry->d_name, 0);
	}
	closedir(directory);
	return rc < 0 ? -1 : 0;
}
