/* SPDX-License-Identifier: Apache-2.0 */
/* One unlinked file, mapped for reading when somebody asks for bytes. */
#include "client/capture_spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/map.h"
#include "base/memory.h"

struct spooled {
	struct digest digest; /* the key */
	uint64_t offset;
};

struct capture_spool {
	int fd;
	enum digest_function function;
	struct digest_hasher *hasher;
	uint64_t start; /* of the file being written */
	uint64_t end;
	struct map known; /* digest -> struct spooled */
	char *mapped;     /* NULL: not mapped */
	size_t mapped_size;
};

static int
open_unnamed(struct error *err)
{
	const char *directory = getenv("TMPDIR");
	char *path;
	int fd;

	if (directory == NULL || directory[0] != '/')
		directory = "/var/tmp";
	fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0)
		return fd;
	/* Not every file system has files without names. */
	path = xasprintf("%s/toolroot-XXXXXX", directory);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd == -1)
		error_set_errno(err, errno,
		    "temporary file in %s (TMPDIR names another directory)",
		    directory);
	else
		(void)unlink(path);
	free(path);
	return fd;
}

struct capture_spool *
capture_spool_new(enum digest_function function, struct error *err)
{
	struct capture_spool *spool;
	int fd = open_unnamed(err);

	if (fd < 0)
		return NULL;
	spool = xcalloc(1, sizeof(*spool));
	spool->fd = fd;
	spool->function = function;
	spool->hasher = digest_hasher_new(function);
	map_init(&spool->known);
	return spool;
}

static void
unmap(struct capture_spool *spool)
{
	if (spool->mapped != NULL)
		(void)munmap(spool->mapped, spool->mapped_size);
	spool->mapped = NULL;
}

void
capture_spool_free(struct capture_spool *spool)
{
	struct spooled *known;
	size_t position = 0;

	if (spool == NULL)
		return;
	unmap(spool);
	while ((known = map_next(&spool->known, &position)) != NULL)
		free(known);
	map_clear(&spool->known);
	digest_hasher_free(spool->hasher);
	file_close(&spool->fd);
	free(spool);
}

int
capture_spool_append(struct capture_spool *spool, const void *data, size_t len,
    struct error *err)
{
	if (file_pwrite(spool->fd, data, len, spool->end, err) < 0) {
		error_prefix(
		    err, "temporary file (TMPDIR names another directory)");
		return -1;
	}
	digest_hasher_update(spool->hasher, data, len);
	spool->end += len;
	return 0;
}

void
capture_spool_drop(struct capture_spool *spool)
{
	digest_hasher_reset(spool->hasher);
	spool->end = spool->start;
}

void
capture_spool_finish(
    struct capture_spool *spool, struct digest *digest, uint64_t *offset)
{
	struct spooled *known;

	digest_hasher_finish(spool->hasher, digest);
	known = map_get(&spool->known, digest_key(digest));
	if (known != NULL) {
		*offset = known->offset;
		capture_spool_drop(spool);
		return;
	}
	known = xcalloc(1, sizeof(*known));
	known->digest = *digest;
	known->offset = spool->start;
	map_put(&spool->known, digest_key(&known->digest), known);
	*offset = spool->start;
	spool->start = spool->end;
	digest_hasher_reset(spool->hasher);
}

struct str
capture_spool_bytes(struct capture_spool *spool, uint64_t offset, uint64_t size,
    struct error *err)
{
	if (size == 0)
		return STR("");
	if (spool->mapped == NULL || spool->mapped_size < offset + size) {
		unmap(spool);
		spool->mapped_size = (size_t)spool->start;
		spool->mapped = mmap(NULL, spool->mapped_size, PROT_READ,
		    MAP_SHARED, spool->fd, 0);
		if (spool->mapped == MAP_FAILED) {
			spool->mapped = NULL;
			error_set_errno(err, errno, "map the temporary file");
			return (struct str){NULL, 0};
		}
	}
	return (struct str){spool->mapped + offset, (size_t)size};
}
