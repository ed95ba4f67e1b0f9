/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files: the loops and checks around system calls that every user of a file
 * needs. Errors name the path when one is given and come from errno
 * (error_set_errno). Any thread; calls may block on the disk.
 */
#ifndef TOOLROOT_BASE_FILE_H
#define TOOLROOT_BASE_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct buffer;
struct error;

/* Writes all of it, or fails. */
int file_write(int fd, const void *data, size_t len, struct error *err);
int file_pwrite(
    int fd, const void *data, size_t len, uint64_t offset, struct error *err);
/* Gathers; the vector is used up (its elements are changed). */
int file_pwritev(int fd, struct iovec *vector, size_t count, uint64_t offset,
    struct error *err);
/* Reads exactly len bytes; a file that ends early is DATA_LOSS. */
int file_pread(
    int fd, void *data, size_t len, uint64_t offset, struct error *err);
/* The whole file into buffer (appended); FAILED_PRECONDITION past its limit. */
int file_read_all(const char *path, struct buffer *buffer, struct error *err);

/* The file anew, mode 0600, by writing beside it and renaming: who reads it
 * sees the old or the new one. Not durable, for caches. */
int file_replace(
    const char *path, const void *data, size_t len, struct error *err);

/* Beneath the directory whatever the path says: links on the way may lead
 * elsewhere below it. "" is the directory itself. -1 and errno. */
int file_open_beneath(int directory, const char *path, int flags);

/* Data and the size are on disk afterwards (fdatasync). */
int file_sync(int fd, struct error *err);
/* The names in the directory are on disk afterwards. */
int file_sync_directory(int fd, struct error *err);
/* As mkdir -p, mode 0700 for what is made. */
int file_make_directories(const char *path, struct error *err);
/* Removes a file or a tree, crossing no mount point and following no symbolic
 * link. A path that is absent is no error. */
int file_remove_tree(const char *path, struct error *err);

/* Closes unless -1; sets *fd to -1. */
void file_close(int *fd);

#endif
