/* SPDX-License-Identifier: Apache-2.0 */
/* Files named by digest in one directory, with a list in order of use. The
 * lock guards the list and the names, and is not held while a file is made: two
 * threads that want the same new file both make it, and the first to finish
 * names it; the bytes are the same. */
#include "worker/file_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/map.h"
#include "base/memory.h"
#include "cas/store.h"
#include "worker/stage_file.h"

#define NAME_LEN (DIGEST_TEXT_MAX + 16)
#define BLANKS_MAX 8

struct cached_file {
	char name[NAME_LEN];
	uint64_t size;
	size_t pins;
	TAILQ_ENTRY(cached_file) link;
};

TAILQ_HEAD(cached_file_list, cached_file);

struct file_cache {
	int directory;
	uint64_t max_bytes;
	pthread_mutex_t lock; /* guards all below; every file in the list is
			       * in the map and its size in bytes */
	uint64_t bytes;       /* what is reserved included */
	uint64_t reserved;    /* never above max_bytes */
	struct map files;
	struct cached_file_list by_use; /* longest unused first */
	uint64_t temporary;             /* for names of files in the making */
	int blanks[BLANKS_MAX];         /* made ahead */
	size_t blank_count;
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
	while (cache->blank_count > 0)
		file_close(&cache->blanks[--cache->blank_count]);
	map_clear(&cache->files);
	pthread_mutex_destroy(&cache->lock);
	file_close(&cache->directory);
	free(cache);
}

/* The file of this name, now the one used last, pinned; or NULL. */
static struct cached_file *
find(struct file_cache *cache, const char *name)
{
	struct cached_file *file;

	pthread_mutex_lock(&cache->lock);
	file = map_get(&cache->files, str_from(name));
	if (file != NULL) {
		file->pins++;
		TAILQ_REMOVE(&cache->by_use, file, link);
		TAILQ_INSERT_TAIL(&cache->by_use, file, link);
	}
	pthread_mutex_unlock(&cache->lock);
	return file;
}

/* Under the lock: down to the limit, as far as nobody needs the files. */
static void
evict(struct file_cache *cache)
{
	struct cached_file *file = TAILQ_FIRST(&cache->by_use);

	while (file != NULL && cache->bytes > cache->max_bytes) {
		struct cached_file *next = TAILQ_NEXT(file, link);

		if (file->pins == 0)
			drop(cache, file);
		file = next;
	}
}

/* The file that was just made under the temporary name, pinned. Where another
 * thread made the same one meanwhile, it is that. */
static struct cached_file *
remember(struct file_cache *cache, const char *temporary, const char *name,
    uint64_t size, struct error *err)
{
	struct cached_file *file;

	pthread_mutex_lock(&cache->lock);
	file = map_get(&cache->files, str_from(name));
	/* Under the lock: else the other one's file could be evicted, by its
	 * name, when this one has that and is not in the list yet. */
	if (file == NULL && renameat(cache->directory, temporary,
				cache->directory, name) == -1) {
		error_set_errno(err, errno, "name a cached file");
		pthread_mutex_unlock(&cache->lock);
		return NULL;
	}
	if (file == NULL) {
		file = xcalloc(1, sizeof(*file));
		snprintf(file->name, sizeof(file->name), "%s", name);
		file->size = size;
		map_put(&cache->files, str_from(file->name), file);
		TAILQ_INSERT_TAIL(&cache->by_use, file, link);
		cache->bytes += size;
	}
	file->pins++;
	evict(cache);
	pthread_mutex_unlock(&cache->lock);
	return file;
}

void
file_cache_unpin(struct file_cache *cache, struct cached_file *file)
{
	pthread_mutex_lock(&cache->lock);
	file->pins--;
	evict(cache);
	pthread_mutex_unlock(&cache->lock);
}

/* Takes the blob. The name's end tells what the file is like. */
static int
copy(struct file_cache *cache, struct blob *blob, const char *temporary,
    bool executable, struct error *err)
{
	int fd = openat(cache->directory, temporary,
	    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int rc;

	if (fd == -1) {
		blob_free(blob);
		return error_set_errno(err, errno, "make %s", temporary);
	}
	rc = stage_file_fill(fd, blob, err);
	if (rc == 0)
		rc = stage_file_finish(fd, executable ? 0555 : 0444, NULL, err);
	/* Closed for writing before it has its name: no ETXTBSY. */
	file_close(&fd);
	return rc;
}

/* What is made of a blob. */
enum form {
	FORM_BODY, /* content alone counts */
	FORM_PLAIN,
	FORM_EXECUTABLE,
};

/* Takes the blob. The file, pinned. */
static struct cached_file *
make(struct file_cache *cache, struct blob *blob, const char *name,
    enum form form, struct error *err)
{
	uint64_t size = blob_digest(blob)->size;
	struct cached_file *file = NULL;
	char temporary[32];
	int rc = 0;

	pthread_mutex_lock(&cache->lock);
	snprintf(temporary, sizeof(temporary), "new-%llu",
	    (unsigned long long)cache->temporary++);
	pthread_mutex_unlock(&cache->lock);
	if (form == FORM_BODY &&
	    stage_file_link(blob_descriptor(blob), cache->directory, temporary))
		blob_free(blob);
	else
		rc = copy(cache, blob, temporary, form == FORM_EXECUTABLE, err);
	if (rc == 0)
		file = remember(cache, temporary, name, size, err);
	/* What did not get the name. */
	(void)unlinkat(cache->directory, temporary, 0);
	return file;
}

/* Takes the blob. The file, pinned. */
static struct cached_file *
get(struct file_cache *cache, struct blob *blob, enum form form,
    struct error *err)
{
	static const char *const ends[] = {
	    [FORM_BODY] = "-body", [FORM_PLAIN] = "", [FORM_EXECUTABLE] = "-x"};
	char hash[DIGEST_TEXT_MAX];
	char name[NAME_LEN];
	struct cached_file *file;

	snprintf(name, sizeof(name), "%s-%s%s",
	    digest_function_name(blob_digest(blob)->function),
	    digest_format_hash(blob_digest(blob), hash), ends[form]);
	file = find(cache, name);
	if (file != NULL) {
		blob_free(blob);
		return file;
	}
	file = make(cache, blob, name, form, err);
	if (file == NULL)
		error_prefix(err, "make a plain file of blob %s", hash);
	return file;
}

int
file_cache_get(struct file_cache *cache, struct blob *blob, bool executable,
    int *fd, struct error *err)
{
	struct cached_file *file =
	    get(cache, blob, executable ? FORM_EXECUTABLE : FORM_PLAIN, err);

	if (file == NULL)
		return -1;
	*fd = openat(cache->directory, file->name, O_RDONLY | O_CLOEXEC);
	if (*fd == -1)
		error_set_errno(
		    err, errno, "open the cached file %s", file->name);
	file_cache_unpin(cache, file);
	return *fd == -1 ? -1 : 0;
}

struct cached_file *
file_cache_pin(struct file_cache *cache, struct blob *blob, struct error *err)
{
	return get(cache, blob, FORM_BODY, err);
}

const char *
cached_file_name(const struct cached_file *file)
{
	return file->name;
}

int
file_cache_directory(const struct file_cache *cache)
{
	return cache->directory;
}

static int
make_blank(const struct file_cache *cache)
{
	return openat(
	    cache->directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

int
file_cache_blank(struct file_cache *cache, struct error *err)
{
	int fd = -1;

	pthread_mutex_lock(&cache->lock);
	if (cache->blank_count > 0)
		fd = cache->blanks[--cache->blank_count];
	pthread_mutex_unlock(&cache->lock);
	if (fd == -1)
		fd = make_blank(cache);
	return fd != -1 ? fd
			: error_set_errno(
			      err, errno, "make a file in the worker's cache");
}

void
file_cache_prepare(struct file_cache *cache)
{
	bool wanted;
	int fd;

	pthread_mutex_lock(&cache->lock);
	wanted = cache->blank_count < BLANKS_MAX;
	pthread_mutex_unlock(&cache->lock);
	if (!wanted)
		return;
	/* What fails now does so again when one is wanted. */
	fd = make_blank(cache);
	pthread_mutex_lock(&cache->lock);
	if (fd != -1 && cache->blank_count < BLANKS_MAX) {
		cache->blanks[cache->blank_count++] = fd;
		fd = -1;
	}
	pthread_mutex_unlock(&cache->lock);
	file_close(&fd);
}

int
file_cache_reserve(struct file_cache *cache, uint64_t bytes, struct error *err)
{
	uint64_t reserved;
	bool fits;

	pthread_mutex_lock(&cache->lock);
	reserved = cache->reserved;
	fits = bytes <= cache->max_bytes - reserved;
	if (fits) {
		cache->reserved += bytes;
		cache->bytes += bytes;
		evict(cache);
	}
	pthread_mutex_unlock(&cache->lock);
	if (fits)
		return 0;
	return error_set(err, ERROR_RESOURCE_EXHAUSTED,
	    "images of the inputs of all actions that run here would take "
	    "%llu bytes, more than the part of the worker's cache that is "
	    "theirs (%llu): raise --cache-size, or lower --slots",
	    (unsigned long long)(reserved + bytes),
	    (unsigned long long)cache->max_bytes);
}

void
file_cache_release(struct file_cache *cache, uint64_t bytes)
{
	pthread_mutex_lock(&cache->lock);
	cache->reserved -= bytes;
	cache->bytes -= bytes;
	pthread_mutex_unlock(&cache->lock);
}
