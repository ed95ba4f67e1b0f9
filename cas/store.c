/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing: the layout on disk, its version, the lock. */
#include "cas/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/store_segment.h"
#include "cas/store_tail.h"

#define FORMAT_TEXT "toolroot-store 1\n"
#define SEGMENT_SIZE_DEFAULT ((uint64_t)256 << 20)
#define SEGMENT_SIZE_LEAST ((uint64_t)1 << 20)
#define SEGMENTS_AT_LEAST 64
#define SMALL_LIMIT_DEFAULT ((uint32_t)128 << 10)
#define OPEN_SEGMENTS 512

static int
store_open_directory(struct store *store, const char *name, int *fd,
    bool create, struct error *err)
{
	if (create && mkdirat(store->directory, name, 0755) == -1 &&
	    errno != EEXIST)
		return error_set_errno(
		    err, errno, "make directory %s/%s", store->path, name);
	*fd =
	    openat(store->directory, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd == -1)
		return error_set_errno(
		    err, errno, "open %s/%s", store->path, name);
	return 0;
}

/* --- format --------------------------------------------------------------- */

/* 1, 0 when there is none, -1. */
static int
store_check_format(struct store *store, struct error *err)
{
	char text[64] = "";
	int fd = openat(store->directory, "format", O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (fd == -1 && errno == ENOENT)
		return 0;
	if (fd == -1)
		return error_set_errno(
		    err, errno, "open %s/format", store->path);
	length = read(fd, text, sizeof(text) - 1);
	file_close(&fd);
	if (length == -1)
		return error_set_errno(
		    err, errno, "read %s/format", store->path);
	if (strcmp(text, FORMAT_TEXT) == 0)
		return 1;
	text[strcspn(text, "\n")] = '\0';
	return error_set(err, ERROR_FAILED_PRECONDITION,
	    "%s has the format \"%.40s\", this program knows "
	    "\"toolroot-store 1\" only; use the program that wrote it, or "
	    "another directory",
	    store->path, text);
}

static int
store_write_format(struct store *store, struct error *err)
{
	int fd = openat(store->directory, "format.new",
	    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int rc = -1;

	if (fd == -1)
		return error_set_errno(
		    err, errno, "create %s/format.new", store->path);
	if (file_write(fd, FORMAT_TEXT, strlen(FORMAT_TEXT), err) < 0 ||
	    file_sync(fd, err) < 0)
		goto out;
	if (renameat(store->directory, "format.new", store->directory,
		"format") == -1) {
		error_set_errno(
		    err, errno, "rename %s/format.new", store->path);
		goto out;
	}
	rc = file_sync_directory(store->directory, err);
out:
	file_close(&fd);
	return rc;
}

/* True when the directory has entries. */
static bool
store_directory_is_used(int directory, const char *name)
{
	int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *entry;
	bool used = false;

	if (entries == NULL) {
		file_close(&fd);
		return false;
	}
	while (!used && (entry = readdir(entries)) != NULL)
		used = entry->d_name[0] != '.';
	closedir(entries);
	return used;
}

/* An index that is lost must not be made anew, empty: the blobs would be gone
 * with it. */
static int
store_check_index(const struct store *store, struct error *err)
{
	if (faccessat(store->directory, "index/data.mdb", F_OK, 0) == 0 ||
	    errno != ENOENT)
		return 0;
	if (!store_directory_is_used(store->directory, "segments") &&
	    !store_directory_is_used(store->directory, "blobs"))
		return 0;
	return error_set(err, ERROR_DATA_LOSS,
	    "the store %s has lost its index (index/data.mdb); run `toolroot "
	    "store repair --store %s`, which makes it anew",
	    store->path, store->path);
}

/* What may stand in a directory that is to become a store: ours from a start
 * that was interrupted, and what a new file system has. */
static bool
store_is_new_entry(const char *name)
{
	static const char *const names[] = {
	    ".", "..", "lock", "format.new", "lost+found"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

/* A directory without a format must be new, not somebody's files. */
static int
store_check_new(struct store *store, struct error *err)
{
	int fd = openat(store->directory, ".", O_RDONLY | O_CLOEXEC);
	DIR *entries = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *entry = NULL;
	int rc = 0;

	if (entries == NULL) {
		error_set_errno(err, errno, "read directory %s", store->path);
		file_close(&fd);
		return -1;
	}
	while (rc == 0 && (entry = readdir(entries)) != NULL) {
		if (!store_is_new_entry(entry->d_name))
			rc = error_set(err, ERROR_FAILED_PRECONDITION,
			    "%s has \"%.200s\" in it but no file named "
			    "format: it is not a store, or a damaged one; name "
			    "a directory that is new or empty",
			    store->path, entry->d_name);
	}
	closedir(entries);
	return rc;
}

/* --- lock ----------------------------------------------------------------- */

#define LOCK_TRIES 20
#define LOCK_PAUSE_NS 50000000

/* A child of a repair that was killed may hold the lock until it has run for
 * the first time, so a moment is waited before another process is believed in.
 * 0, or -1 with errno. */
static int
store_flock(int fd)
{
	int rc;

	for (int i = 0; i < LOCK_TRIES; i++) {
		rc = flock(fd, LOCK_EX | LOCK_NB);
		if (rc == 0 || errno != EWOULDBLOCK)
			return rc;
		nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE_NS}, NULL);
	}
	errno = EWOULDBLOCK;
	return -1;
}

static int
store_take_lock(struct store *store, struct error *err)
{
	char text[32] = "";
	int length;

	store->lock_file = openat(
	    store->directory, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (store->lock_file == -1)
		return error_set_errno(err, errno, "open %s/lock", store->path);
	if (store_flock(store->lock_file) == -1) {
		if (errno != EWOULDBLOCK)
			return error_set_errno(
			    err, errno, "lock %s/lock", store->path);
		if (pread(store->lock_file, text, sizeof(text) - 1, 0) <= 0)
			strcpy(text, "unknown");
		text[strcspn(text, "\n")] = '\0';
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "the store %s is in use by process %s; stop it, or use "
		    "another directory",
		    store->path, text);
	}
	length = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(store->lock_file, 0) == -1)
		return error_set_errno(
		    err, errno, "truncate %s/lock", store->path);
	return file_pwrite(store->lock_file, text, (size_t)length, 0, err);
}

/* --- opening -------------------------------------------------------------- */

static struct store *
store_new(const struct store_options *options)
{
	struct store *store = xcalloc(1, sizeof(*store));

	store->path = xstrdup(options->path);
	store->max_size = options->max_size;
	store->segment_size = options->segment_size;
	store->small_limit = options->small_limit != 0 ? options->small_limit
						       : SMALL_LIMIT_DEFAULT;
	if (store->small_limit > STORE_SMALL_LIMIT_MAX)
		store->small_limit = STORE_SMALL_LIMIT_MAX;
	store->read_only = options->read_only;
	store->pool = options->pool;
	store->commit_blobs = options->commit_blobs;
	store->commit_duration = options->commit_duration;
	store->directory = store->blobs = store->incoming = -1;
	store->segments_directory = store->lock_file = -1;
	store->shortage.min_age_ms = -1;
	atomic_init(&store->disk_free, UINT64_MAX);
	owners_init(&store->owners);
	pthread_mutex_init(&store->usage_lock, NULL);
	store->pending = pending_new();
	return store;
}

static int
store_prepare_new(struct store *store, struct error *err)
{
	int found = store_check_format(store, err);

	/* Before anything is written there. */
	if (found < 0 || (found == 0 && store_check_new(store, err) < 0) ||
	    store_take_lock(store, err) < 0)
		return -1;
	/* Another process may have made one meanwhile, and ended. */
	found = store_check_format(store, err);
	if (found == 0 && store_write_format(store, err) < 0)
		return -1;
	return found < 0 ? -1 : store_check_index(store, err);
}

static int
store_prepare_existing(struct store *store, struct error *err)
{
	int found = store_check_format(store, err);

	if (found == 0)
		return error_set(err, ERROR_NOT_FOUND,
		    "%s is no store: it has no file named format", store->path);
	return found < 0 ? -1 : 0;
}

static int
store_open_index(struct store *store, struct error *err)
{
	char *path = xasprintf("%s/index", store->path);
	MDB_txn *txn;
	int rc = -1;

	if (!store->read_only &&
	    mkdirat(store->directory, "index", 0700) == -1 && errno != EEXIST) {
		error_set_errno(err, errno, "make directory %s", path);
		goto out;
	}
	store->index = index_open(path, store->read_only, err);
	if (store->index == NULL ||
	    index_read_begin(store->index, &txn, err) < 0)
		goto out;
	rc = index_state(store->index, txn, &store->state, err);
	index_read_end(store->index, txn);
	if (rc == 0)
		rc = owners_load(store, err);
out:
	free(path);
	return rc;
}

/* A segment can be collected when the next one has begun, so a small store has
 * small ones. */
static uint64_t
store_choose_segment_size(uint64_t max_size)
{
	uint64_t size = max_size / SEGMENTS_AT_LEAST;

	if (size < SEGMENT_SIZE_LEAST)
		return SEGMENT_SIZE_LEAST;
	return size < SEGMENT_SIZE_DEFAULT ? size : SEGMENT_SIZE_DEFAULT;
}

static int
store_choose_max_size(struct store *store, struct error *err)
{
	struct statvfs status;
	struct store_usage usage;

	if (store->max_size != 0)
		goto out;
	if (fstatvfs(store->directory, &status) == -1)
		return error_set_errno(err, errno, "statvfs %s", store->path);
	store_usage(store, &usage);
	store->max_size =
	    ((uint64_t)status.f_frsize * status.f_bavail + usage.bytes) / 5 * 4;
out:
	if (store->segment_size == 0)
		store->segment_size =
		    store_choose_segment_size(store->max_size);
	return 0;
}

static int
store_start_writing(struct store *store, struct error *err)
{
	int64_t begun_ns = clock_monotonic_ns();
	struct log_position end;

	if (blob_file_clear_incoming(store, err) < 0 ||
	    file_sync_directory(store->directory, err) < 0 ||
	    tail_recover(store, &end, err) < 0 ||
	    store_choose_max_size(store, err) < 0)
		return -1;
	store->recovery_ns = clock_monotonic_ns() - begun_ns;
	store->touches = touches_new();
	store->indexer = indexer_new(store, err);
	if (store->indexer == NULL)
		return -1;
	store->committer = committer_new(store, &end, err);
	return store->committer == NULL ? -1 : 0;
}

static int
store_open_directories(struct store *store, bool create, struct error *err)
{
	if (store_open_directory(store, "blobs", &store->blobs, create, err) <
		0 ||
	    store_open_directory(
		store, "incoming", &store->incoming, create, err) < 0)
		return -1;
	return store_open_directory(
	    store, "segments", &store->segments_directory, create, err);
}

static int
store_open_parts(struct store *store, struct error *err)
{
	bool create = !store->read_only;

	if ((create ? store_prepare_new(store, err)
		    : store_prepare_existing(store, err)) < 0)
		return -1;
	if (store_open_directories(store, create, err) < 0 ||
	    store_open_index(store, err) < 0)
		return -1;
	store->segments =
	    segment_table_new(store->segments_directory, OPEN_SEGMENTS);
	if (create)
		return store_start_writing(store, err);
	store->tail = tail_new();
	return store_choose_max_size(store, err);
}

struct store *
store_open(const struct store_options *options, struct error *err)
{
	struct store *store = store_new(options);

	if (!options->read_only &&
	    file_make_directories(options->path, err) < 0) {
		error_prefix(err, "make %s for the store, or use another",
		    options->path);
		goto fail;
	}
	store->directory =
	    open(options->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->directory == -1) {
		error_set_errno(err, errno, "open store %s", options->path);
		goto fail;
	}
	store_measure_disk(store);
	if (store_open_parts(store, err) < 0)
		goto fail;
	return store;
fail:
	store_close(store);
	return NULL;
}

struct store *
store_open_bare(const char *path, struct error *err)
{
	const struct store_options options = {.path = path};
	struct store *store = store_new(&options);

	store->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (store->directory == -1) {
		error_set_errno(err, errno, "open store %s", path);
		goto fail;
	}
	if (store_prepare_existing(store, err) < 0 ||
	    store_take_lock(store, err) < 0 ||
	    store_open_directories(store, true, err) < 0)
		goto fail;
	return store;
fail:
	store_close(store);
	return NULL;
}

void
store_close(struct store *store)
{
	if (store == NULL)
		return;
	committer_free(store->committer);
	indexer_free(store->indexer);
	tail_free(store->tail);
	pending_free(store->pending);
	touches_free(store->touches);
	segment_table_free(store->segments);
	index_close(store->index);
	file_close(&store->segments_directory);
	file_close(&store->incoming);
	file_close(&store->blobs);
	/* Gives the lock back: last, when nothing is written any more. */
	file_close(&store->lock_file);
	file_close(&store->directory);
	owners_clear(&store->owners);
	pthread_mutex_destroy(&store->usage_lock);
	free(store->path);
	free(store);
}

int
store_check_writable(const struct store *store, struct error *err)
{
	if (!store->read_only)
		return 0;
	return error_set(err, ERROR_FAILED_PRECONDITION,
	    "the store %s was opened read-only", store->path);
}
