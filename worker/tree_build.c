/* SPDX-License-Identifier: Apache-2.0 */
/* A walk over Directory messages, depth first, bounded in depth, entries and
 * bytes. Names come from directory_decode, so none leads out. */
#include "worker/tree_build.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
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
#include "worker/stage_file.h"

/* What a file takes on disk beside its bytes, rounded. */
#define ENTRY_BYTES 4096
/* A smaller file is read into memory at once. */
#define SMALL_MAX ((uint64_t)128 << 10)

struct walk {
	struct tree_build *build;
	enum digest_function function;
	struct buffer content; /* of the small file at hand */
	struct buffer other;   /* of the file to compare with */
	unsigned depth;
};

/* A directory in the making, and the one at the same path of the other tree;
 * like is -1 where that has none. */
struct place {
	int fd;
	int like;
};

/* One file to be made, decoded from its node. */
struct entry {
	char name[DIRECTORY_NAME_MAX + 1];
	struct digest digest;
	mode_t mode;
	struct timespec time;
};

static void
copy_name(char name[static DIRECTORY_NAME_MAX + 1], ProtobufCBinaryData data)
{
	memcpy(name, data.data, data.len);
	name[data.len] = '\0';
}

static int
report_missing(
    const struct walk *walk, const struct digest *digest, struct error *err)
{
	char text[DIGEST_TEXT_MAX];

	/* A full list names enough. */
	if (walk->build->missing != NULL)
		(void)!digest_list_add(walk->build->missing, digest);
	return error_set(err, ERROR_FAILED_PRECONDITION,
	    "blob %s of the tree is missing from the store",
	    digest_format(digest, text));
}

static int
account(const struct walk *walk, uint64_t bytes, struct error *err)
{
	struct tree_build *build = walk->build;

	build->entries++;
	build->bytes += bytes + ENTRY_BYTES;
	if (build->entries > CLOSURE_ENTRIES_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the tree has more than %u entries", CLOSURE_ENTRIES_MAX);
	if (bytes > build->max_bytes || build->bytes > build->max_bytes)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "tree-cache-size of the worker (%llu bytes) is less than "
		    "the tree takes",
		    (unsigned long long)build->max_bytes);
	return 0;
}

static int
create(int directory, const struct entry *entry, struct error *err)
{
	int fd = openat(directory, entry->name,
	    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, entry->mode);

	if (fd == -1)
		return error_set_errno(err, errno, "make %s", entry->name);
	return fd;
}

static int
finish(int fd, const struct entry *entry, struct error *err)
{
	/* Our umask takes 022 away at the creation. */
	int rc = (entry->mode & 022) != 0
		     ? stage_file_finish(fd, entry->mode, &entry->time, err)
		     : stage_file_date(fd, &entry->time, err);

	file_close(&fd);
	return rc;
}

/* Whether the other tree's file is what is wanted, to the byte. */
static bool
is_same(struct walk *walk, int like, const struct entry *entry)
{
	int fd = openat(like, entry->name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct error ignored;
	struct stat status;
	size_t len = walk->content.len;
	bool same;

	if (fd == -1)
		return false;
	buffer_reset(&walk->other);
	same = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
	       (status.st_mode & 07777) == entry->mode &&
	       (uint64_t)status.st_size == len &&
	       status.st_mtim.tv_sec == entry->time.tv_sec &&
	       status.st_mtim.tv_nsec == entry->time.tv_nsec &&
	       buffer_reserve(&walk->other, len) != NULL &&
	       file_pread(fd, walk->other.data, len, 0, &ignored) == 0 &&
	       (len == 0 ||
		   memcmp(walk->other.data, walk->content.data, len) == 0);
	file_close(&fd);
	return same;
}

static int
write_small(struct walk *walk, const struct place *place,
    const struct entry *entry, struct error *err)
{
	int found;
	int fd;

	buffer_reset(&walk->content);
	found =
	    store_read(walk->build->store, &entry->digest, &walk->content, err);
	if (found < 0)
		return -1;
	if (found == 0)
		return report_missing(walk, &entry->digest, err);
	if (place->like != -1 && is_same(walk, place->like, entry) &&
	    linkat(place->like, entry->name, place->fd, entry->name, 0) == 0)
		return 0;
	fd = create(place->fd, entry, err);
	if (fd < 0)
		return -1;
	if (file_write(fd, walk->content.data, walk->content.len, err) < 0) {
		file_close(&fd);
		return -1;
	}
	return finish(fd, entry, err);
}

/* Takes the blob. */
static int
copy_large(int directory, const struct entry *entry, struct blob *blob,
    struct error *err)
{
	int source = blob_descriptor(blob);
	int fd = create(directory, entry, err);
	int rc = 0;

	if (fd < 0) {
		blob_free(blob);
		return -1;
	}
	if (source != -1 && ioctl(fd, FICLONE, source) == 0)
		blob_free(blob);
	else
		rc = stage_file_copy(fd, blob, err);
	if (rc < 0) {
		file_close(&fd);
		return -1;
	}
	return finish(fd, entry, err);
}

/* Links the store's own file under the entry's name, where it is as wanted and
 * the file systems and their rules allow. */
static bool
try_link(int directory, const struct entry *entry, const struct blob *blob)
{
	int source = blob_descriptor(blob);
	char path[64];
	struct stat status;
	struct error ignored;

	if (source == -1 || fstat(source, &status) == -1 ||
	    (status.st_mode & 07777) != entry->mode ||
	    (uint64_t)status.st_size != entry->digest.size ||
	    entry->time.tv_sec != STAGE_TIME || entry->time.tv_nsec != 0)
		return false;
	if (status.st_mtim.tv_sec != STAGE_TIME &&
	    stage_file_date(source, NULL, &ignored) < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", source);
	return linkat(AT_FDCWD, path, directory, entry->name,
		   AT_SYMLINK_FOLLOW) == 0;
}

static int
place_large(struct walk *walk, int directory, const struct entry *entry,
    struct error *err)
{
	struct blob *blob = NULL;
	int found =
	    store_open_blob(walk->build->store, &entry->digest, &blob, err);

	if (found < 0)
		return -1;
	if (found == 0)
		return report_missing(walk, &entry->digest, err);
	if (!try_link(directory, entry, blob))
		return copy_large(directory, entry, blob, err);
	blob_free(blob);
	return 0;
}

static int
make_file(struct walk *walk, const struct place *place,
    const Reapi__FileNode *node, struct error *err)
{
	struct entry entry;

	copy_name(entry.name, node->name);
	entry.mode =
	    stage_file_mode(node->node_properties, node->is_executable != 0);
	entry.time = stage_file_time(node->node_properties);
	if (digest_from_message(
		walk->function, node->digest, &entry.digest, err) < 0 ||
	    account(walk, entry.digest.size, err) < 0)
		return -1;
	return entry.digest.size <= SMALL_MAX
		   ? write_small(walk, place, &entry, err)
		   : place_large(walk, place->fd, &entry, err);
}

static int
make_link(struct walk *walk, int directory, const Reapi__SymlinkNode *node,
    struct error *err)
{
	char name[DIRECTORY_NAME_MAX + 1];
	char target[DIRECTORY_TARGET_MAX + 1];
	struct timespec times[2];

	copy_name(name, node->name);
	memcpy(target, node->target.data, node->target.len);
	target[node->target.len] = '\0';
	times[0] = times[1] = stage_file_time(node->node_properties);
	if (account(walk, 0, err) < 0)
		return -1;
	if (symlinkat(target, directory, name) == -1 ||
	    utimensat(directory, name, times, AT_SYMLINK_NOFOLLOW) == -1)
		return error_set_errno(err, errno, "make the link %s", name);
	return 0;
}

static int fill(struct walk *walk, const struct place *place,
    const struct digest *digest, struct error *err);

static int
make_directory(struct walk *walk, const struct place *parent,
    const Reapi__DirectoryNode *node, struct error *err)
{
	char name[DIRECTORY_NAME_MAX + 1];
	struct place place = {-1, -1};
	struct digest digest;
	int rc;

	copy_name(name, node->name);
	if (digest_from_message(walk->function, node->digest, &digest, err) <
		0 ||
	    account(walk, 0, err) < 0)
		return -1;
	if (mkdirat(parent->fd, name, 0755) == -1)
		return error_set_errno(err, errno, "make %s", name);
	place.fd = openat(
	    parent->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (place.fd == -1)
		return error_set_errno(err, errno, "open %s", name);
	if (parent->like != -1)
		place.like = openat(parent->like, name,
		    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	rc = fill(walk, &place, &digest, err);
	file_close(&place.fd);
	file_close(&place.like);
	if (rc < 0 && err->code != ERROR_FAILED_PRECONDITION)
		error_prefix(err, "%.40s", name);
	return rc;
}

static int
make_entries(struct walk *walk, const struct place *place,
    const Reapi__Directory *message, struct error *err)
{
	struct timespec time = stage_file_time(message->node_properties);

	for (size_t i = 0; i < message->n_files; i++)
		if (make_file(walk, place, message->files[i], err) < 0)
			return -1;
	for (size_t i = 0; i < message->n_symlinks; i++)
		if (make_link(walk, place->fd, message->symlinks[i], err) < 0)
			return -1;
	for (size_t i = 0; i < message->n_directories; i++)
		if (make_directory(walk, place, message->directories[i], err) <
		    0)
			return -1;
	/* After its entries, which change the time. */
	return stage_file_date(place->fd, &time, err);
}

static int
check_cancelled(const struct tree_build *build, struct error *err)
{
	struct pollfd poll_fd = {build->cancel_fd, POLLIN, 0};

	if (build->cancel_fd != -1 && poll(&poll_fd, 1, 0) > 0)
		return error_set(
		    err, ERROR_CANCELLED, "the tree is no longer wanted");
	return 0;
}

static int
fill(struct walk *walk, const struct place *place, const struct digest *digest,
    struct error *err)
{
	Reapi__Directory *message;
	struct buffer encoded;
	struct arena arena;
	int found;
	int rc = -1;

	if (check_cancelled(walk->build, err) < 0)
		return -1;
	if (++walk->depth > CLOSURE_DEPTH_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the tree is more than %u directories deep",
		    CLOSURE_DEPTH_MAX);
	buffer_init(&encoded, CLOSURE_MESSAGE_MAX);
	arena_init(&arena, 0);
	found = store_read(walk->build->store, digest, &encoded, err);
	if (found == 0)
		report_missing(walk, digest, err);
	if (found <= 0)
		goto out;
	arena.cap = directory_memory(encoded.len);
	message =
	    directory_decode(&arena, buffer_str(&encoded), walk->function, err);
	if (message == NULL)
		goto out;
	/* The encoded form is not needed while we descend. */
	buffer_clear(&encoded);
	rc = make_entries(walk, place, message, err);
out:
	arena_clear(&arena);
	buffer_clear(&encoded);
	walk->depth--;
	return rc;
}

int
tree_build(struct tree_build *build, int directory, const struct digest *root,
    struct error *err)
{
	struct walk walk = {.build = build, .function = root->function};
	struct place place = {directory, build->like};
	int rc;

	build->bytes = 0;
	build->entries = 0;
	buffer_init(&walk.content, SMALL_MAX);
	buffer_init(&walk.other, SMALL_MAX);
	rc = fill(&walk, &place, root, err);
	buffer_clear(&walk.content);
	buffer_clear(&walk.other);
	return rc;
}
