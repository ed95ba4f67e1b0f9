/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of large blobs: they are written under incoming/ by the uploader's
 * thread, and moved to their place by the indexer's thread alone, so that
 * two uploads of one blob cannot replace each other's file.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/file_writer.h"
#include "cas/store_internal.h"

void
blob_file_path(const struct digest *digest, enum encoding encoding,
    char path[static BLOB_PATH_MAX])
{
	char hash[DIGEST_TEXT_MAX];

	snprintf(path, BLOB_PATH_MAX, "%s/%02x/%.*s%s",
	    digest_function_name(digest->function), digest->hash[0],
	    2 * DIGEST_HASH_MAX, digest_format_hash(digest, hash),
	    encoding == ENCODING_ZSTD ? ".zst" : "");
}

int
blob_file_create(
    struct store *store, char name[static INCOMING_NAME_MAX], struct error *err)
{
	int fd;

	snprintf(name, INCOMING_NAME_MAX, "%" PRIuLEAST64,
	    atomic_fetch_add(&store->incoming_names, 1));
	fd = openat(
	    store->incoming, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	if (fd == -1) {
		error_set_errno(err, errno, "create incoming/%s", name);
		name[0] = '\0';
	}
	return fd;
}

int
blob_file_write(
    struct store *store, struct commit_blob *blob, struct error *err)
{
	int fd = blob_file_create(store, blob->incoming, err);
	int rc = fd == -1 ? -1 : 0;
	struct file_writer writer;

	file_writer_init(&writer, fd, blob->stored_size);
	for (size_t i = 0; rc == 0 && i < blob->part_count; i++) {
		struct iovec part = blob->parts[i];

		rc = file_writer_append(&writer, &part, 1, err);
	}
	if (rc == 0)
		rc = file_writer_sync(&writer, err);
	file_close(&fd);
	return rc < 0 ? store_disk_error(store, err) : 0;
}

/* The directory of a function, or of one first byte of its hashes. */
static int
blob_file_make_directory(
    struct store *store, const char *path, bool *made, struct error *err)
{
	if (mkdirat(store->blobs, path, 0755) == 0) {
		*made = true;
		return 0;
	}
	if (errno == EEXIST)
		return 0;
	return error_set_errno(err, errno, "make directory blobs/%s", path);
}

static int
blob_file_rename(struct store *store, const struct commit_blob *blob)
{
	char path[BLOB_PATH_MAX];

	blob_file_path(&blob->digest, blob->encoding, path);
	return renameat(store->incoming, blob->incoming, store->blobs, path);
}

int
blob_file_place(struct store *store, const struct commit_blob *blob,
    bool *shard_made, struct error *err)
{
	const char *function = digest_function_name(blob->digest.function);
	char path[BLOB_PATH_MAX];

	if (blob_file_rename(store, blob) == 0)
		return 0;
	if (errno == ENOENT) {
		snprintf(path, sizeof(path), "%s/%02x", function,
		    blob->digest.hash[0]);
		if (blob_file_make_directory(store, function, shard_made, err) <
			0 ||
		    blob_file_make_directory(store, path, shard_made, err) < 0)
			return -1;
		if (blob_file_rename(store, blob) == 0)
			return 0;
	}
	return error_set_errno(
	    err, errno, "move incoming/%s to its place", blob->incoming);
}

static int
blob_file_sync_one(struct store *store, const char *path, struct error *err)
{
	int fd = openat(store->blobs, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (fd == -1)
		return error_set_errno(err, errno, "open blobs/%s", path);
	rc = file_sync_directory(fd, err);
	file_close(&fd);
	return rc;
}

int
blob_file_sync_directories(const struct commit_group *group, struct error *err)
{
	struct store *store = group->store;

	if (!group->directories_any)
		return 0;
	if (group->shard_made && file_sync_directory(store->blobs, err) < 0)
		return -1;
	for (size_t function = 0; function < 8; function++) {
		const char *name =
		    digest_function_name((enum digest_function)function);
		bool synced = !group->shard_made;

		for (size_t byte = 0; byte < 256; byte++) {
			char path[32];

			if (!group->directories[function][byte])
				continue;
			snprintf(path, sizeof(path), "%s/%02zx", name, byte);
			if (!synced && blob_file_sync_one(store, name, err) < 0)
				return -1;
			synced = true;
			if (blob_file_sync_one(store, path, err) < 0)
				return -1;
		}
	}
	return 0;
}

void
blob_file_remove(
    struct store *store, const struct digest *digest, enum encoding encoding)
{
	char path[BLOB_PATH_MAX];

	blob_file_path(digest, encoding, path);
	/* What cannot be removed is in nobody's way: the index does not name
	 * it, and a new upload replaces it. */
	(void)unlinkat(store->blobs, path, 0);
}

int
blob_file_clear_incoming(struct store *store, struct error *err)
{
	int fd =
	    openat(store->incoming, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int rc = 0;

	if (directory == NULL) {
		error_set_errno(err, errno, "open %s/incoming", store->path);
		file_close(&fd);
		return -1;
	}
	while ((entry = readdir(directory)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		if (unlinkat(store->incoming, entry->d_name, 0) == -1) {
			rc =
			    error_set_errno(err, errno, "remove %s/incoming/%s",
				store->path, entry->d_name);
			break;
		}
	}
	closedir(directory);
	return rc;
}
