/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The active segment: records are queued as vectors over the callers' memory,
 * then written with few system calls and synced once. The committer's thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "cas/store_segment.h"

/* Blocks are asked for in pieces of this size, so that they lie together. */
#define PREALLOCATE ((uint64_t)16 << 20)

struct segment_writer {
	int directory; /* borrowed */
	uint64_t limit;
	int fd; /* -1: none is open, the next record begins a new one */
	uint32_t number;
	uint64_t length;    /* queued records included */
	uint64_t written;   /* bytes that went to the file */
	uint64_t allocated; /* bytes asked for ahead */
	struct iovec *vector;
	size_t count;
	size_t capacity;
};

static int
segment_writer_open_file(
    struct segment_writer *writer, int flags, struct error *err)
{
	char name[16];

	snprintf(name, sizeof(name), "%08" PRIu32, writer->number);
	writer->fd =
	    openat(writer->directory, name, O_WRONLY | O_CLOEXEC | flags, 0600);
	if (writer->fd == -1)
		return error_set_errno(err, errno, "open segment %s", name);
	return 0;
}

/* The next segment; nothing may be queued. Numbers leave no gap: who reads the
 * log goes from one to the next. */
static int
segment_writer_begin(struct segment_writer *writer, struct error *err)
{
	if (writer->number == UINT32_MAX)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "all segment numbers are used");
	file_close(&writer->fd);
	writer->number++;
	writer->length = writer->written = writer->allocated = 0;
	/* A leftover of a crash is overwritten. */
	if (segment_writer_open_file(writer, O_CREAT | O_TRUNC, err) < 0) {
		writer->number--;
		return -1;
	}
	return file_sync_directory(writer->directory, err);
}

struct segment_writer *
segment_writer_open(
    struct store *store, uint32_t number, uint64_t length, struct error *err)
{
	struct segment_writer *writer = xcalloc(1, sizeof(*writer));
	struct stat status;

	writer->directory = store->segments_directory;
	writer->limit = store->segment_size;
	writer->number = number;
	writer->fd = -1;
	if (number == 0)
		return writer;
	if (segment_writer_open_file(writer, 0, err) < 0) {
		if (err->code == ERROR_NOT_FOUND)
			return writer;
		goto fail;
	}
	if (fstat(writer->fd, &status) == -1 ||
	    ftruncate(writer->fd, (off_t)length) == -1) {
		error_set_errno(err, errno, "segment %08" PRIu32, number);
		goto fail;
	}
	if ((uint64_t)status.st_size < length) {
		/* Reads will find what is missing; do not write there. */
		file_close(&writer->fd);
		return writer;
	}
	writer->length = writer->written = length;
	return writer;
fail:
	segment_writer_close(writer);
	return NULL;
}

void
segment_writer_close(struct segment_writer *writer)
{
	if (writer == NULL)
		return;
	file_close(&writer->fd);
	free(writer->vector);
	free(writer);
}

static void
segment_writer_queue(
    struct segment_writer *writer, const void *data, size_t len)
{
	if (len == 0)
		return;
	if (writer->count == writer->capacity) {
		writer->capacity =
		    writer->capacity == 0 ? 256 : 2 * writer->capacity;
		writer->vector = xreallocarray(
		    writer->vector, writer->capacity, sizeof(struct iovec));
	}
	writer->vector[writer->count++] =
	    (struct iovec){(void *)(uintptr_t)data, len};
}

/* Only a hint: whether there is room, the write itself tells. */
static void
segment_writer_preallocate(struct segment_writer *writer)
{
	uint64_t wanted = writer->length + PREALLOCATE;

	if (writer->length <= writer->allocated)
		return;
	if (wanted > writer->limit)
		wanted = writer->limit;
	if (wanted > writer->written)
		(void)fallocate(writer->fd, FALLOC_FL_KEEP_SIZE,
		    (off_t)writer->written, (off_t)(wanted - writer->written));
	writer->allocated = wanted;
}

int
segment_writer_sync(struct segment_writer *writer, struct error *err)
{
	size_t count = writer->count;

	if (count == 0)
		return 0;
	writer->count = 0;
	segment_writer_preallocate(writer);
	if (file_pwritev(
		writer->fd, writer->vector, count, writer->written, err) < 0 ||
	    file_sync(writer->fd, err) < 0) {
		error_prefix(err, "segment %08" PRIu32, writer->number);
		return -1;
	}
	writer->written = writer->length;
	return 0;
}

int
segment_writer_reserve(struct segment_writer *writer, uint64_t bytes,
    struct place *place, struct error *err)
{
	if (writer->fd == -1 ||
	    (writer->length > 0 && writer->length + bytes > writer->limit)) {
		if (segment_writer_sync(writer, err) < 0 ||
		    segment_writer_begin(writer, err) < 0)
			return -1;
	}
	place->segment = writer->number;
	place->offset = writer->length;
	return 0;
}

void
segment_writer_add(
    struct segment_writer *writer, const struct commit_blob *blob)
{
	segment_writer_queue(writer, blob->header, RECORD_HEADER_SIZE);
	for (size_t i = 0; i < blob->part_count; i++)
		segment_writer_queue(
		    writer, blob->parts[i].iov_base, blob->parts[i].iov_len);
	writer->length += RECORD_HEADER_SIZE + blob->stored_size;
}

void
segment_writer_position(
    const struct segment_writer *writer, uint32_t *number, uint64_t *length)
{
	*number = writer->number;
	*length = writer->length;
}

/* Cuts off what follows the committed part. Only to give the space back: it is
 * never read, and overwritten if writing goes on there. */
static void
segment_writer_cut(
    struct segment_writer *writer, uint32_t number, uint64_t length)
{
	char name[16];
	int fd;

	snprintf(name, sizeof(name), "%08" PRIu32, number);
	fd = openat(writer->directory, name, O_WRONLY | O_CLOEXEC);
	if (fd == -1)
		return;
	(void)ftruncate(fd, (off_t)length);
	close(fd);
}

static void
segment_writer_remove(struct segment_writer *writer, uint32_t number)
{
	char name[16];

	snprintf(name, sizeof(name), "%08" PRIu32, number);
	(void)unlinkat(writer->directory, name, 0);
}

void
segment_writer_rollback(struct segment_writer *writer, uint32_t number,
    uint64_t length, bool disk_failed)
{
	uint32_t begun = writer->number;
	struct error ignored;

	writer->count = 0;
	writer->allocated = 0;
	segment_writer_cut(writer, number, length);
	if (disk_failed) {
		/* What the disk did to these files is not known: go on in a
		 * new one. Numbers leave no gap, so those begun stay. */
		for (; begun > number; begun--)
			segment_writer_cut(writer, begun, 0);
		file_close(&writer->fd);
		return;
	}
	if (begun > number) {
		/* Nothing ever named what was begun. */
		file_close(&writer->fd);
		for (; begun > number; begun--)
			segment_writer_remove(writer, begun);
		writer->number = number;
		/* When it cannot be opened, the next record begins another. */
		if (number > 0)
			(void)segment_writer_open_file(writer, 0, &ignored);
	}
	writer->length = writer->written = length;
}
