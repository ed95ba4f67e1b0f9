/* SPDX-License-Identifier: Apache-2.0 */
/* Loops around file system calls. No state, any thread. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/memory.h"

int
file_write(int fd, const void *data, size_t len, struct error *err)
{
	const char *next = data;

	while (len > 0) {
		ssize_t count = write(fd, next, len);

		if (count == -1 && errno == EINTR)
			continue;
		if (count == -1)
			return error_set_errno(err, errno, "write");
		next += count;
		len -= (size_t)count;
	}
	return 0;
}

int
file_pwrite(
    int fd, const void *data, size_t len, uint64_t offset, struct error *err)
{
	struct iovec vector = {(void *)(uintptr_t)data, len};

	return file_pwritev(fd, &vector, 1, offset, err);
}

int
file_pwritev(int fd, struct iovec *vector, size_t count, uint64_t offset,
    struct error *err)
{
	while (count > 0) {
		int batch = count > IOV_MAX ? IOV_MAX : (int)count;
		ssize_t written = pwritev(fd, vector, batch, (off_t)offset);

		if (written == -1 && errno == EINTR)
			continue;
		if (written == -1)
			return error_set_errno(err, errno, "write");
		offset += (uint64_t)written;
		while (count > 0 && (size_t)written >= vector->iov_len) {
			written -= (ssize_t)vector->iov_len;
			vector++;
			count--;
		}
		if (count > 0) {
			vector->iov_base = (char *)vector->iov_base + written;
			vector->iov_len -= (size_t)written;
		}
	}
	return 0;
}

int
file_pread(int fd, void *data, size_t len, uint64_t offset, struct error *err)
{
	char *next = data;

	while (len > 0) {
		ssize_t count = pread(fd, next, len, (off_t)offset);

		if (count == -1 && errno == EINTR)
			continue;
		if (count == -1)
			return error_set_errno(err, errno, "read");
		if (count == 0)
			return error_set(err, ERROR_DATA_LOSS,
			    "file ends %zu bytes early", len);
		next += count;
		offset += (uint64_t)count;
		len -= (size_t)count;
	}
	return 0;
}

int
file_read_all(const char *path, struct buffer *buffer, struct error *err)
{
	int rc = -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd == -1)
		return error_set_errno(err, errno, "open %s", path);
	for (;;) {
		char piece[4096];
		ssize_t count = read(fd, piece, sizeof(piece));

		if (count == -1 && errno == EINTR)
			continue;
		if (count == -1) {
			error_set_errno(err, errno, "read %s", path);
			goto out;
		}
		if (count == 0)
			break;
		if (buffer_append(buffer, piece, (size_t)count) < 0) {
			error_set(err, ERROR_FAILED_PRECONDITION,
			    "%s is larger than the limit of %zu bytes", path,
			    buffer->limit);
			goto out;
		}
	}
	rc = 0;
out:
	file_close(&fd);
	return rc;
}

int
file_replace(const char *path, const void *data, size_t len, struct error *err)
{
	char *temporary = xasprintf("%s.XXXXXX", path);
	int fd = mkostemp(temporary, O_CLOEXEC);
	int rc = -1;

	if (fd == -1) {
		error_set_errno(err, errno, "make %s", temporary);
		goto out;
	}
	rc = file_write(fd, data, len, err);
	if (rc == 0 && rename(temporary, path) == -1)
		rc = error_set_errno(err, errno, "rename to %s", path);
	if (rc < 0)
		unlink(temporary);
out:
	file_close(&fd);
	free(temporary);
	return rc;
}

int
file_sync(int fd, struct error *err)
{
	if (fdatasync(fd) == -1)
		return error_set_errno(err, errno, "fdatasync");
	return 0;
}

int
file_sync_directory(int fd, struct error *err)
{
	if (fsync(fd) == -1)
		return error_set_errno(err, errno, "fsync of directory");
	return 0;
}

int
file_make_directories(const char *path, struct error *err)
{
	char partial[PATH_MAX];
	size_t length = strlen(path);

	if (length == 0 || length >= sizeof(partial))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "a path of %zu characters cannot be made a directory",
		    length);
	memcpy(partial, path, length + 1);
	for (size_t i = 1; i <= length; i++) {
		if (partial[i] != '/' && partial[i] != '\0')
			continue;
		partial[i] = '\0';
		if (mkdir(partial, 0700) == -1 && errno != EEXIST)
			return error_set_errno(err, errno, "mkdir %s", partial);
		if (i < length)
			partial[i] = '/';
	}
	return 0;
}

static int
file_remove_one(
    const char *path, const struct stat *status, int type, struct FTW *place)
{
	(void)status;
	(void)type;
	(void)place;
	return remove(path);
}

int
file_remove_tree(const char *path, struct error *err)
{
	struct stat status;

	if (lstat(path, &status) == -1 && errno == ENOENT)
		return 0;
	if (nftw(path, file_remove_one, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) !=
	    0)
		return error_set_errno(err, errno, "remove %s", path);
	return 0;
}

int
file_open_beneath(int directory, const char *path, int flags)
{
	const struct open_how how = {.flags = (unsigned)(flags | O_CLOEXEC),
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};

	return (int)syscall(SYS_openat2, directory,
	    path[0] != '\0' ? path : ".", &how, sizeof(how));
}

void
file_close(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}
