/* SPDX-License-Identifier: Apache-2.0 */
/* Content and attributes of one file. No state. */
#include "worker/stage_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/store.h"

#define CHUNK ((size_t)256 << 10)

struct timespec
stage_file_time(const Reapi__NodeProperties *properties)
{
	struct timespec time = {.tv_sec = STAGE_TIME};

	if (properties != NULL && properties->mtime != NULL) {
		time.tv_sec = (time_t)properties->mtime->seconds;
		time.tv_nsec = properties->mtime->nanos;
	}
	return time;
}

mode_t
stage_file_mode(const Reapi__NodeProperties *properties, bool executable)
{
	if (properties != NULL && properties->unix_mode != NULL)
		return properties->unix_mode->value & 0777;
	return executable ? 0555 : 0444;
}

mode_t
stage_directory_mode(const Reapi__NodeProperties *properties)
{
	if (properties != NULL && properties->unix_mode != NULL)
		return (properties->unix_mode->value & 0777) | 0700;
	return 0755;
}

int
stage_file_copy(int fd, struct blob *blob, struct error *err)
{
	struct blob_stream_options options = {.encoding = ENCODING_IDENTITY};
	struct blob_stream *stream = blob_stream_open(blob, &options, err);
	char *chunk;
	size_t len = 1;
	int rc = 0;

	if (stream == NULL)
		return -1;
	chunk = xmalloc(CHUNK);
	while (rc == 0 && len > 0) {
		rc = blob_stream_next(stream, chunk, CHUNK, &len, err);
		if (rc == 0 && len > 0)
			rc = file_write(fd, chunk, len, err);
	}
	free(chunk);
	blob_stream_free(stream);
	return rc;
}

int
stage_file_fill(int fd, struct blob *blob, struct error *err)
{
	int source = blob_descriptor(blob);

	if (source == -1 || ioctl(fd, FICLONE, source) == -1)
		return stage_file_copy(fd, blob, err);
	blob_free(blob);
	return 0;
}

bool
stage_file_link(int fd, int directory, const char *name)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return fd != -1 &&
	       linkat(AT_FDCWD, path, directory, name, AT_SYMLINK_FOLLOW) == 0;
}

int
stage_file_date(int fd, const struct timespec *time, struct error *err)
{
	const struct timespec fixed = {.tv_sec = STAGE_TIME};
	struct timespec times[2];

	times[0] = times[1] = time != NULL ? *time : fixed;
	if (futimens(fd, times) == -1)
		return error_set_errno(err, errno, "set a file's time");
	return 0;
}

int
stage_file_finish(
    int fd, mode_t mode, const struct timespec *time, struct error *err)
{
	if (fchmod(fd, mode) == -1)
		return error_set_errno(err, errno, "set a file's mode");
	return stage_file_date(fd, time, err);
}
