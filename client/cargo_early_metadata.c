/* SPDX-License-Identifier: Apache-2.0 */
/* The old file stays open: the compiler renames a new one to its place. */
#include "client/cargo_early_metadata.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#define PIECE ((size_t)256 << 10)

void
cargo_early_metadata_open(
    struct cargo_early_metadata *metadata, const char *path)
{
	bool given = path != NULL && path[0] != '\0';

	*metadata = (struct cargo_early_metadata){.path = given ? path : NULL,
	    /* When it is gone meanwhile, the check says so. */
	    .before = given ? open(path, O_RDONLY | O_CLOEXEC) : -1};
}

void
cargo_early_metadata_close(struct cargo_early_metadata *metadata)
{
	file_close(&metadata->before);
}

bool
cargo_early_metadata_is_given(const struct cargo_early_metadata *metadata)
{
	return metadata->path != NULL;
}

static bool
is_equal(int one, int other, off_t size)
{
	char *pieces = xmalloc(2 * PIECE);
	struct error ignored; /* what cannot be read is not equal */
	bool equal = true;

	for (off_t at = 0; at < size && equal; at += (off_t)PIECE) {
		size_t len =
		    size - at < (off_t)PIECE ? (size_t)(size - at) : PIECE;

		equal =
		    file_pread(one, pieces, len, (uint64_t)at, &ignored) == 0 &&
		    file_pread(other, pieces + PIECE, len, (uint64_t)at,
			&ignored) == 0 &&
		    memcmp(pieces, pieces + PIECE, len) == 0;
	}
	free(pieces);
	return equal;
}

int
cargo_early_metadata_check(
    const struct cargo_early_metadata *metadata, struct error *err)
{
	struct stat before, after;
	int fd = -1, rc = 0;

	if (!cargo_early_metadata_is_given(metadata))
		return 0;
	fd = open(metadata->path, O_RDONLY | O_CLOEXEC);
	if (fd == -1 || fstat(fd, &after) == -1 ||
	    fstat(metadata->before, &before) == -1 ||
	    before.st_size != after.st_size ||
	    !is_equal(metadata->before, fd, after.st_size))
		rc = error_set(err, ERROR_FAILED_PRECONDITION,
		    "%s: the compiler makes other metadata here than it made "
		    "on a worker, and crates that use it may have been "
		    "compiled with that already: build again; if that does "
		    "not help, keep the crate here with --local",
		    metadata->path);
	/* Else cargo would take its users for older than it. */
	else if (futimens(fd, (const struct timespec[]){
				  before.st_atim, before.st_mtim}) == -1)
		rc = error_set_errno(err, errno, "%s", metadata->path);
	file_close(&fd);
	return rc;
}
