/* SPDX-License-Identifier: Apache-2.0 */
/* Declared outputs, one after the other, into an ActionResult. No state. */
#include "worker/outputs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/directory.h"
#include "worker/run_command.h"
#include "worker/output_file.h"

int
outputs_open(int input_root, const char *path, struct error *err)
{
	int fd = file_open_beneath(
	    input_root, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);

	if (fd == -1)
		return error_set_errno(err, errno, "open output %.200s", path);
	return fd;
}

static int
wrong_kind(const struct run_command_output *output, const char *what,
    struct error *err)
{
	char printable[DIRECTORY_PRINTABLE_MAX];

	return error_set(err, ERROR_FAILED_PRECONDITION, "output \"%s\" %s",
	    directory_printable(output->path, printable), what);
}

int
outputs_open_parent(int input_root, const char *path, struct error *err)
{
	const char *slash = strrchr(path, '/');
	char *parent =
	    xstrndup(path, slash != NULL ? (size_t)(slash - path) : 0);
	int fd = file_open_beneath(input_root, parent, O_PATH | O_DIRECTORY);

	if (fd == -1)
		error_set_errno(
		    err, errno, "open the directory of output %.200s", path);
	free(parent);
	return fd;
}

/* The open file as a message. */
static Reapi__OutputFile *
make_file(struct outputs *outputs, const struct run_command_output *output,
    const struct output_source *source, struct error *err)
{
	Reapi__OutputFile *file = arena_alloc(outputs->arena, sizeof(*file));
	struct digest digest;

	if (file == NULL) {
		output_no_memory(err);
		return NULL;
	}
	reapi__output_file__init(file);
	if (output_file_add(outputs, source, &digest, err) < 0)
		return NULL;
	file->path = output_bytes(output->path);
	file->is_executable = (source->status->st_mode & S_IXUSR) != 0;
	file->digest = output_digest(outputs, &digest, err);
	if (file->digest == NULL || output_properties(outputs, source->status,
					&file->node_properties, err) < 0)
		return NULL;
	return file;
}

int
outputs_read_file(struct outputs *outputs,
    const struct run_command_output *output, uint64_t max_size,
    Reapi__OutputFile **file, struct error *err)
{
	struct stat status;
	struct output_source source = {
	    .path = output->place, .status = &status};
	int rc = -1;

	source.fd = outputs_open(outputs->input_root, output->place, err);
	if (source.fd < 0)
		return -1;
	if (fstat(source.fd, &status) == -1) {
		error_set_errno(err, errno, "look at an output");
	} else if (!S_ISREG(status.st_mode) ||
		   (uint64_t)status.st_size > max_size) {
		rc = 0;
	} else {
		*file = make_file(outputs, output, &source, err);
		rc = *file != NULL ? 1 : -1;
	}
	file_close(&source.fd);
	return rc;
}

static int
collect_file(struct outputs *outputs, const struct run_command_output *output,
    Reapi__ActionResult *result, struct error *err)
{
	Reapi__OutputFile *file;
	int rc = outputs_read_file(outputs, output, UINT64_MAX, &file, err);

	if (rc > 0)
		result->output_files[result->n_output_files++] = file;
	return rc < 0 ? -1 : 0;
}

static int
collect_directory(struct outputs *outputs,
    const struct run_command_output *output, Reapi__ActionResult *result,
    struct error *err)
{
	Reapi__OutputDirectory *directory =
	    arena_alloc(outputs->arena, sizeof(*directory));
	int fd;

	if (directory == NULL)
		return output_no_memory(err);
	reapi__output_directory__init(directory);
	fd = file_open_beneath(outputs->input_root, output->place,
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	if (fd == -1)
		return error_set_errno(
		    err, errno, "open output %.200s", output->place);
	directory->path = output_bytes(output->path);
	if (output_directory_add(outputs, fd, output->place, directory, err) <
	    0)
		return -1;
	result->output_directories[result->n_output_directories++] = directory;
	return 0;
}

/* What the link leads to, where it stays below the input root; 0 else. */
static mode_t
target_type(const struct outputs *outputs, const char *place)
{
	struct stat status;
	int fd = file_open_beneath(outputs->input_root, place, O_PATH);
	mode_t type = 0;

	if (fd != -1 && fstat(fd, &status) == 0)
		type = status.st_mode & S_IFMT;
	file_close(&fd);
	return type;
}

/* Which of the three lists name the link: output_symlinks for output_paths,
 * and the older ones by what it leads to; one that dangles counts as a file.
 */
static int
list_symlink(struct outputs *outputs, const struct run_command_output *output,
    Reapi__OutputSymlink *link, Reapi__ActionResult *result, struct error *err)
{
	mode_t type = target_type(outputs, output->place);

	if (output->kind == RUN_COMMAND_OUTPUT_FILE && type == S_IFDIR)
		return wrong_kind(output,
		    "is declared as a file but is a link to a directory", err);
	if (output->kind == RUN_COMMAND_OUTPUT_DIRECTORY && type != S_IFDIR &&
	    type != 0)
		return wrong_kind(output,
		    "is declared as a directory but is a link to a file", err);
	if (output->kind == RUN_COMMAND_OUTPUT_ANY)
		result->output_symlinks[result->n_output_symlinks++] = link;
	if (output->kind == RUN_COMMAND_OUTPUT_DIRECTORY)
		result->output_directory_symlinks
		    [result->n_output_directory_symlinks++] = link;
	else if (type != S_IFDIR)
		result->output_file_symlinks[result->n_output_file_symlinks++] =
		    link;
	return 0;
}

static int
collect_symlink(struct outputs *outputs,
    const struct run_command_output *output, int fd,
    Reapi__ActionResult *result, struct error *err)
{
	Reapi__OutputSymlink *link = arena_alloc(outputs->arena, sizeof(*link));
	char target[DIRECTORY_TARGET_MAX + 1];
	struct stat status;
	ssize_t len = readlinkat(fd, "", target, sizeof(target));
	char *copy;

	if (len == -1 || fstat(fd, &status) == -1)
		return error_set_errno(
		    err, errno, "read output %.200s", output->place);
	if (directory_check_target((struct str){target, (size_t)len}, err) <
	    0) {
		error_prefix(err, "output %.200s", output->place);
		return -1;
	}
	copy = arena_copy(outputs->arena, (struct str){target, (size_t)len});
	if (link == NULL || copy == NULL)
		return output_no_memory(err);
	reapi__output_symlink__init(link);
	link->path = output_bytes(output->path);
	link->target = output_bytes((struct str){copy, (size_t)len});
	if (output_properties(outputs, &status, &link->node_properties, err) <
	    0)
		return -1;
	return list_symlink(outputs, output, link, result, err);
}

static int
collect_by_type(struct outputs *outputs,
    const struct run_command_output *output, int fd,
    Reapi__ActionResult *result, struct error *err)
{
	struct stat status;

	if (fstat(fd, &status) == -1)
		return error_set_errno(
		    err, errno, "look at output %.200s", output->place);
	switch (status.st_mode & S_IFMT) {
	case S_IFLNK:
		return collect_symlink(outputs, output, fd, result, err);
	case S_IFREG:
		if (output->kind == RUN_COMMAND_OUTPUT_DIRECTORY)
			return wrong_kind(output,
			    "is declared as a directory but is a file", err);
		return collect_file(outputs, output, result, err);
	case S_IFDIR:
		if (output->kind == RUN_COMMAND_OUTPUT_FILE)
			return wrong_kind(output,
			    "is declared as a file but is a directory", err);
		return collect_directory(outputs, output, result, err);
	default:
		return wrong_kind(
		    output, "is no file, directory or symbolic link", err);
	}
}

static int
collect_one(struct outputs *outputs, const struct run_command_output *output,
    Reapi__ActionResult *result, struct error *err)
{
	int fd = file_open_beneath(
	    outputs->input_root, output->place, O_PATH | O_NOFOLLOW);
	int rc;

	if (fd == -1 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd == -1 && (errno == EXDEV || errno == ELOOP))
		return wrong_kind(
		    output, "lies behind a link out of the input root", err);
	if (fd == -1)
		return error_set_errno(
		    err, errno, "find output %.200s", output->place);
	rc = collect_by_type(outputs, output, fd, result, err);
	file_close(&fd);
	return rc;
}

/* Room in each list for all outputs. */
static int
make_lists(struct outputs *outputs, Reapi__ActionResult *result)
{
	size_t count = outputs->command->output_count + 1;
	struct arena *arena = outputs->arena;

	result->output_files = arena_zalloc(arena, count, sizeof(void *));
	result->output_directories = arena_zalloc(arena, count, sizeof(void *));
	result->output_symlinks = arena_zalloc(arena, count, sizeof(void *));
	result->output_file_symlinks =
	    arena_zalloc(arena, count, sizeof(void *));
	result->output_directory_symlinks =
	    arena_zalloc(arena, count, sizeof(void *));
	return result->output_files == NULL ||
		       result->output_directories == NULL ||
		       result->output_symlinks == NULL ||
		       result->output_file_symlinks == NULL ||
		       result->output_directory_symlinks == NULL
		   ? -1
		   : 0;
}

int
outputs_collect(
    struct outputs *outputs, Reapi__ActionResult *result, struct error *err)
{
	const struct run_command *command = outputs->command;

	if (make_lists(outputs, result) < 0)
		return output_no_memory(err);
	for (size_t i = 0; i < command->output_count; i++)
		if (collect_one(outputs, &command->outputs[i], result, err) < 0)
			return -1;
	return 0;
}
