/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of a directory, each with a locked file beside it. No state. */
#include "worker/worker_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#define PARTS_MAX 1024

/* 1 ours, 0 another's, -1. */
static int
try_lock(const char *path, int *lock_fd, struct error *err)
{
	*lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (*lock_fd == -1)
		return error_set_errno(err, errno, "open %s", path);
	if (flock(*lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 1;
	if (errno == EWOULDBLOCK) {
		file_close(lock_fd);
		return 0;
	}
	error_set_errno(err, errno, "lock %s", path);
	file_close(lock_fd);
	return -1;
}

char *
worker_cache_claim(const char *cache, int *lock_fd, struct error *err)
{
	char *path;
	int rc;

	*lock_fd = -1;
	if (file_make_directories(cache, err) < 0)
		return NULL;
	for (int i = 0; i < PARTS_MAX; i++) {
		path = xasprintf("%s/worker-%d.lock", cache, i);
		rc = try_lock(path, lock_fd, err);
		free(path);
		if (rc < 0)
			return NULL;
		if (rc == 0)
			continue;
		path = xasprintf("%s/worker-%d", cache, i);
		if (file_make_directories(path, err) == 0)
			return path;
		free(path);
		file_close(lock_fd);
		return NULL;
	}
	error_set(err, ERROR_RESOURCE_EXHAUSTED,
	    "%d workers use the cache directory %s already", PARTS_MAX, cache);
	return NULL;
}
