/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the tail of the log. Segments follow each other by number: when the
 * next one exists, this one is complete up to its last sound record (before a
 * segment begins, the one before it was synced, or given up after an error).
 */
#include "cas/store_tail.h"

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
#include "cas/store_segment.h"

struct tail {
	/* Guards position and lets one thread read at a time. Against the
	 * rule it is held while reading: those who wait for it want just what
	 * is being read, and the pages are in memory, written moments ago. */
	pthread_mutex_t lock;
	struct log_position position;
};

/* One pass over the tail. */
struct tail_scan {
	int directory;
	/* A record whose header is right but not its payload is skipped when
	 * recovering: what follows it may have been acknowledged. A reader
	 * waits there: it is being written. */
	bool recovering;
	struct log_position position; /* after the last sound record */
	struct pending_list found;
	uint8_t *payload; /* STORE_SMALL_LIMIT_MAX bytes */
};

static void
tail_scan_found(struct tail_scan *scan, const struct digest *digest,
    const struct place *place)
{
	struct pending_blob *blob = xcalloc(1, sizeof(*blob));

	blob->digest = *digest;
	blob->place = *place;
	STAILQ_INSERT_TAIL(&scan->found, blob, link);
	scan->position = pending_blob_end(blob);
}

/* 1 all of it, 0 the file ends before, -1. */
static int
tail_read(int fd, void *data, size_t len, uint64_t offset, struct error *err)
{
	if (file_pread(fd, data, len, offset, err) == 0)
		return 1;
	return err->code == ERROR_DATA_LOSS ? 0 : -1;
}

/* The record at *offset, which moves past it. 1, 0 when none is there, -1. */
static int
tail_scan_record(
    struct tail_scan *scan, int fd, uint64_t *offset, struct error *err)
{
	uint8_t header[RECORD_HEADER_SIZE];
	struct place place = {.segment = scan->position.segment,
	    .offset = *offset,
	    .epoch = store_epoch(),
	    .kind = PLACE_SEGMENT};
	struct digest digest;
	struct error bad;
	int rc = tail_read(fd, header, sizeof(header), *offset, err);

	if (rc != 1)
		return rc;
	if (record_decode(header, &digest, &place) < 0)
		return 0;
	rc = tail_read(fd, scan->payload, (size_t)place.stored_size,
	    *offset + sizeof(header), err);
	if (rc != 1)
		return rc;
	rc = record_check(header, &digest, &place, scan->payload, &bad);
	if (rc < 0 && !scan->recovering)
		return 0;
	if (rc < 0)
		log_warn("log_record_bad", "error=\"%s\"", bad.text);
	else
		tail_scan_found(scan, &digest, &place);
	*offset += sizeof(header) + place.stored_size;
	return 1;
}

/* The segment of the position, from there on. */
static int
tail_scan_segment(struct tail_scan *scan, struct error *err)
{
	uint64_t offset = scan->position.offset, begun = offset;
	char name[16];
	int rc = 1, fd;

	snprintf(name, sizeof(name), "%08" PRIu32, scan->position.segment);
	fd = openat(scan->directory, name, O_RDONLY | O_CLOEXEC);
	if (fd == -1 && errno == ENOENT)
		return 0;
	if (fd == -1)
		return error_set_errno(err, errno, "open segment %s", name);
	while (rc == 1)
		rc = tail_scan_record(scan, fd, &offset, err);
	/* A process that was killed may have written without syncing. */
	if (rc == 0 && scan->recovering && scan->position.offset > begun)
		rc = file_sync(fd, err);
	if (rc < 0)
		error_prefix(err, "segment %s", name);
	file_close(&fd);
	return rc;
}

/* The lowest number above this one's, 0 when there is none: the writer's look,
 * which does not rely on each number being there. */
static int
tail_scan_list(const struct tail_scan *scan, uint32_t *next, struct error *err)
{
	int fd =
	    openat(scan->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *entry;

	*next = 0;
	if (directory == NULL) {
		error_set_errno(err, errno, "list the segments");
		file_close(&fd);
		return -1;
	}
	while ((entry = readdir(directory)) != NULL) {
		unsigned long long number = strtoull(entry->d_name, NULL, 10);

		if (number > scan->position.segment && number <= UINT32_MAX &&
		    (*next == 0 || number < *next))
			*next = (uint32_t)number;
	}
	closedir(directory);
	return 0;
}

/* The number of the next segment, 0 when there is none. */
static int
tail_scan_next(const struct tail_scan *scan, uint32_t *next, struct error *err)
{
	char name[16];

	if (scan->recovering)
		return tail_scan_list(scan, next, err);
	*next = 0;
	if (scan->position.segment == UINT32_MAX)
		return 0;
	snprintf(name, sizeof(name), "%08" PRIu32, scan->position.segment + 1);
	if (faccessat(scan->directory, name, F_OK, 0) == 0)
		*next = scan->position.segment + 1;
	return 0;
}

static int
tail_scan_run(struct tail_scan *scan, struct error *err)
{
	uint32_t next;
	int rc;

	STAILQ_INIT(&scan->found);
	scan->payload = xmalloc(STORE_SMALL_LIMIT_MAX);
	do {
		/* Asked first: if there is a next one now, then this one
		 * grows no more. */
		rc = tail_scan_next(scan, &next, err);
		if (rc == 0)
			rc = tail_scan_segment(scan, err);
		if (rc == 0 && next != 0)
			scan->position = (struct log_position){next, 0};
	} while (rc == 0 && next != 0);
	free(scan->payload);
	if (rc < 0)
		pending_list_free(&scan->found);
	return rc;
}

/* --- the writer ----------------------------------------------------------- */

int
tail_recover(struct store *store, struct log_position *end, struct error *err)
{
	struct tail_scan scan = {.directory = store->segments_directory,
	    .recovering = true,
	    .position = {
		store->state.active_segment, store->state.active_length}};
	struct pending_blob *blob;
	uint64_t count = 0;

	if (tail_scan_run(&scan, err) < 0 ||
	    file_sync_directory(store->segments_directory, err) < 0)
		return -1;
	*end = scan.position;
	STAILQ_FOREACH(blob, &scan.found, link)
	{
		blob->reserved = store_record_cost(blob->place.stored_size);
		count++;
	}
	/* It is there, whatever the limit says now. */
	store_count_recovered(store, &scan.found, end->segment);
	pending_add(store->pending, &scan.found);
	if (count > 0)
		log_info("log_recovered", "blobs=%" PRIu64 " bytes=%" PRIu64,
		    count, pending_bytes(store->pending));
	return 0;
}

/* --- readers -------------------------------------------------------------- */

struct tail *
tail_new(void)
{
	struct tail *tail = xcalloc(1, sizeof(*tail));

	pthread_mutex_init(&tail->lock, NULL);
	return tail;
}

void
tail_free(struct tail *tail)
{
	if (tail == NULL)
		return;
	pthread_mutex_destroy(&tail->lock);
	free(tail);
}

static int
tail_indexed(
    struct store *store, struct log_position *position, struct error *err)
{
	struct index_state state;
	MDB_txn *txn;
	int rc;

	if (index_read_begin(store->index, &txn, err) < 0)
		return -1;
	rc = index_state(store->index, txn, &state, err);
	index_read_end(store->index, txn);
	*position =
	    (struct log_position){state.active_segment, state.active_length};
	return rc;
}

static bool
position_is_before(
    const struct log_position *position, const struct log_position *other)
{
	return position->segment < other->segment ||
	       (position->segment == other->segment &&
		   position->offset < other->offset);
}

int
tail_refresh(struct store *store, struct error *err)
{
	struct tail *tail = store->tail;
	struct tail_scan scan = {.directory = store->segments_directory};
	struct log_position indexed;
	int rc = -1;

	pthread_mutex_lock(&tail->lock);
	if (tail_indexed(store, &indexed, err) < 0)
		goto out;
	if (position_is_before(&tail->position, &indexed))
		tail->position = indexed;
	pending_forget_before(store->pending, &indexed);
	scan.position = tail->position;
	if (tail_scan_run(&scan, err) < 0)
		goto out;
	tail->position = scan.position;
	pending_add(store->pending, &scan.found);
	rc = 0;
out:
	pthread_mutex_unlock(&tail->lock);
	return rc;
}
