/* SPDX-License-Identifier: Apache-2.0 */
/* Mount points for trees. Trees are ours (worker/tree_build.c), yet links in
 * them are never followed. No state. */
#include "worker/sandbox_graft.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "cas/directory.h"
#include "worker/stage_file.h"

struct work {
	const struct sandbox_grafts *grafts;
	const struct sandbox_graft *graft; /* the one at hand */
	size_t mounts;
};

enum relation {
	APART, /* nothing else is at the path or below */
	TAKEN, /* something else is at the path itself */
	ABOVE, /* something else is below */
};

static enum relation
relate(struct str path, struct str other)
{
	if (str_equal(path, other))
		return TAKEN;
	if (other.len > path.len &&
	    (path.len == 0 ||
		(str_starts_with(other, path) && other.data[path.len] == '/')))
		return ABOVE;
	return APART;
}

/* TAKEN wins: what is inside another thing is that thing's business. */
static enum relation
relation_of(const struct work *work, struct str path)
{
	const struct sandbox_grafts *grafts = work->grafts;
	enum relation found = APART;
	enum relation relation;

	for (size_t i = 0; i < grafts->place_count; i++) {
		relation = relate(path, grafts->places[i]);
		if (relation == TAKEN)
			return TAKEN;
		found = relation == ABOVE ? ABOVE : found;
	}
	for (size_t i = 0; i < grafts->count; i++) {
		if (&grafts->items[i] == work->graft)
			continue;
		relation = relate(path, grafts->items[i].path);
		if (relation == TAKEN)
			return TAKEN;
		found = relation == ABOVE ? ABOVE : found;
	}
	return found;
}

/* Takes fd. */
static int
bind(struct work *work, int fd, const char *path, struct error *err)
{
	if (++work->mounts > SANDBOX_GRAFT_MOUNTS_MAX) {
		file_close(&fd);
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "more than %d entries of toolchain trees lie beside what "
		    "is to be inside them: choose another place for it",
		    SANDBOX_GRAFT_MOUNTS_MAX);
	}
	work->grafts->bind(work->grafts->cookie, fd, path);
	return 0;
}

static int
copy_link(int from, int to, const char *name, struct error *err)
{
	const struct timespec times[2] = {
	    {.tv_sec = STAGE_TIME}, {.tv_sec = STAGE_TIME}};
	char target[PATH_MAX];
	ssize_t len = readlinkat(from, name, target, sizeof(target) - 1);

	if (len == -1)
		return error_set_errno(err, errno, "read the link %s", name);
	target[len] = '\0';
	if (symlinkat(target, to, name) == -1 ||
	    utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) == -1)
		return error_set_errno(err, errno, "make the link %s", name);
	return 0;
}

static int expand(
    struct work *work, int from, int to, const char *path, struct error *err);

/* The entry leads to something else. */
static int
expand_entry(
    struct work *work, int from, int to, const char *path, struct error *err)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash != NULL ? slash + 1 : path;
	int below = -1;
	int made = -1;
	int rc = -1;

	below =
	    openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (below == -1) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "something is to be below /%s, which is no directory in "
		    "the toolchain tree",
		    path);
		goto out;
	}
	if (mkdirat(to, name, 0755) == -1 && errno != EEXIST) {
		error_set_errno(err, errno, "make /%s", path);
		goto out;
	}
	made =
	    openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (made == -1)
		error_set_errno(err, errno, "open /%s", path);
	else
		rc = expand(work, below, made, path, err);
out:
	file_close(&below);
	file_close(&made);
	return rc;
}

/* What a file or directory is mounted on. */
static int
make_point(int to, const char *name, mode_t mode)
{
	int fd;

	if (S_ISDIR(mode))
		return mkdirat(to, name, 0755);
	fd = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	if (fd == -1)
		return -1;
	file_close(&fd);
	return 0;
}

static int
mount_entry(
    struct work *work, int from, int to, const char *path, struct error *err)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash != NULL ? slash + 1 : path;
	struct stat status;
	int fd;

	if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) == -1)
		return error_set_errno(err, errno, "look at /%s", path);
	if (S_ISLNK(status.st_mode))
		return copy_link(from, to, name, err);
	if (make_point(to, name, status.st_mode) == -1)
		return error_set_errno(err, errno, "make /%s", path);
	fd = openat(from, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return error_set_errno(err, errno, "open /%s", path);
	return bind(work, fd, path, err);
}

static int
place_entry(
    struct work *work, int from, int to, const char *path, struct error *err)
{
	switch (relation_of(work, str_from(path))) {
	case TAKEN:
		return 0;
	case ABOVE:
		return expand_entry(work, from, to, path, err);
	case APART:
		break;
	}
	return mount_entry(work, from, to, path, err);
}

/* All entries of the tree's directory from, in the root's directory to. */
static int
expand(struct work *work, int from, int to, const char *path, struct error *err)
{
	int again = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = again != -1 ? fdopendir(again) : NULL;
	const struct dirent *entry;
	char below[PATH_MAX];
	int rc = 0;

	if (stream == NULL) {
		error_set_errno(err, errno, "read /%s of a tree", path);
		file_close(&again);
		return -1;
	}
	while (rc == 0 && (entry = readdir(stream)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0)
			continue;
		/* Others' paths bound how deep this goes. */
		if (snprintf(below, sizeof(below), "%s%s%s", path,
			path[0] != '\0' ? "/" : "",
			entry->d_name) >= (int)sizeof(below))
			rc = error_set(err, ERROR_INVALID_ARGUMENT,
			    "/%.200s/%.200s is too long", path, entry->d_name);
		else
			rc = place_entry(work, from, to, below, err);
	}
	closedir(stream);
	return rc;
}

/* Makes path below root, or the inputs that will be mounted there, and opens
 * it. */
static int
make_path(const struct sandbox_grafts *grafts, int root, struct str path,
    struct error *err)
{
	bool inside =
	    grafts->inputs != -1 && relate(grafts->input_root, path) == ABOVE;
	char name[DIRECTORY_NAME_MAX + 1];
	struct str rest = path;
	int fd = openat(inside ? grafts->inputs : root, ".",
	    O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int number = errno;

	if (inside) {
		rest.data += grafts->input_root.len + 1;
		rest.len -= grafts->input_root.len + 1;
	}

	while (fd != -1 && rest.len > 0) {
		struct str part = str_cut(&rest, '/');
		int next = -1;

		memcpy(name, part.data, part.len);
		name[part.len] = '\0';
		if (mkdirat(fd, name, 0755) == 0 || errno == EEXIST)
			next = openat(fd, name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		number = errno;
		file_close(&fd);
		fd = next;
	}
	if (fd == -1)
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "a toolchain tree cannot be at /%.*s: %s", STR_ARG(path),
		    strerror(number));
	return fd;
}

static int
graft_one(struct work *work, int root, struct error *err)
{
	const struct sandbox_graft *graft = work->graft;
	char path[PATH_MAX];
	int place;
	int rc = -1;
	int fd;

	if (snprintf(path, sizeof(path), "%.*s", STR_ARG(graft->path)) >=
	    (int)sizeof(path))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "a toolchain tree's path is too long");
	place = make_path(work->grafts, root, graft->path, err);
	if (place < 0)
		return -1;
	switch (relation_of(work, graft->path)) {
	case TAKEN:
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "a toolchain tree and something else are to be at /%s",
		    path);
		break;
	case ABOVE:
		rc = expand(work, graft->directory, place, path, err);
		break;
	case APART:
		fd = openat(
		    graft->directory, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
		rc = fd == -1 ? error_set_errno(err, errno, "open a tree")
			      : bind(work, fd, path, err);
	}
	file_close(&place);
	return rc;
}

int
sandbox_graft_all(
    const struct sandbox_grafts *grafts, int root, struct error *err)
{
	struct work work = {.grafts = grafts};

	for (size_t i = 0; i < grafts->count; i++) {
		work.graft = &grafts->items[i];
		if (graft_one(&work, root, err) < 0)
			return -1;
	}
	return 0;
}
