/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plain files of large blobs, in one directory, for staging.
 *
 * file_cache_get gives descriptors, for blobs that the store cannot hand out as
 * they are wanted: a large executable (the store's own files are not
 * executable, and a mode belongs to the file, not to its mount) or a blob kept
 * compressed. Each is made once, by a reflink where the file system can, and
 * then mounted read-only into any number of sandboxes.
 *
 * file_cache_pin gives names in the directory, for images (worker/image_mount.h
 * calls it the directory of large bodies): the store's own file is linked there
 * where that can be. A pinned file stays. Any thread.
 *
 * Nothing here outlives the process: the directory is emptied when the cache
 * opens, so a file torn by a crash is never used. Above the limit the files
 * longest unused go; a sandbox that has one open keeps it.
 */
#ifndef TOOLROOT_WORKER_FILE_CACHE_H
#define TOOLROOT_WORKER_FILE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

struct blob;
struct digest;
struct error;
struct file_cache;

/* The directory is made when absent and owned by the cache alone. */
struct file_cache *file_cache_open(
    const char *path, uint64_t max_bytes, struct error *err);
/* NULL is allowed. */
void file_cache_close(struct file_cache *cache);

/* A read-only descriptor, the caller's, of a file with the blob's content,
 * mode 0555 or 0444. Takes the blob, also on failure. Blocks. */
int file_cache_get(struct file_cache *cache, struct blob *blob, bool executable,
    int *fd, struct error *err);

/* Of the cache's directory, the cache's own. */
int file_cache_directory(const struct file_cache *cache);

/* A file with the blob's content under a name, of any mode and time, which
 * stays until it is unpinned. Takes the blob, also on failure; NULL then.
 * Blocks. */
struct cached_file;
struct cached_file *file_cache_pin(
    struct file_cache *cache, struct blob *blob, struct error *err);
const char *cached_file_name(const struct cached_file *file);
void file_cache_unpin(struct file_cache *cache, struct cached_file *file);

/* An empty file without a name beside the others, the caller's; -1. It may take
 * the file system a third of a millisecond to make one, so they are made ahead:
 * by file_cache_prepare, while nobody waits. */
int file_cache_blank(struct file_cache *cache, struct error *err);
void file_cache_prepare(struct file_cache *cache);

/* Room within the limit for other files on the same disk, such as images of
 * inputs: unpinned files go for it. RESOURCE_EXHAUSTED when what is reserved
 * alone would be more than the limit. */
int file_cache_reserve(
    struct file_cache *cache, uint64_t bytes, struct error *err);
void file_cache_release(struct file_cache *cache, uint64_t bytes);

#endif
