/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of segments, one after the other, each against its checksum and its
 * digest. Behind a header that is damaged the next sound one is looked for, so
 * that a bad place costs what stands there and no more.
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
#include "base/memory.h"
#include "cas/repair_internal.h"
#include "cas/store_segment.h"
#include "cas/zstd_verify.h"

#define BLOCK ((size_t)4096)
#define RECORD_MAX (RECORD_HEADER_SIZE + (size_t)STORE_SMALL_LIMIT_MAX)
#define WINDOW (2 * RECORD_MAX)

struct scan {
	struct repair *repair;
	int fd;
	uint32_t number;
	bool last;      /* the log's end */
	uint32_t epoch; /* of its records: when it was written last */
	uint64_t size;
	uint8_t *window;
	uint64_t start; /* of the window in the file */
	size_t length;
	struct zstd_verify *verify;
	struct segment_usage usage;
	uint64_t end;        /* of the last sound record */
	uint64_t unreadable; /* where the last unreadable block ends; 0: none */
};

/* --- reading -------------------------------------------------------------- */

static void
scan_lose_block(struct scan *scan, uint64_t offset, size_t at, size_t len)
{
	memset(scan->window + at, 0, len);
	if (offset + len > scan->unreadable)
		scan->unreadable = offset + len;
}

/* What the disk does not give reads as zero: no record has that. */
static void
scan_read_blocks(struct scan *scan, uint64_t offset, size_t len)
{
	for (size_t at = 0, piece; at < len; at += piece) {
		struct error ignored;

		/* The disk loses whole blocks, and they begin at multiples. */
		piece = BLOCK - (size_t)((offset + at) % BLOCK);
		if (piece > len - at)
			piece = len - at;
		if (file_pread(scan->fd, scan->window + at, piece, offset + at,
			&ignored) < 0)
			scan_lose_block(scan, offset + at, at, piece);
	}
}

/* len bytes at offset, valid until the next call; NULL past the end. */
static const uint8_t *
scan_bytes(struct scan *scan, uint64_t offset, size_t len)
{
	struct error ignored;
	uint64_t left;

	if (offset > scan->size || len > scan->size - offset)
		return NULL;
	if (offset >= scan->start && offset + len <= scan->start + scan->length)
		return scan->window + (offset - scan->start);
	left = scan->size - offset;
	scan->start = offset;
	scan->length = left < WINDOW ? (size_t)left : WINDOW;
	if (file_pread(scan->fd, scan->window, scan->length, offset, &ignored) <
	    0)
		scan_read_blocks(scan, offset, scan->length);
	return scan->window;
}

/* --- records -------------------------------------------------------------- */

static int
scan_check_digest(struct scan *scan, const struct digest *digest,
    const struct place *place, const uint8_t *payload, struct error *err)
{
	struct digest computed;

	if (place->encoding == ENCODING_ZSTD) {
		zstd_verify_start(scan->verify, digest, NULL);
		if (zstd_verify_append(scan->verify, payload,
			(size_t)place->stored_size, err) < 0)
			return -1;
		return zstd_verify_finish(scan->verify, err);
	}
	digest_compute(
	    digest->function, payload, (size_t)place->stored_size, &computed);
	return store_check_digest(digest, &computed, err);
}

/* A record whose header is sound, all of it in the window. */
static int
scan_record(struct scan *scan, const uint8_t *record,
    const struct digest *digest, struct place *place, struct error *err)
{
	const uint8_t *payload = record + RECORD_HEADER_SIZE;
	uint64_t length = RECORD_HEADER_SIZE + place->stored_size;
	struct error bad;

	place->segment = scan->number;
	place->epoch = scan->epoch;
	place->kind = PLACE_SEGMENT;
	if (record_check(record, digest, place, payload, &bad) < 0 ||
	    scan_check_digest(scan, digest, place, payload, &bad) < 0) {
		/* Without memory nothing is known of it. */
		if (bad.code == ERROR_RESOURCE_EXHAUSTED) {
			*err = bad;
			return -1;
		}
		scan->repair->report->bad_blobs++;
		repair_tell_digest(scan->repair, digest, bad.text);
		return 0;
	}
	scan->usage.used += length;
	scan->end = place->offset + length;
	return repair_add(scan->repair, digest, place, err);
}

/* The next offset from which a sound header begins, or the end. */
static uint64_t
scan_find_header(struct scan *scan, uint64_t offset)
{
	const uint8_t *bytes;
	struct digest digest;
	struct place place;

	while ((bytes = scan_bytes(scan, offset, RECORD_HEADER_SIZE)) != NULL) {
		size_t left = (size_t)(scan->start + scan->length - offset);
		const uint8_t *at =
		    memmem(bytes, left, RECORD_MAGIC, RECORD_MAGIC_LENGTH);

		if (at == NULL) {
			/* One may begin in the last bytes of the window. */
			offset += left - (RECORD_MAGIC_LENGTH - 1);
			continue;
		}
		offset += (uint64_t)(at - bytes);
		bytes = scan_bytes(scan, offset, RECORD_HEADER_SIZE);
		if (bytes != NULL && record_decode(bytes, &digest, &place) == 0)
			return offset;
		offset++;
	}
	return scan->size;
}

/* What is before the next sound header holds nothing. */
static uint64_t
scan_skip(struct scan *scan, uint64_t offset)
{
	uint64_t next = scan_find_header(scan, offset + 1);
	char what[64], why[64];

	snprintf(what, sizeof(what), "segment %08" PRIu32 " at %" PRIu64,
	    scan->number, offset);
	snprintf(why, sizeof(why), "no record in %" PRIu64 " bytes%s",
	    next - offset,
	    scan->unreadable > offset ? ", which the disk does not give" : "");
	repair_tell(scan->repair, what, why);
	/* At the end of the log it is what a crash cut off, nobody's; but not
	 * what cannot be read. */
	if (next < scan->size || !scan->last || scan->unreadable > offset)
		scan->repair->report->skipped_bytes += next - offset;
	return next;
}

static int
scan_records(struct scan *scan, struct error *err)
{
	uint64_t offset = 0, next;

	for (; offset < scan->size; offset = next) {
		struct place place = {.offset = offset};
		const uint8_t *record =
		    scan_bytes(scan, offset, RECORD_HEADER_SIZE);
		struct digest digest;

		next = 0;
		if (record != NULL &&
		    record_decode(record, &digest, &place) == 0) {
			next = offset + RECORD_HEADER_SIZE + place.stored_size;
			record =
			    scan_bytes(scan, offset, (size_t)(next - offset));
			if (record == NULL)
				next = 0;
		}
		if (next == 0)
			next = scan_skip(scan, offset);
		else if (scan_record(scan, record, &digest, &place, err) < 0)
			return -1;
		repair_progress(scan->repair, next - offset);
	}
	return 0;
}

/* --- segments ------------------------------------------------------------- */

/* Where the log goes on in the last segment: behind the last sound record, and
 * the next writer cuts off what follows there. What cannot be read now may have
 * been acknowledged: nothing is written over it. */
static uint64_t
scan_log_end(const struct scan *scan)
{
	return scan->unreadable > scan->end ? scan->size : scan->end;
}

static int
scan_segment(struct scan *scan, struct log_position *end, struct error *err)
{
	struct stat status;
	char name[16];
	int rc = -1;

	snprintf(name, sizeof(name), "%08" PRIu32, scan->number);
	scan->fd = openat(scan->repair->store->segments_directory, name,
	    O_RDONLY | O_CLOEXEC);
	if (scan->fd == -1 || fstat(scan->fd, &status) == -1) {
		error_set_errno(err, errno, "open segment %s", name);
		goto out;
	}
	scan->size = (uint64_t)status.st_size;
	scan->epoch = repair_epoch(status.st_mtime);
	scan->start = scan->length = scan->end = scan->unreadable = 0;
	scan->usage = (struct segment_usage){.number = scan->number};
	if (scan_records(scan, err) < 0)
		goto out;
	scan->usage.length = scan->last ? scan_log_end(scan) : scan->size;
	*end = (struct log_position){scan->number, scan->usage.length};
	if (repair_write_begin(scan->repair, err) == 0)
		rc = index_add_segment(&scan->repair->write, &scan->usage, err);
out:
	file_close(&scan->fd);
	return rc;
}

static int
compare_numbers(const void *a, const void *b)
{
	const uint32_t *one = a, *other = b;

	return *one < *other ? -1 : *one > *other;
}

struct numbers {
	uint32_t *items;
	size_t count;
	uint64_t bytes; /* of their files */
};

static int
list_segment(struct repair *repair, const char *name, struct numbers *numbers,
    struct error *err)
{
	struct stat status;
	uint64_t number;

	if (!str_to_uint64(str_from(name), UINT32_MAX, &number) || number == 0)
		return 0;
	if (fstatat(repair->store->segments_directory, name, &status,
		AT_SYMLINK_NOFOLLOW) == -1)
		return error_set_errno(err, errno, "segment %s", name);
	if (numbers->count % 256 == 0)
		numbers->items = xreallocarray(numbers->items,
		    numbers->count + 256, sizeof(*numbers->items));
	numbers->items[numbers->count++] = (uint32_t)number;
	numbers->bytes += (uint64_t)status.st_size;
	return 0;
}

static int
list_segments(struct repair *repair, struct numbers *numbers, struct error *err)
{
	int fd = openat(repair->store->segments_directory, ".",
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int rc = 0;

	*numbers = (struct numbers){NULL, 0, 0};
	if (directory == NULL) {
		error_set_errno(err, errno, "list the segments");
		file_close(&fd);
		return -1;
	}
	while (rc == 0 && (entry = readdir(directory)) != NULL)
		rc = list_segment(repair, entry->d_name, numbers, err);
	closedir(directory);
	if (rc == 0 && numbers->count > 0)
		qsort(numbers->items, numbers->count, sizeof(*numbers->items),
		    compare_numbers);
	return rc;
}

int
repair_measure_segments(
    struct repair *repair, uint64_t *bytes, struct error *err)
{
	struct numbers numbers;
	int rc = list_segments(repair, &numbers, err);

	*bytes = numbers.bytes;
	free(numbers.items);
	return rc;
}

int
repair_segments(
    struct repair *repair, struct log_position *end, struct error *err)
{
	struct scan scan = {.repair = repair, .fd = -1};
	struct numbers numbers;
	int rc = list_segments(repair, &numbers, err);

	scan.window = xmalloc(WINDOW);
	scan.verify = zstd_verify_new();
	for (size_t i = 0; rc == 0 && i < numbers.count; i++) {
		scan.number = numbers.items[i];
		scan.last = i + 1 == numbers.count;
		rc = scan_segment(&scan, end, err);
	}
	zstd_verify_free(scan.verify);
	free(scan.window);
	free(numbers.items);
	return rc;
}
