/* SPDX-License-Identifier: Apache-2.0 */
/* A visitor of the tree's walk that writes files. Their number and size are
 * bounded by the sandbox's file system. */
#include "worker/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/directory.h"
#include "cas/store.h"
#include "worker/file_cache.h"
#include "worker/sandbox.h"
#include "worker/spawner.h"
#include "worker/stage_file.h"
#include "worker/tree_walk.h"

/* Above STAGE_COPY_MAX, a body that the store has no file of is still copied
 * up to here rather than kept in the file cache. */
#define COPY_RATHER_MAX ((uint64_t)256 << 10)

/* What the visitor has beside the walk. */
struct work {
	const struct stage *stage;
	struct tree_walk walk;
	bool chown;
	struct buffer content; /* of the file at hand */
};

struct place {
	int fd;
};

/* Whether the file asks for nothing of its own. */
static bool
is_plain(const struct tree_file *file)
{
	return file->mode == stage_file_mode(NULL, file->executable) &&
	       file->time.tv_sec == STAGE_TIME && file->time.tv_nsec == 0;
}

/* Turns "no space" into what the operator can do about it. */
static int
write_error(const struct work *work, const char *name, struct error *err)
{
	int number = errno;

	if (number == ENOSPC)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the input root does not fit into the sandbox at %.100s%s: "
		    "raise the worker's scratch size or number of files",
		    buffer_str(&work->walk.path).data, name);
	if (number == EEXIST)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the input %.100s%s stands where the sandbox needs a "
		    "directory of its own",
		    buffer_str(&work->walk.path).data, name);
	return error_set_errno(err, number, "stage %.100s%s",
	    buffer_str(&work->walk.path).data, name);
}

static int
give(const struct work *work, int fd, struct error *err)
{
	if (work->chown && fchown(fd, SANDBOX_UID, SANDBOX_GID) == -1)
		return error_set_errno(err, errno, "give a file away");
	return 0;
}

static int
create(const struct work *work, int directory, const struct tree_file *file,
    struct error *err)
{
	int fd = openat(directory, file->name,
	    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, file->mode);

	if (fd == -1)
		return write_error(work, file->name, err);
	return fd;
}

/* Owner, mode, time; closes. The mode is set already, but for bits that the
 * spawner's umask takes away. */
static int
finish(const struct work *work, int fd, const struct tree_file *file,
    struct error *err)
{
	int rc = give(work, fd, err);

	if (rc == 0 && (file->mode & SPAWNER_UMASK) != 0)
		rc = stage_file_finish(fd, file->mode, &file->time, err);
	else if (rc == 0)
		rc = stage_file_date(fd, &file->time, err);
	file_close(&fd);
	return rc;
}

static int
write_small(struct work *work, int directory, const struct tree_file *file,
    struct error *err)
{
	struct str content = file->content;
	int fd;

	buffer_reset(&work->content);
	if (content.data == NULL) {
		if (tree_walk_read(
			&work->walk, &file->digest, &work->content, err) < 0)
			return -1;
		content = buffer_str(&work->content);
	}
	fd = create(work, directory, file, err);
	if (fd < 0)
		return -1;
	if (content.len > 0 &&
	    write(fd, content.data, content.len) != (ssize_t)content.len) {
		/* Memory files write short only when they are full. */
		errno = ENOSPC;
		write_error(work, file->name, err);
		file_close(&fd);
		return -1;
	}
	return finish(work, fd, file, err);
}

/* Takes the blob. */
static int
copy_large(struct work *work, int directory, const struct tree_file *file,
    struct blob *blob, struct error *err)
{
	int fd = create(work, directory, file, err);

	if (fd < 0) {
		blob_free(blob);
		return -1;
	}
	if (stage_file_copy(fd, blob, err) < 0) {
		file_close(&fd);
		if (err->code == ERROR_RESOURCE_EXHAUSTED) {
			errno = ENOSPC;
			write_error(work, file->name, err);
		}
		return -1;
	}
	return finish(work, fd, file, err);
}

/* Whether the store's file can be shown as it is: the mode is right, and so is
 * the date, which is set where it is not. (The store does not use it; a file
 * that is not ours to date goes through the file cache.) */
static bool
fits_as_it_is(int descriptor, const struct tree_file *file)
{
	struct stat status;
	struct error ignored;

	if (descriptor == -1 || file->executable ||
	    fstat(descriptor, &status) == -1 ||
	    (status.st_mode & 0777) != file->mode)
		return false;
	return status.st_mtim.tv_sec == STAGE_TIME ||
	       stage_file_date(descriptor, NULL, &ignored) == 0;
}

/* Takes the blob. A descriptor to mount from. */
static int
open_to_bind(struct work *work, const struct tree_file *file, struct blob *blob,
    int *fd, struct error *err)
{
	int descriptor = blob_descriptor(blob);

	if (!fits_as_it_is(descriptor, file))
		return file_cache_get(
		    work->stage->files, blob, file->executable, fd, err);
	*fd = fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
	blob_free(blob);
	if (*fd == -1)
		return error_set_errno(err, errno, "open an input");
	return 0;
}

static int
place_large(struct work *work, int directory, const struct tree_file *file,
    struct error *err)
{
	struct blob *blob = NULL;
	bool stored;
	char target[PATH_MAX];
	int source;
	int fd;

	if (tree_walk_open(&work->walk, &file->digest, &blob, err) < 0)
		return -1;
	stored = fits_as_it_is(blob_descriptor(blob), file);
	if (!is_plain(file) || !sandbox_can_bind(work->stage->sandbox) ||
	    (!stored && file->digest.size <= COPY_RATHER_MAX))
		return copy_large(work, directory, file, blob, err);
	if (open_to_bind(work, file, blob, &source, err) < 0)
		return -1;
	fd = create(work, directory, file, err);
	if (fd < 0 || finish(work, fd, file, err) < 0) {
		file_close(&source);
		return -1;
	}
	snprintf(target, sizeof(target), "%s%s",
	    buffer_str(&work->walk.path).data, file->name);
	sandbox_bind(work->stage->sandbox, source, target);
	return 0;
}

/* Makes or, where the sandbox has made it already, enters a directory. */
static int
enter(const struct work *work, int parent, const char *name, struct error *err)
{
	int fd;

	if (mkdirat(parent, name, 0755) == -1 && errno != EEXIST)
		return write_error(work, name, err);
	fd = openat(
	    parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return write_error(work, name, err);
	return fd;
}

/* --- the visitor ----------------------------------------------------------
 */

static int
visit_enter(struct tree_walk *walk, void *parent, const char *name,
    const Reapi__Directory *message, void **place, struct error *err)
{
	const struct place *above = parent;
	struct work *work = walk->cookie;
	struct place *made;
	int fd;

	(void)message;
	fd = above == NULL ? fcntl(work->stage->input_root, F_DUPFD_CLOEXEC, 3)
			   : enter(work, above->fd, name, err);
	if (fd == -1)
		return above == NULL
			   ? error_set_errno(err, errno, "open the input root")
			   : -1;
	made = xmalloc(sizeof(*made));
	made->fd = fd;
	*place = made;
	return 0;
}

static int
visit_file(struct tree_walk *walk, void *place, const struct tree_file *file,
    struct error *err)
{
	const struct place *here = place;

	return file->digest.size <= STAGE_COPY_MAX
		   ? write_small(walk->cookie, here->fd, file, err)
		   : place_large(walk->cookie, here->fd, file, err);
}

static int
visit_link(struct tree_walk *walk, void *place, const struct tree_link *link,
    struct error *err)
{
	const struct timespec times[2] = {link->time, link->time};
	const struct work *work = walk->cookie;
	const struct place *here = place;

	if (symlinkat(link->target, here->fd, link->name) == -1 ||
	    utimensat(here->fd, link->name, times, AT_SYMLINK_NOFOLLOW) == -1 ||
	    (work->chown && fchownat(here->fd, link->name, SANDBOX_UID,
				SANDBOX_GID, AT_SYMLINK_NOFOLLOW) == -1))
		return write_error(work, link->name, err);
	return 0;
}

/* After its entries are made, since they change the time. */
static int
visit_complete(struct tree_walk *walk, void *parent, void *place,
    const Reapi__Directory *message, struct error *err)
{
	struct timespec time = stage_file_time(message->node_properties);
	const struct place *here = place;

	(void)parent;
	if (give(walk->cookie, here->fd, err) < 0)
		return -1;
	return stage_file_finish(here->fd,
	    stage_directory_mode(message->node_properties), &time, err);
}

static void
visit_leave(void *place)
{
	struct place *here = place;

	file_close(&here->fd);
	free(here);
}

int
stage_input_root(
    const struct stage *stage, const struct digest *root, struct error *err)
{
	static const struct tree_visitor visitor = {.enter = visit_enter,
	    .file = visit_file,
	    .link = visit_link,
	    .complete = visit_complete,
	    .leave = visit_leave};
	struct work work = {.stage = stage,
	    .walk = {.visitor = &visitor,
		.store = stage->store,
		.what = "input root",
		.cancel_fd = -1,
		.ahead_max = STAGE_COPY_MAX,
		.missing = stage->missing},
	    .chown = sandbox_needs_chown(stage->sandbox)};
	int rc;

	work.walk.cookie = &work;
	buffer_init(&work.content, STAGE_COPY_MAX);
	rc = tree_walk_run(&work.walk, root, err);
	buffer_clear(&work.content);
	return rc;
}

int
stage_make_parents(
    const struct stage *stage, struct str path, bool whole, struct error *err)
{
	const struct work work = {
	    .stage = stage, .chown = sandbox_needs_chown(stage->sandbox)};
	int fd =
	    openat(stage->input_root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd == -1)
		return error_set_errno(err, errno, "open the input root");
	while (path.len > 0) {
		struct str name = str_cut(&path, '/');
		char text[DIRECTORY_NAME_MAX + 1];
		struct stat status;
		int next;

		if (path.len == 0 && !whole)
			break;
		memcpy(text, name.data, name.len);
		text[name.len] = '\0';
		if (fstatat(fd, text, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
		    !S_ISDIR(status.st_mode))
			break;
		next = enter(&work, fd, text, err);
		file_close(&fd);
		fd = next;
		if (fd < 0 || give(&work, fd, err) < 0) {
			file_close(&fd);
			return -1;
		}
	}
	file_close(&fd);
	return 0;
}
