/* SPDX-License-Identifier: Apache-2.0 */
/* The directories of large blobs, blobs/<function>/<first byte>. Any thread. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/file.h"
#include "cas/store_internal.h"

/* A function, a shard, and the longest name of a file system. */
#define PATH_ROOM 320

struct walk {
	struct store *store;
	blob_file_visit_fn *visit;
	void *cookie;
};

static int
walk_shard(const struct walk *walk, enum digest_function function,
    const char *shard, struct error *err)
{
	int fd = openat(
	    walk->store->blobs, shard, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *entry;
	int rc = 0;

	if (directory == NULL) {
		if (fd == -1 && errno == ENOENT)
			return 0;
		error_set_errno(err, errno, "open blobs/%s", shard);
		file_close(&fd);
		return -1;
	}
	while (rc == 0 && (entry = readdir(directory)) != NULL) {
		char path[PATH_ROOM];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", shard, entry->d_name);
		rc = walk->visit(
		    walk->cookie, function, path, entry->d_name, err);
	}
	closedir(directory);
	return rc;
}

int
blob_file_each(struct store *store, unsigned begin, unsigned end,
    blob_file_visit_fn *visit, void *cookie, struct error *err)
{
	static const enum digest_function functions[] = {
	    DIGEST_SHA256, DIGEST_SHA1, DIGEST_SHA384, DIGEST_SHA512};
	const struct walk walk = {store, visit, cookie};

	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		for (unsigned byte = begin; byte < end; byte++) {
			char shard[32];

			snprintf(shard, sizeof(shard), "%s/%02x",
			    digest_function_name(functions[i]), byte);
			if (walk_shard(&walk, functions[i], shard, err) < 0)
				return -1;
		}
	}
	return 0;
}
