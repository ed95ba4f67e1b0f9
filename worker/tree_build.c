/* SPDX-License-Identifier: Apache-2.0 */
/* A visitor of the tree's walk that writes files, bounded in bytes. */
#include "worker/tree_build.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/store.h"
#include "worker/stage_file.h"
#include "worker/tree_walk.h"

/* What a file takes on disk beside its bytes, rounded. */
#define ENTRY_BYTES 4096
/* A smaller file is read into memory at once. */
#define SMALL_MAX ((uint64_t)128 << 10)

/* What the visitor has beside the walk. */
struct work {
	struct tree_build *build;
	struct tree_walk walk;
	int root;
	struct buffer content; /* of the small file at hand */
	struct buffer other;   /* of the file to compare with */
};

/* A directory in the making, and the one at the same path of the other tree;
 * like is -1 where that has none. */
struct place {
	int fd;
	int like;
};

int
tree_build_count(struct tree_build *build, uint64_t bytes, struct error *err)
{
	build->bytes += bytes;
	if (bytes > build->max_bytes || build->bytes > build->max_bytes)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "tree-cache-size of the worker (%llu bytes) is less than "
		    "the tree takes",
		    (unsigned long long)build->max_bytes);
	return 0;
}

static int
account(const struct work *work, uint64_t bytes, struct error *err)
{
	return tree_build_count(work->build, bytes + ENTRY_BYTES, err);
}

static int
create(int directory, const struct tree_file *file, struct error *err)
{
	int fd = openat(directory, file->name,
	    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, file->mode);

	if (fd == -1)
		return error_set_errno(err, errno, "make %s", file->name);
	return fd;
}

static int
finish(int fd, const struct tree_file *file, struct error *err)
{
	/* Our umask takes 022 away at the creation. */
	int rc = (file->mode & 022) != 0
		     ? stage_file_finish(fd, file->mode, &file->time, err)
		     : stage_file_date(fd, &file->time, err);

	file_close(&fd);
	return rc;
}

/* Whether the other tree's file is what is wanted, to the byte. */
static bool
is_same(struct work *work, int like, const struct tree_file *file)
{
	int fd = openat(like, file->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct error ignored;
	struct stat status;
	size_t len = work->content.len;
	bool same;

	if (fd == -1)
		return false;
	buffer_reset(&work->other);
	same = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
	       (status.st_mode & 07777) == file->mode &&
	       (uint64_t)status.st_size == len &&
	       status.st_mtim.tv_sec == file->time.tv_sec &&
	       status.st_mtim.tv_nsec == file->time.tv_nsec &&
	       buffer_reserve(&work->other, len) != NULL &&
	       file_pread(fd, work->other.data, len, 0, &ignored) == 0 &&
	       (len == 0 ||
		   memcmp(work->other.data, work->content.data, len) == 0);
	file_close(&fd);
	return same;
}

static int
write_small(struct work *work, const struct place *place,
    const struct tree_file *file, struct error *err)
{
	int fd;

	buffer_reset(&work->content);
	if (tree_walk_read(&work->walk, &file->digest, &work->content, err) < 0)
		return -1;
	if (place->like != -1 && is_same(work, place->like, file) &&
	    linkat(place->like, file->name, place->fd, file->name, 0) == 0)
		return 0;
	fd = create(place->fd, file, err);
	if (fd < 0)
		return -1;
	if (file_write(fd, work->content.data, work->content.len, err) < 0) {
		file_close(&fd);
		return -1;
	}
	return finish(fd, file, err);
}

/* Takes the blob. */
static int
copy_large(int directory, const struct tree_file *file, struct blob *blob,
    struct error *err)
{
	int fd = create(directory, file, err);

	if (fd < 0) {
		blob_free(blob);
		return -1;
	}
	if (stage_file_fill(fd, blob, err) < 0) {
		file_close(&fd);
		return -1;
	}
	return finish(fd, file, err);
}

/* Links the store's own file under the file's name, where it is as wanted and
 * the file systems and their rules allow. */
static bool
try_link(int directory, const struct tree_file *file, const struct blob *blob)
{
	int source = blob_descriptor(blob);
	struct stat status;
	struct error ignored;

	if (source == -1 || fstat(source, &status) == -1 ||
	    (status.st_mode & 07777) != file->mode ||
	    (uint64_t)status.st_size != file->digest.size ||
	    file->time.tv_sec != STAGE_TIME || file->time.tv_nsec != 0)
		return false;
	if (status.st_mtim.tv_sec != STAGE_TIME &&
	    stage_file_date(source, NULL, &ignored) < 0)
		return false;
	return stage_file_link(source, directory, file->name);
}

static int
place_large(struct work *work, int directory, const struct tree_file *file,
    struct error *err)
{
	struct blob *blob = NULL;

	if (tree_walk_open(&work->walk, &file->digest, &blob, err) < 0)
		return -1;
	if (!try_link(directory, file, blob))
		return copy_large(directory, file, blob, err);
	blob_free(blob);
	return 0;
}

/* --- the visitor ----------------------------------------------------------
 */

static int
open_directory(int parent, const char *name)
{
	return openat(
	    parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int
visit_enter(struct tree_walk *walk, void *parent, const char *name,
    const Reapi__Directory *message, void **place, struct error *err)
{
	const struct work *work = walk->cookie;
	const struct place *above = parent;
	struct place root = {.fd = work->root, .like = work->build->like};
	struct place *made;
	int fd;

	(void)message;
	if (above == NULL) {
		above = &root;
		name = ".";
	} else if (account(work, 0, err) < 0) {
		return -1;
	} else if (mkdirat(above->fd, name, 0755) == -1) {
		return error_set_errno(
		    err, errno, "make %.200s", walk->path.data);
	}
	fd = open_directory(above->fd, name);
	if (fd == -1)
		return error_set_errno(
		    err, errno, "open %.200s", walk->path.data);
	made = xmalloc(sizeof(*made));
	made->fd = fd;
	made->like = above->like != -1 ? open_directory(above->like, name) : -1;
	*place = made;
	return 0;
}

static int
visit_file(struct tree_walk *walk, void *place, const struct tree_file *file,
    struct error *err)
{
	struct work *work = walk->cookie;
	const struct place *here = place;

	if (account(work, file->digest.size, err) < 0)
		return -1;
	return file->digest.size <= SMALL_MAX
		   ? write_small(work, here, file, err)
		   : place_large(work, here->fd, file, err);
}

static int
visit_link(struct tree_walk *walk, void *place, const struct tree_link *link,
    struct error *err)
{
	const struct timespec times[2] = {link->time, link->time};
	const struct place *here = place;

	if (account(walk->cookie, 0, err) < 0)
		return -1;
	if (symlinkat(link->target, here->fd, link->name) == -1 ||
	    utimensat(here->fd, link->name, times, AT_SYMLINK_NOFOLLOW) == -1)
		return error_set_errno(err, errno, "make the link %.200s%s",
		    walk->path.data, link->name);
	return 0;
}

/* After its entries, which change the time. */
static int
visit_complete(struct tree_walk *walk, void *parent, void *place,
    const Reapi__Directory *message, struct error *err)
{
	struct timespec time = stage_file_time(message->node_properties);
	const struct place *here = place;

	(void)walk;
	(void)parent;
	return stage_file_date(here->fd, &time, err);
}

static void
visit_leave(void *place)
{
	struct place *here = place;

	file_close(&here->fd);
	file_close(&here->like);
	free(here);
}

int
tree_build(struct tree_build *build, int directory, const struct digest *root,
    struct error *err)
{
	static const struct tree_visitor visitor = {.enter = visit_enter,
	    .file = visit_file,
	    .link = visit_link,
	    .complete = visit_complete,
	    .leave = visit_leave};
	struct work work = {.build = build,
	    .walk = {.visitor = &visitor,
		.store = build->store,
		.what = "tree",
		.cancel_fd = build->cancel_fd,
		.missing = build->missing},
	    .root = directory};
	int rc;

	work.walk.cookie = &work;
	build->bytes = 0;
	buffer_init(&work.content, SMALL_MAX);
	buffer_init(&work.other, SMALL_MAX);
	rc = tree_walk_run(&work.walk, root, err);
	buffer_clear(&work.content);
	buffer_clear(&work.other);
	return rc;
}
