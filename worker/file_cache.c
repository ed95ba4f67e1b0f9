/* SPDX-License-Identifier: Apache-2.0 */
/* Files named by digest in one directory, with a list in order of use. The
 * lock guards the list and is not held while a file is made: two threads that
 * want the same new file both make it, and the later rename wins. */
#include "worker/file_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/map.h"
#include "base/memory.h"
#include "cas/store.h"
#include "worker/stage_file.h"

#define NAME_LEN (DIGEST_TEXT_MAX + 16)

struct cached_file {
	char name[NAME_LEN];
	uint64_t size;
	TAILQ_ENTRY(cached_file) link;
};

TAILQ_HEAD(cached_file_list, cached_file);

struct file_cache {
	int directory;
	uint64_t max_bytes;
	pthread_mutex_t lock; /* guards all below; every file in the list is
			       * in the map and its size in bytes */
	uint64_t bytes;
	struct map files;
	struct cached_file_list by_use; /* longest unused first */
	uint64_t temporary;             /* for names of files in the making */
};

struct file_cache *
file_cache_open(const char *path, uint64_t max_bytes, struct error *err)
{
	struct file_cache *cache;
	int directory;

	if (file_remove_tree(path, err) < 0 ||
	    file_make_directories(path, err) < 0)
		return NULL;
	directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory == -1) {
		error_set_errno(err, errno, "open %s", path);
		return NULL;
	}
	cache = xcalloc(1, sizeof(*cache));
	cache->directory = directory;
	cache->max_bytes = max_bytes;
	pthread_mutex_init(&cache->lock, NULL);
	map_init(&cache->files);
	TAILQ_INIT(&cache->by_use);
	return cache;
}

/* Under the lock, or with no other thread left. */
static void
drop(struct file_cache *cache, struct cached_file *file)
{
	TAILQ_REMOVE(&cache->by_use, file, link);
	map_remove(&cache->files, str_from(file->name));
	cache->bytes -= file->size;
	/* Absent already: no harm. */
	(void)unlinkat(cache->directory, file->name, 0);
	free(file);
}

void
file_cache_close(struct file_cache *cache)
{
	if (cache == NULL)
		return;
	while (!TAILQ_EMPTY(&cache->by_use))
		drop(cache, TAILQ_FIRST(&cache->by_use));
	map_clear(&cache->files);
	pthread_mutex_destroy(&cache->lock);
	file_close(&cache->directory);
	free(cache);
}

/* 1 and *fd, or 0. */
static int
find(struct file_cache *cache, const char *name, int *fd)
{
	struct cached_file *file;

	*fd = -1;
	pthread_mutex_lock(&cache->lock);
	file = map_get(&cache->files, str_from(name));
	if (file != NULL) {
		TAILQ_REMOVE(&cache->by_use, file, link);
		TAILQ_INSERT_TAIL(&cache->by_use, file, link);
	}
	pthread_mutex_unlock(&cache->lock);
	/* Dropped in between, it is made again. */
	if (file != NULL)
		*fd = openat(cache->directory, name, O_RDONLY | O_CLOEXEC);
	return *fd != -1;
}

static void
remember(struct file_cache *cache, const char *name, uint64_t size)
{
	struct cached_file *file = xcalloc(1, sizeof(*file));
	struct cached_file *old;

	snprintf(file->name, sizeof(file->name), "%s", name);
	file->size = size;
	pthread_mutex_lock(&cache->lock);
	old = map_put(&cache->files, str_from(file->name), file);
	if (old != NULL) {
		TAILQ_REMOVE(&cache->by_use, old, link);
		cache->bytes -= old->size;
		free(old);
	}
	TAILQ_INSERT_TAIL(&cache->by_use, file, link);
	cache->bytes += size;
	while (cache->bytes > cache->max_bytes &&
	       TAILQ_FIRST(&cache->by_use) != file)
		drop(cache, TAILQ_FIRST(&cache->by_use));
	pthread_mutex_unlock(&cache->lock);
}

/* Takes the blob. */
static int
fill(int fd, struct blob *blob, struct error *err)
{
	int source = blob_descriptor(blob);

	if (source != -1 && ioctl(fd, FICLONE, source) == 0) {
		blob_free(blob);
		return 0;
	}
	return stage_file_copy(fd, blob, err);
}

/* Takes the blob. */
static int
make(struct file_cache *cache, struct blob *blob, const char *name,
    bool executable, struct error *err)
{
	char temporary[32];
	int fd;
	int rc = -1;

	pthread_mutex_lock(&cache->lock);
	snprintf(temporary, sizeof(temporary), "new-%llu",
	    (unsigned long long)cache->temporary++);
	pthread_mutex_unlock(&cache->lock);
	fd = openat(cache->directory, temporary,
	    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd == -1) {
		blob_free(blob);
		return error_set_errno(err, errno, "make %s", temporary);
	}
	if (fill(fd, blob, err) < 0)
		goto out;
	if (stage_file_finish(fd, executable ? 0555 : 0444, NULL, err) < 0)
		goto out;
	/* Closed for writing before it has its name: no ETXTBSY. */
	file_close(&fd);
	if (renameat(cache->directory, temporary, cache->directory, name) ==
	    -1) {
		error_set_errno(err, errno, "name a cached file");
		goto out;
	}
	rc = 0;
out:
	file_close(&fd);
	if (rc < 0)
		(void)unlinkat(cache->directory, temporary, 0);
	return rc;
}

int
file_cache_get(struct file_cache *cache, struct blob *blob, bool executable,
    int *fd, struct error *err)
{
	uint64_t size = blob_digest(blob)->size;
	char hash[DIGEST_TEXT_MAX];
	char name[NAME_LEN];

	snprintf(name, sizeof(name), "%s-%s%s",
	    digest_function_name(blob_digest(blob)->function),
	    digest_format_hash(blob_digest(blob), hash),
	    executable ? "-x" : "");
	if (find(cache, name, fd)) {
		blob_free(blob);
		return 0;
	}
	if (make(cache, blob, name, executable, err) < 0)
		goto failed;
	*fd = openat(cache->directory, name, O_RDONLY | O_CLOEXEC);
	if (*fd == -1) {
		error_set_errno(err, errno, "open a cached file");
		goto failed;
	}
	remember(cache, name, size);
	return 0;
failed:
	error_prefix(err, "make a plain file of blob %s", hash);
	return -1;
}
