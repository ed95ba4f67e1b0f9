/* SPDX-License-Identifier: Apache-2.0 */
/* The walk goes by descriptors, so that nobody can redirect it on the way. */
#include "client/capture_directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/directory.h"
#include "client/capture_notes.h"
#include "client/capture_tree.h"

/* Deeper than any tree that a Merkle builder takes; each level holds a
 * descriptor. */
#define DEPTH_MAX 300
#define PATH_BYTES_MAX 8192u

struct walk {
	struct capture_tree *tree;
	const struct capture_directory_options *options;
	struct buffer path; /* below the directory */
	unsigned depth;
};

static char *
tree_path(const struct walk *walk)
{
	struct str into = walk->options->into;

	if (into.len == 0)
		return xstrdup(walk->path.data);
	return xasprintf("%.*s/%s", STR_ARG(into), walk->path.data);
}

static int
add_link(struct walk *walk, int directory, const char *name, struct str path,
    struct error *err)
{
	char target[DIRECTORY_TARGET_MAX + 1];
	ssize_t len = readlinkat(directory, name, target, sizeof(target));

	if (len == -1)
		return error_set_errno(err, errno, "read the symbolic link");
	return capture_tree_add_symlink(
	    walk->tree, path, (struct str){target, (size_t)len}, err);
}

static int
add_file(struct walk *walk, const struct stat *status, struct str path,
    struct error *err)
{
	char *source = xasprintf("%s/%s", walk->options->path, walk->path.data);
	const struct capture_file file = {
	    .executable = (status->st_mode & 0111) != 0,
	    .source = source,
	    .size = (uint64_t)status->st_size,
	};
	int rc = capture_tree_add_file(walk->tree, path, &file, err);

	free(source);
	return rc;
}

static const char *
kind_name(mode_t mode)
{
	if (S_ISSOCK(mode))
		return "a socket";
	if (S_ISFIFO(mode))
		return "a FIFO";
	return "a device";
}

static int walk_directory(struct walk *walk, int fd, struct error *err);

static int
add_directory(struct walk *walk, int parent, const char *name, struct str path,
    struct error *err)
{
	int fd;

	if (capture_tree_add_directory(walk->tree, path, err) < 0)
		return -1;
	fd = openat(
	    parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return error_set_errno(err, errno, "open the directory");
	return walk_directory(walk, fd, err);
}

static int
add_entry(struct walk *walk, int directory, const char *name, struct error *err)
{
	const struct capture_directory_options *options = walk->options;
	struct stat status;
	char *path;
	int rc = 0;

	if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == -1)
		return error_set_errno(err, errno, "stat");
	if (options->wanted != NULL &&
	    !options->wanted(options->cookie, buffer_str(&walk->path),
		S_ISDIR(status.st_mode)))
		return 0;
	path = tree_path(walk);
	if (S_ISDIR(status.st_mode))
		rc = add_directory(walk, directory, name, str_from(path), err);
	else if (S_ISREG(status.st_mode))
		rc = add_file(walk, &status, str_from(path), err);
	else if (S_ISLNK(status.st_mode))
		rc = add_link(walk, directory, name, str_from(path), err);
	else
		capture_notes_add(options->notes, "left out %s: it is %s",
		    walk->path.data, kind_name(status.st_mode));
	free(path);
	return rc;
}

static int
walk_name(struct walk *walk, int directory, const char *name, struct error *err)
{
	size_t before = walk->path.len;
	int rc;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return 0;
	if (buffer_printf(&walk->path, "%s%s", before > 0 ? "/" : "", name) < 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "a path is longer than %u bytes", PATH_BYTES_MAX);
	rc = add_entry(walk, directory, name, err);
	/* Below, the deepest place has been named already. */
	if (rc < 0 && strstr(err->text, walk->path.data) == NULL)
		error_prefix(err, "%s", walk->path.data);
	walk->path.len = before;
	walk->path.data[before] = '\0';
	return rc;
}

/* Takes fd. */
static int
walk_directory(struct walk *walk, int fd, struct error *err)
{
	const struct dirent *entry;
	DIR *stream;
	int rc = 0;

	if (walk->depth == DEPTH_MAX) {
		(void)close(fd);
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "directories are nested more than %d deep", DEPTH_MAX);
	}
	stream = fdopendir(fd);
	if (stream == NULL) {
		(void)close(fd);
		return error_set_errno(err, errno, "open the directory");
	}
	walk->depth++;
	while (rc == 0) {
		errno = 0;
		entry = readdir(stream);
		if (entry == NULL) {
			if (errno != 0)
				rc = error_set_errno(
				    err, errno, "read the directory");
			break;
		}
		rc = walk_name(walk, dirfd(stream), entry->d_name, err);
	}
	walk->depth--;
	(void)closedir(stream);
	return rc;
}

int
capture_directory(struct capture_tree *tree,
    const struct capture_directory_options *options, struct error *err)
{
	struct walk walk = {.tree = tree, .options = options};
	int fd = open(options->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (fd == -1)
		return error_set_errno(
		    err, errno, "open the directory %s", options->path);
	buffer_init(&walk.path, PATH_BYTES_MAX);
	rc = capture_tree_add_directory(tree, options->into, err);
	if (rc == 0)
		rc = walk_directory(&walk, fd, err);
	else
		(void)close(fd);
	buffer_clear(&walk.path);
	if (rc < 0)
		error_prefix(err, "capture %s", options->path);
	return rc;
}
