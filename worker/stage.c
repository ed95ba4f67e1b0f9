/* SPDX-License-Identifier: Apache-2.0 */
/* A walk over Directory messages that writes what they describe. Depth and
 * size are bounded: by STAGE_DEPTH_MAX and by the sandbox's file system. */
#include "worker/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "cas/closure.h"
#include "cas/digest_list.h"
#include "cas/digest_message.h"
#include "cas/directory.h"
#include "cas/store.h"
#include "worker/file_cache.h"
#include "worker/sandbox.h"
#include "worker/spawner.h"
#include "worker/stage_file.h"

/* Above STAGE_COPY_MAX, a body that the store has no file of is still copied
 * up to here rather than kept in the file cache. */
#define COPY_RATHER_MAX ((uint64_t)256 << 10)

struct walk {
	const struct stage *stage;
	enum digest_function function;
	bool chown;
	struct buffer content; /* of the file at hand */
	struct buffer path;    /* of the directory at hand, with "/" */
	unsigned depth;
};

/* A file to be written, decoded from its node. */
struct file {
	struct digest digest;
	char name[DIRECTORY_NAME_MAX + 1];
	bool executable;
	bool plain; /* no property of its own */
	mode_t mode;
	struct timespec time;
};

static void
copy_name(char name[static DIRECTORY_NAME_MAX + 1], ProtobufCBinaryData data)
{
	/* directory_decode has checked the length. */
	memcpy(name, data.data, data.len);
	name[data.len] = '\0';
}

static int
decode_file(const struct walk *walk, const Reapi__FileNode *node,
    struct file *file, struct error *err)
{
	const Reapi__NodeProperties *properties = node->node_properties;

	copy_name(file->name, node->name);
	file->executable = node->is_executable != 0;
	file->mode = stage_file_mode(properties, file->executable);
	file->plain = (properties == NULL || properties->mtime == NULL) &&
		      file->mode == stage_file_mode(NULL, file->executable);
	file->time = stage_file_time(properties);
	return digest_from_message(
	    walk->function, node->digest, &file->digest, err);
}

/* Turns "no space" into what the operator can do about it. */
static int
write_error(const struct walk *walk, const char *name, struct error *err)
{
	int number = errno;

	if (number == ENOSPC)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the input root does not fit into the sandbox at %.100s%s: "
		    "raise the worker's scratch size or number of files",
		    buffer_str(&walk->path).data, name);
	if (number == EEXIST)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the input %.100s%s stands where the sandbox needs a "
		    "directory of its own",
		    buffer_str(&walk->path).data, name);
	return error_set_errno(
	    err, number, "stage %.100s%s", buffer_str(&walk->path).data, name);
}

static int
report_missing(
    const struct walk *walk, const struct digest *digest, struct error *err)
{
	char text[DIGEST_TEXT_MAX];

	/* A list that is full holds enough to fail with. */
	if (walk->stage->missing != NULL)
		(void)!digest_list_add(walk->stage->missing, digest);
	return error_set(err, ERROR_FAILED_PRECONDITION,
	    "input blob %s is missing from the store",
	    digest_format(digest, text));
}

static int
give(const struct walk *walk, int fd, struct error *err)
{
	if (walk->chown && fchown(fd, SANDBOX_UID, SANDBOX_GID) == -1)
		return error_set_errno(err, errno, "give a file away");
	return 0;
}

static int
create(const struct walk *walk, int directory, const struct file *file,
    struct error *err)
{
	int fd = openat(directory, file->name,
	    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, file->mode);

	if (fd == -1)
		return write_error(walk, file->name, err);
	return fd;
}

/* Owner, mode, time; closes. The mode is set already, but for bits that the
 * spawner's umask takes away. */
static int
finish(
    const struct walk *walk, int fd, const struct file *file, struct error *err)
{
	int rc = give(walk, fd, err);

	if (rc == 0 && (file->mode & SPAWNER_UMASK) != 0)
		rc = stage_file_finish(fd, file->mode, &file->time, err);
	else if (rc == 0)
		rc = stage_file_date(fd, &file->time, err);
	file_close(&fd);
	return rc;
}

static int
write_small(struct walk *walk, int directory, const struct file *file,
    struct error *err)
{
	struct str content;
	int found;
	int fd;

	buffer_reset(&walk->content);
	found =
	    store_read(walk->stage->store, &file->digest, &walk->content, err);
	if (found < 0)
		return -1;
	if (found == 0)
		return report_missing(walk, &file->digest, err);
	fd = create(walk, directory, file, err);
	if (fd < 0)
		return -1;
	content = buffer_str(&walk->content);
	if (content.len > 0 &&
	    write(fd, content.data, content.len) != (ssize_t)content.len) {
		/* Memory files write short only when they are full. */
		errno = ENOSPC;
		write_error(walk, file->name, err);
		file_close(&fd);
		return -1;
	}
	return finish(walk, fd, file, err);
}

/* Takes the blob. */
static int
copy_large(struct walk *walk, int directory, const struct file *file,
    struct blob *blob, struct error *err)
{
	int fd = create(walk, directory, file, err);

	if (fd < 0) {
		blob_free(blob);
		return -1;
	}
	if (stage_file_copy(fd, blob, err) < 0) {
		file_close(&fd);
		if (err->code == ERROR_RESOURCE_EXHAUSTED) {
			errno = ENOSPC;
			write_error(walk, file->name, err);
		}
		return -1;
	}
	return finish(walk, fd, file, err);
}

/* Whether the store's file can be shown as it is: the mode is right, and so is
 * the date, which is set where it is not. (The store does not use it; a file
 * that is not ours to date goes through the file cache.) */
static bool
fits_as_it_is(int descriptor, const struct file *file)
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
open_to_bind(struct walk *walk, const struct file *file, struct blob *blob,
    int *fd, struct error *err)
{
	int descriptor = blob_descriptor(blob);

	if (!fits_as_it_is(descriptor, file))
		return file_cache_get(
		    walk->stage->files, blob, file->executable, fd, err);
	*fd = fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
	blob_free(blob);
	if (*fd == -1)
		return error_set_errno(err, errno, "open an input");
	return 0;
}

static int
place_large(struct walk *walk, int directory, const struct file *file,
    struct error *err)
{
	struct blob *blob = NULL;
	int found =
	    store_open_blob(walk->stage->store, &file->digest, &blob, err);
	bool stored;
	char target[PATH_MAX];
	int source;
	int fd;

	if (found < 0)
		return -1;
	if (found == 0)
		return report_missing(walk, &file->digest, err);
	stored = fits_as_it_is(blob_descriptor(blob), file);
	if (!file->plain || !sandbox_can_bind(walk->stage->sandbox) ||
	    (!stored && file->digest.size <= COPY_RATHER_MAX))
		return copy_large(walk, directory, file, blob, err);
	if (open_to_bind(walk, file, blob, &source, err) < 0)
		return -1;
	fd = create(walk, directory, file, err);
	if (fd < 0 || finish(walk, fd, file, err) < 0) {
		file_close(&source);
		return -1;
	}
	snprintf(target, sizeof(target), "%s%s", buffer_str(&walk->path).data,
	    file->name);
	sandbox_bind(walk->stage->sandbox, source, target);
	return 0;
}

static int
stage_files(struct walk *walk, int directory, const Reapi__Directory *message,
    struct error *err)
{
	struct file file;
	int rc = 0;

	for (size_t i = 0; i < message->n_files && rc == 0; i++) {
		if (decode_file(walk, message->files[i], &file, err) < 0)
			return -1;
		if (file.digest.size <= STAGE_COPY_MAX)
			rc = write_small(walk, directory, &file, err);
		else
			rc = place_large(walk, directory, &file, err);
	}
	return rc;
}

static int
stage_symlinks(struct walk *walk, int directory,
    const Reapi__Directory *message, struct error *err)
{
	char name[DIRECTORY_NAME_MAX + 1];
	char target[DIRECTORY_TARGET_MAX + 1];
	struct timespec times[2];

	for (size_t i = 0; i < message->n_symlinks; i++) {
		const Reapi__SymlinkNode *node = message->symlinks[i];

		copy_name(name, node->name);
		memcpy(target, node->target.data, node->target.len);
		target[node->target.len] = '\0';
		if (symlinkat(target, directory, name) == -1)
			return write_error(walk, name, err);
		times[0] = times[1] = stage_file_time(node->node_properties);
		if (utimensat(directory, name, times, AT_SYMLINK_NOFOLLOW) ==
			-1 ||
		    (walk->chown &&
			fchownat(directory, name, SANDBOX_UID, SANDBOX_GID,
			    AT_SYMLINK_NOFOLLOW) == -1))
			return write_error(walk, name, err);
	}
	return 0;
}

static int stage_directory(struct walk *walk, int directory,
    const struct digest *digest, struct error *err);

/* Makes or, where the sandbox has made it already, enters a directory. */
static int
enter(const struct walk *walk, int parent, const char *name, struct error *err)
{
	int fd;

	if (mkdirat(parent, name, 0755) == -1 && errno != EEXIST)
		return write_error(walk, name, err);
	fd = openat(
	    parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return write_error(walk, name, err);
	return fd;
}

static int
stage_child(struct walk *walk, int parent, const Reapi__DirectoryNode *node,
    struct error *err)
{
	size_t path_len = walk->path.len;
	char name[DIRECTORY_NAME_MAX + 1];
	struct digest digest;
	int rc = -1;
	int fd;

	copy_name(name, node->name);
	if (digest_from_message(walk->function, node->digest, &digest, err) < 0)
		return -1;
	fd = enter(walk, parent, name, err);
	if (fd < 0)
		return -1;
	if (buffer_printf(&walk->path, "%s/", name) < 0)
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "the input root has a path of more than %d bytes: "
		    "%.200s...",
		    PATH_MAX, walk->path.data);
	else
		rc = stage_directory(walk, fd, &digest, err);
	walk->path.len = path_len;
	walk->path.data[path_len] = '\0';
	file_close(&fd);
	return rc;
}

/* After its entries are made, since they change the time. */
static int
finish_directory(const struct walk *walk, int directory,
    const Reapi__Directory *message, struct error *err)
{
	const Reapi__NodeProperties *properties = message->node_properties;
	struct timespec time = stage_file_time(properties);
	mode_t mode = 0755;

	/* Whatever the mode, outputs must be possible. */
	if (properties != NULL && properties->unix_mode != NULL)
		mode = (properties->unix_mode->value & 0777) | 0700;
	if (give(walk, directory, err) < 0)
		return -1;
	return stage_file_finish(directory, mode, &time, err);
}

static int
stage_message(struct walk *walk, int directory, const Reapi__Directory *message,
    struct error *err)
{
	if (stage_files(walk, directory, message, err) < 0 ||
	    stage_symlinks(walk, directory, message, err) < 0)
		return -1;
	for (size_t i = 0; i < message->n_directories; i++)
		if (stage_child(walk, directory, message->directories[i], err) <
		    0)
			return -1;
	return finish_directory(walk, directory, message, err);
}

static int
stage_directory(struct walk *walk, int directory, const struct digest *digest,
    struct error *err)
{
	Reapi__Directory *message;
	struct buffer encoded;
	struct arena arena;
	int found;
	int rc = -1;

	if (++walk->depth > CLOSURE_DEPTH_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the input root is more than %u directories deep",
		    CLOSURE_DEPTH_MAX);
	buffer_init(&encoded, CLOSURE_MESSAGE_MAX);
	arena_init(&arena, 0);
	found = store_read(walk->stage->store, digest, &encoded, err);
	if (found < 0)
		goto out;
	if (found == 0) {
		report_missing(walk, digest, err);
		goto out;
	}
	arena.cap = directory_memory(encoded.len);
	message =
	    directory_decode(&arena, buffer_str(&encoded), walk->function, err);
	if (message == NULL)
		goto out;
	/* The encoded form is not needed while we descend. */
	buffer_clear(&encoded);
	rc = stage_message(walk, directory, message, err);
out:
	arena_clear(&arena);
	buffer_clear(&encoded);
	walk->depth--;
	return rc;
}

int
stage_input_root(
    const struct stage *stage, const struct digest *root, struct error *err)
{
	struct walk walk = {.stage = stage,
	    .function = root->function,
	    .chown = sandbox_needs_chown(stage->sandbox)};
	int rc = -1;

	buffer_init(&walk.content, STAGE_COPY_MAX);
	buffer_init(&walk.path, PATH_MAX - DIRECTORY_NAME_MAX - 1);
	if (buffer_append(&walk.path, "", 0) == 0)
		rc = stage_directory(&walk, stage->input_root, root, err);
	buffer_clear(&walk.content);
	buffer_clear(&walk.path);
	return rc;
}

int
stage_make_parents(
    const struct stage *stage, struct str path, bool whole, struct error *err)
{
	struct walk walk = {
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
		next = enter(&walk, fd, text, err);
		file_close(&fd);
		fd = next;
		if (fd < 0 || give(&walk, fd, err) < 0) {
			file_close(&fd);
			return -1;
		}
	}
	file_close(&fd);
	return 0;
}
