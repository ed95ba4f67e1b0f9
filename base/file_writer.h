/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new file that is written from front to back and then synced: its blocks are
 * asked for ahead, so that they lie together, and the disk begins to write
 *while more comes in, so that the sync at the end has little left to wait for.
 *Both are hints: only the writes and the sync can fail.
 *
 *	file_writer_init, file_writer_append any number of times,
 *file_writer_sync
 *
 * One thread at a time; calls block on the disk.
 */
#ifndef TOOLROOT_BASE_FILE_WRITER_H
#define TOOLROOT_BASE_FILE_WRITER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct error;

struct file_writer {
	int fd;             /* borrowed */
	uint64_t length;    /* bytes written */
	uint64_t expected;  /* how many will come */
	uint64_t allocated; /* blocks were asked for up to here */
	uint64_t started;   /* the disk was told to write up to here */
};

/* fd: an empty file, which the caller closes. expected: how long it will be, as
 * far as is known; no space is asked for past it. */
void file_writer_init(struct file_writer *writer, int fd, uint64_t expected);
/* All of it, or an error. The vector is used up (its elements are changed). */
int file_writer_append(struct file_writer *writer, struct iovec *vector,
    size_t count, struct error *err);
/* What was appended is on disk afterwards; space that it did not need is given
 * back. */
int file_writer_sync(struct file_writer *writer, struct error *err);

#endif
