/* SPDX-License-Identifier: Apache-2.0 */
/* Preallocation and early write-back around pwritev. */
#include "base/file_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"

/* Space is asked for in such steps: who announces much and sends little takes
 * no more than one. */
#define ALLOCATE_STEP ((uint64_t)16 << 20)
/* The disk is told of every so many bytes. */
#define START_STEP ((uint64_t)4 << 20)

void
file_writer_init(struct file_writer *writer, int fd, uint64_t expected)
{
	*writer = (struct file_writer){.fd = fd, .expected = expected};
}

static void
file_writer_allocate(struct file_writer *writer, uint64_t len)
{
	uint64_t end = writer->length + len + ALLOCATE_STEP;

	if (writer->length + len <= writer->allocated ||
	    writer->length + len > writer->expected)
		return;
	if (end > writer->expected)
		end = writer->expected;
	(void)fallocate(writer->fd, FALLOC_FL_KEEP_SIZE, (off_t)writer->length,
	    (off_t)(end - writer->length));
	writer->allocated = end;
}

static void
file_writer_start(struct file_writer *writer)
{
	uint64_t len = writer->length - writer->started;

	if (len < START_STEP)
		return;
	/* A failure of the disk is told by the sync. */
	(void)sync_file_range(writer->fd, (off_t)writer->started, (off_t)len,
	    SYNC_FILE_RANGE_WRITE);
	writer->started = writer->length;
}

int
file_writer_append(struct file_writer *writer, struct iovec *vector,
    size_t count, struct error *err)
{
	uint64_t len = 0;

	for (size_t i = 0; i < count; i++)
		len += vector[i].iov_len;
	file_writer_allocate(writer, len);
	if (file_pwritev(writer->fd, vector, count, writer->length, err) < 0)
		return -1;
	writer->length += len;
	file_writer_start(writer);
	return 0;
}

int
file_writer_sync(struct file_writer *writer, struct error *err)
{
	if (writer->allocated > writer->length)
		(void)ftruncate(writer->fd, (off_t)writer->length);
	return file_sync(writer->fd, err);
}
