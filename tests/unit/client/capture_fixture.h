/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory of this test's own, a tree to capture into, and archives made in
 * it. One a process. For tests only.
 */
#ifndef TOOLROOT_TESTS_CAPTURE_FIXTURE_H
#define TOOLROOT_TESTS_CAPTURE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/merkle_builder.h"
#include "client/capture_archive.h"
#include "client/capture_hash.h"
#include "client/capture_notes.h"
#include "client/capture_spool.h"
#include "client/capture_tree.h"

static struct capture_fixture {
	char directory[64];
	struct capture_tree *tree;
	struct capture_spool *spool;
	struct capture_notes notes;
	struct error err;
} fixture;

static struct capture_tree *
fixture_tree(uint64_t entries, uint64_t bytes)
{
	const struct capture_limits limits = {entries, bytes};

	return capture_tree_new(DIGEST_SHA256, &limits);
}

static int
fixture_setup(void **state)
{
	(void)state;
	strcpy(fixture.directory, "/tmp/toolroot-capture-XXXXXX");
	assert_non_null(mkdtemp(fixture.directory));
	fixture.tree = fixture_tree(1000, 1 << 20);
	fixture.spool = capture_spool_new(DIGEST_SHA256, &fixture.err);
	assert_non_null(fixture.spool);
	return 0;
}

static int
fixture_teardown(void **state)
{
	struct error err;

	(void)state;
	capture_tree_free(fixture.tree);
	capture_spool_free(fixture.spool);
	capture_notes_clear(&fixture.notes);
	return file_remove_tree(fixture.directory, &err);
}

/* A path in the directory; the caller frees it. */
static inline char *
fixture_path(const char *name)
{
	return xasprintf("%s/%s", fixture.directory, name);
}

static inline void
fixture_mkdir(const char *name)
{
	char *path = fixture_path(name);

	assert_int_equal(mkdir(path, 0755), 0);
	free(path);
}

static inline void
fixture_write_bytes(const char *name, const void *data, size_t len, mode_t mode)
{
	char *path = fixture_path(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(file_write(fd, data, len, &fixture.err), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	file_close(&fd);
	free(path);
}

static inline void
fixture_write(const char *name, const char *text, mode_t mode)
{
	fixture_write_bytes(name, text, strlen(text), mode);
}

static inline void
fixture_link(const char *target, const char *name)
{
	char *path = fixture_path(name);

	assert_int_equal(symlink(target, path), 0);
	free(path);
}

/* The digest of the tree's root, hashed first. */
static inline struct digest
fixture_root(struct capture_tree *tree)
{
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct digest root;

	assert_int_equal(capture_hash(tree, NULL, &fixture.err), 0);
	if (capture_tree_build(tree, builder, &fixture.err) < 0)
		fail_msg("%s", fixture.err.text);
	root = *merkle_builder_root(builder);
	merkle_builder_free(builder);
	return root;
}

static inline const struct capture_entry *
fixture_entry(const char *path)
{
	const struct capture_entry *entry =
	    capture_tree_find(fixture.tree, str_from(path));

	if (entry == NULL)
		fail_msg("%s is not in the tree", path);
	return entry;
}

static inline void
fixture_absent(const char *path)
{
	if (capture_tree_find(fixture.tree, str_from(path)) != NULL)
		fail_msg("%s is in the tree", path);
}

/* --- archives ------------------------------------------------------------- */

/* One entry; content NULL: none. link: target of a symbolic or hard link. */
struct fixture_item {
	const char *path;
	mode_t type; /* AE_IF*; 0: hard link */
	const char *content;
	const char *link;
	mode_t mode; /* 0: 0644 */
	time_t mtime;
};

static inline void
fixture_add_item(struct archive *archive, const struct fixture_item *item)
{
	struct archive_entry *entry = archive_entry_new();
	size_t len = item->content != NULL ? strlen(item->content) : 0;

	archive_entry_set_pathname(entry, item->path);
	archive_entry_set_filetype(
	    entry, item->type != 0 ? item->type : AE_IFREG);
	archive_entry_set_perm(entry, item->mode != 0 ? item->mode : 0644);
	archive_entry_set_mtime(entry, item->mtime, 0);
	archive_entry_set_uid(entry, item->mtime);
	archive_entry_set_size(entry, (int64_t)len);
	if (item->type == AE_IFLNK)
		archive_entry_set_symlink(entry, item->link);
	else if (item->link != NULL)
		archive_entry_set_hardlink(entry, item->link);
	assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
	if (len > 0)
		assert_int_equal(
		    archive_write_data(archive, item->content, len), len);
	archive_entry_free(entry);
}

/* An archive of the items, up to one without a path, as its options say. Takes
 * it. */
static inline void
fixture_pack(
    struct archive *archive, const char *name, const struct fixture_item *items)
{
	char *path = fixture_path(name);

	assert_int_equal(
	    archive_write_open_filename(archive, path), ARCHIVE_OK);
	for (; items->path != NULL; items++)
		fixture_add_item(archive, items);
	assert_int_equal(archive_write_close(archive), ARCHIVE_OK);
	archive_write_free(archive);
	free(path);
}

/* A tar, packed with gzip if wanted. */
static inline void
fixture_tar(const char *name, const struct fixture_item *items, bool gzip)
{
	struct archive *archive = archive_write_new();

	if (gzip)
		archive_write_add_filter_gzip(archive);
	archive_write_set_format_pax_restricted(archive);
	fixture_pack(archive, name, items);
}

static inline int
fixture_capture(const char *name, bool layer)
{
	char *path = fixture_path(name);
	const struct capture_archive_options options = {.path = path,
	    .layer = layer,
	    .tree = fixture.tree,
	    .spool = fixture.spool};
	int rc = capture_archive(&options, &fixture.err);

	free(path);
	return rc;
}

#endif
