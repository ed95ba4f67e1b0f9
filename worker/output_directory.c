/* SPDX-License-Identifier: Apache-2.0 */
/* Output directories: a walk over an untrusted tree by descriptors, never by
 * path, into a Merkle builder. */
#include "worker/output_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "cas/closure.h"
#include "cas/directory.h"
#include "cas/merkle_builder.h"
#include "worker/run_command.h"

struct walk {
	struct outputs *outputs;
	struct merkle_builder *builder;
	struct buffer path; /* below the input root */
	size_t top;         /* bytes of path above the output directory */
	unsigned depth;
};

/* The path as the builder wants it: below the output directory. */
static struct str
tree_path(const struct walk *walk)
{
	struct str path = buffer_str(&walk->path);

	path.data += walk->top;
	path.len -= walk->top;
	return path;
}

static int
walk_error(const struct walk *walk, struct error *err)
{
	return error_set_errno(
	    err, errno, "read output %.200s", walk->path.data);
}

static int
add_file(
    struct walk *walk, int fd, const struct stat *status, struct error *err)
{
	const struct run_command *command = walk->outputs->command;
	struct output_source source = {fd, walk->path.data, status};
	struct merkle_file file = {
	    .executable = (status->st_mode & S_IXUSR) != 0,
	    .properties = {.has_mode = command->want_mode,
		.has_mtime = command->want_mtime,
		.mode = status->st_mode & 07777,
		.mtime_seconds = status->st_mtim.tv_sec,
		.mtime_nanos = (int32_t)status->st_mtim.tv_nsec}};

	if (output_file_add(walk->outputs, &source, &file.digest, err) < 0)
		return -1;
	return merkle_builder_add_file(
	    walk->builder, tree_path(walk), &file, err);
}

static int
add_symlink(struct walk *walk, int parent, const char *name, struct error *err)
{
	char target[DIRECTORY_TARGET_MAX + 1];
	ssize_t len = readlinkat(parent, name, target, sizeof(target));

	if (len == -1)
		return walk_error(walk, err);
	return merkle_builder_add_symlink(walk->builder, tree_path(walk),
	    (struct str){target, (size_t)len}, err);
}

static int walk_directory(struct walk *walk, int fd, struct error *err);

static int
add_opened(struct walk *walk, int parent, const char *name, struct error *err)
{
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	struct stat status;
	int fd = openat(parent, name, flags);
	int rc;

	if (fd == -1)
		return walk_error(walk, err);
	if (fstat(fd, &status) == -1) {
		rc = walk_error(walk, err);
	} else if (S_ISDIR(status.st_mode)) {
		/* Takes the descriptor. */
		if (merkle_builder_add_directory(
			walk->builder, tree_path(walk), err) < 0)
			rc = -1;
		else
			return walk_directory(walk, fd, err);
	} else {
		rc = add_file(walk, fd, &status, err);
	}
	file_close(&fd);
	return rc;
}

static int
add_entry(struct walk *walk, int parent, const char *name, struct error *err)
{
	size_t len = walk->path.len;
	struct stat status;
	int rc;

	/* No name escapes the check: it becomes part of a message. */
	if (directory_check_name(str_from(name), err) < 0) {
		error_prefix(
		    err, "output below %.200s", buffer_str(&walk->path).data);
		return -1;
	}
	if (buffer_printf(&walk->path, "%s%s", len > 0 ? "/" : "", name) < 0)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "an output's path is longer than %d bytes: %.200s...",
		    PATH_MAX, buffer_str(&walk->path).data);
	/* The builder's paths start behind the "/" of the directory. */
	if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) == -1)
		rc = walk_error(walk, err);
	else if (S_ISLNK(status.st_mode))
		rc = add_symlink(walk, parent, name, err);
	else if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))
		rc = add_opened(walk, parent, name, err);
	else
		rc = error_set(err, ERROR_FAILED_PRECONDITION,
		    "output %.200s is no file, directory or symbolic link",
		    walk->path.data);
	walk->path.len = len;
	walk->path.data[len] = '\0';
	return rc;
}

/* Takes the descriptor. */
static int
walk_directory(struct walk *walk, int fd, struct error *err)
{
	struct dirent *entry;
	DIR *stream;
	int rc = 0;

	if (++walk->depth > CLOSURE_DEPTH_MAX) {
		file_close(&fd);
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "output %.200s is more than %u directories deep",
		    walk->path.data, CLOSURE_DEPTH_MAX);
	}
	stream = fdopendir(fd);
	if (stream == NULL) {
		walk_error(walk, err);
		file_close(&fd);
		return -1;
	}
	while (rc == 0) {
		errno = 0;
		entry = readdir(stream);
		if (entry == NULL) {
			if (errno != 0)
				rc = walk_error(walk, err);
			break;
		}
		if (strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			rc = add_entry(walk, fd, entry->d_name, err);
	}
	closedir(stream);
	walk->depth--;
	return rc;
}

static int
add_message(struct outputs *outputs, struct str bytes, Reapi__Digest **digest,
    struct error *err)
{
	char *copy = arena_copy(outputs->arena, bytes);

	if (copy == NULL)
		return output_no_memory(err);
	return outputs_add_content(
	    outputs, (struct str){copy, bytes.len}, digest, err);
}

static int
add_tree(struct outputs *outputs, const struct merkle_builder *builder,
    Reapi__OutputDirectory *directory, struct error *err)
{
	struct buffer tree;
	int rc;

	buffer_init(&tree, CLOSURE_MESSAGE_MAX);
	rc = merkle_builder_tree(builder, &tree, err);
	if (rc == 0)
		rc = add_message(
		    outputs, buffer_str(&tree), &directory->tree_digest, err);
	directory->is_topologically_sorted = 1;
	buffer_clear(&tree);
	return rc;
}

static int
add_directories(struct outputs *outputs, const struct merkle_builder *builder,
    Reapi__OutputDirectory *directory, struct error *err)
{
	size_t count;
	const struct merkle_directory *list =
	    merkle_builder_directories(builder, &count);
	Reapi__Digest *ignored;

	for (size_t i = 0; i < count; i++)
		if (add_message(outputs, list[i].bytes, &ignored, err) < 0)
			return -1;
	directory->root_directory_digest =
	    output_digest(outputs, merkle_builder_root(builder), err);
	return directory->root_directory_digest == NULL ? -1 : 0;
}

int
output_directory_add(struct outputs *outputs, int fd, const char *place,
    Reapi__OutputDirectory *directory, struct error *err)
{
	const struct run_command *command = outputs->command;
	struct walk walk = {.outputs = outputs,
	    .builder = merkle_builder_new(outputs->function),
	    .top = strlen(place) + (place[0] != '\0' ? 1 : 0)};
	int rc = -1;

	buffer_init(&walk.path, PATH_MAX);
	if (buffer_append(&walk.path, place, strlen(place)) < 0)
		output_no_memory(err);
	else
		rc = walk_directory(&walk, fd, err);
	if (rc == 0)
		rc = merkle_builder_finish(walk.builder, err);
	if (rc == 0 && command->want_tree)
		rc = add_tree(outputs, walk.builder, directory, err);
	if (rc == 0 && command->want_directories)
		rc = add_directories(outputs, walk.builder, directory, err);
	merkle_builder_free(walk.builder);
	buffer_clear(&walk.path);
	return rc;
}
