/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of images: read back by a reader of our own that knows the format
 * alone, and, where they are there, by the kernel and by fsck.erofs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "worker/erofs_format.h"
#include "worker/erofs_image.h"

#define IMAGE_MAX ((size_t)64 << 20)
#define TIME 946684800

struct image {
	uint8_t *bytes;
	uint64_t size;
	struct erofs_image *writer;
	struct error error;
};

static const struct erofs_attributes plain = {0644, {TIME, 0}};
static const struct erofs_attributes folder = {0755, {TIME, 0}};

static int
store_bytes(void *cookie, uint64_t offset, const void *data, size_t len,
    struct error *err)
{
	struct image *image = cookie;

	(void)err;
	assert_true(offset + len <= IMAGE_MAX);
	memcpy(image->bytes + offset, data, len);
	if (offset + len > image->size)
		image->size = offset + len;
	return 0;
}

static void
start_with(struct image *image, uint64_t max_bytes)
{
	const struct erofs_image_options options = {.uid = 20001,
	    .gid = 20002,
	    .time = TIME,
	    .max_bytes = max_bytes,
	    .limit = "the-limit",
	    .write = store_bytes,
	    .cookie = image};

	memset(image, 0, sizeof(*image));
	image->bytes = xcalloc(1, IMAGE_MAX);
	image->writer = erofs_image_new(&options);
}

static void
start(struct image *image)
{
	start_with(image, IMAGE_MAX);
}

static void
finish(struct image *image)
{
	uint64_t size;

	assert_int_equal(
	    erofs_image_finish(image->writer, &size, &image->error), 0);
	assert_int_equal(size, image->size);
	erofs_image_free(image->writer);
}

static void
discard(struct image *image)
{
	free(image->bytes);
}

static struct erofs_directory *
begin(struct image *image, const struct erofs_directory *parent,
    const char *const *names, const enum erofs_kind *kinds)
{
	struct erofs_directory *directory =
	    erofs_directory_new(image->writer, parent);

	for (size_t i = 0; names[i] != NULL; i++)
		erofs_directory_name(directory, str_from(names[i]), kinds[i]);
	assert_int_equal(
	    erofs_directory_begin(directory, &folder, &image->error), 0);
	return directory;
}

static void
end(struct image *image, struct erofs_directory *directory)
{
	assert_int_equal(erofs_directory_end(directory, &image->error), 0);
	erofs_directory_free(directory);
}

/* An image of files alone, with such names and contents. */
static void
write_files(struct image *image, const char *const *names,
    const struct str *contents, size_t count)
{
	struct erofs_directory *root = erofs_directory_new(image->writer, NULL);
	uint64_t node;

	for (size_t i = 0; i < count; i++)
		erofs_directory_name(root, str_from(names[i]), EROFS_FILE);
	assert_int_equal(
	    erofs_directory_begin(root, &folder, &image->error), 0);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(erofs_image_file(image->writer, &plain,
				     contents[i], &node, &image->error),
		    0);
		erofs_directory_set(root, i, node);
	}
	end(image, root);
	finish(image);
}

/* --- a reader -------------------------------------------------------------
 */

struct found {
	uint64_t node;
	unsigned mode;
	unsigned links;
	uint64_t size;
	int64_t time;
	size_t head; /* of inode and attributes */
	unsigned layout;
	uint64_t block;
	uint64_t offset;
	unsigned uid;
	unsigned gid;
};

static struct found
inode_at(const struct image *image, uint64_t node)
{
	const uint8_t *bytes = image->bytes + node * EROFS_NODE_UNIT;
	struct erofs_inode_extended extended;
	struct erofs_inode_compact compact;
	struct found found = {
	    .node = node, .offset = node * EROFS_NODE_UNIT, .time = TIME};
	unsigned xattrs;

	assert_true(found.offset < image->size);
	memcpy(&compact, bytes, sizeof(compact));
	memcpy(&extended, bytes, sizeof(extended));
	found.layout = (compact.format >> 1) & 7;
	found.mode = compact.mode;
	xattrs = compact.xattr_count;
	if ((compact.format & 1) != 0) {
		found.size = extended.size;
		found.links = extended.links;
		found.time = (int64_t)extended.time;
		found.block = extended.block;
		found.head = sizeof(extended);
		found.uid = extended.uid;
		found.gid = extended.gid;
	} else {
		found.size = compact.size;
		found.links = compact.links;
		found.block = compact.block;
		found.head = sizeof(compact);
		found.uid = compact.uid;
		found.gid = compact.gid;
	}
	if (xattrs > 0)
		found.head +=
		    sizeof(struct erofs_xattr_header) + 4 * (xattrs - 1);
	return found;
}

/* The bytes of a part of the data that lie in one block. */
static const uint8_t *
data_at(const struct image *image, const struct found *found, uint64_t offset)
{
	uint64_t whole = found->size & ~(EROFS_BLOCK - 1);
	uint64_t place = (found->block << EROFS_BLOCK_BITS) + offset;

	assert_true(offset < found->size);
	if (found->layout == EROFS_LAYOUT_INLINE && offset >= whole) {
		place = found->offset + found->head + (offset - whole);
		/* An inlined end crosses no block. */
		assert_int_equal(
		    (found->offset + found->head + found->size - whole - 1) >>
			EROFS_BLOCK_BITS,
		    found->offset >> EROFS_BLOCK_BITS);
	}
	assert_true(place < image->size);
	return image->bytes + place;
}

static void
assert_content(
    const struct image *image, const struct found *found, struct str expected)
{
	assert_int_equal(found->size, expected.len);
	for (uint64_t at = 0; at < expected.len; at += EROFS_BLOCK) {
		uint64_t left = expected.len - at;

		assert_memory_equal(data_at(image, found, at),
		    expected.data + at,
		    left < EROFS_BLOCK ? left : EROFS_BLOCK);
	}
}

/* Looks the name up as the kernel does: entries are in order. The node, or 0;
 * *count is the number of entries. */
static uint64_t
look_up(const struct image *image, const struct found *directory,
    const char *name, size_t *count)
{
	char previous[256] = "";
	uint64_t node = 0;

	*count = 0;
	for (uint64_t at = 0; at < directory->size; at += EROFS_BLOCK) {
		const uint8_t *block = data_at(image, directory, at);
		uint64_t left = directory->size - at;
		size_t len = left < EROFS_BLOCK ? left : EROFS_BLOCK;
		struct erofs_dirent entry;
		struct erofs_dirent next;
		size_t entries;

		memcpy(&entry, block, sizeof(entry));
		entries = entry.name_offset / sizeof(entry);
		for (size_t i = 0; i < entries; i++) {
			char text[256] = "";
			size_t name_len;

			memcpy(
			    &entry, block + i * sizeof(entry), sizeof(entry));
			memcpy(&next, block + (i + 1) * sizeof(entry),
			    sizeof(entry));
			name_len =
			    i + 1 < entries
				? (size_t)(next.name_offset - entry.name_offset)
				: strnlen(
				      (const char *)block + entry.name_offset,
				      len - entry.name_offset);
			memcpy(text, block + entry.name_offset, name_len);
			assert_true(strcmp(previous, text) < 0);
			strcpy(previous, text);
			if (strcmp(text, name) == 0)
				node = entry.node;
			(*count)++;
		}
	}
	return node;
}

static struct found
root_of(const struct image *image)
{
	struct erofs_superblock superblock;

	memcpy(&superblock, image->bytes + EROFS_SUPERBLOCK_OFFSET,
	    sizeof(superblock));
	assert_int_equal(superblock.magic, EROFS_MAGIC);
	assert_int_equal(superblock.block_bits, EROFS_BLOCK_BITS);
	assert_int_equal(
	    (uint64_t)superblock.blocks << EROFS_BLOCK_BITS, image->size);
	assert_int_equal(superblock.feature_incompat, 0);
	assert_int_equal(superblock.time, TIME);
	return inode_at(image, superblock.root);
}

static struct found
child_of(
    const struct image *image, const struct found *directory, const char *name)
{
	size_t count;
	uint64_t node = look_up(image, directory, name, &count);

	if (node == 0)
		fail_msg("no entry \"%s\"", name);
	return inode_at(image, node);
}

/* --- tests ----------------------------------------------------------------
 */

/* fsck.erofs reads all of it, where it is installed. */
static void
check_with_fsck(const struct image *image)
{
	char path[] = "/tmp/toolroot-erofs-XXXXXX";
	char command[128];
	struct error err;
	int fd = mkstemp(path);
	int status;

	assert_int_not_equal(fd, -1);
	assert_int_equal(
	    file_pwrite(fd, image->bytes, image->size, 0, &err), 0);
	snprintf(command, sizeof(command),
	    "command -v fsck.erofs > /dev/null || exit 0; "
	    "fsck.erofs --extract %s > /dev/null",
	    path);
	status = system(command);
	unlink(path);
	close(fd);
	assert_int_equal(status, 0);
}

static void
files_of_all_sizes_read_back(void **state)
{
	static const size_t sizes[] = {0, 1, 31, 32, 2000, 4063, 4064, 4065,
	    4095, 4096, 4097, 8191, 8192, 100000, 262144, 1300000};
	enum { COUNT = sizeof(sizes) / sizeof(*sizes) };
	struct str contents[COUNT];
	const char *names[COUNT];
	char texts[COUNT][16];
	struct image image;
	struct found root;

	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		char *data = xmalloc(sizes[i] + 1);

		for (size_t j = 0; j < sizes[i]; j++)
			data[j] = (char)(j * 7 + i);
		contents[i] = (struct str){data, sizes[i]};
		snprintf(texts[i], sizeof(texts[i]), "f%zu", i);
		names[i] = texts[i];
	}
	start(&image);
	write_files(&image, names, contents, COUNT);
	root = root_of(&image);
	for (size_t i = 0; i < COUNT; i++) {
		struct found file = child_of(&image, &root, names[i]);

		assert_int_equal(file.mode, S_IFREG | 0644);
		assert_int_equal(file.links, 1);
		assert_int_equal(file.uid, 20001);
		assert_int_equal(file.gid, 20002);
		assert_content(&image, &file, contents[i]);
		free((void *)(uintptr_t)contents[i].data);
	}
	check_with_fsck(&image);
	discard(&image);
}

/* Names that sort before "." among them, and more than a block holds. */
static void
directories_of_any_number_of_entries_are_in_order(void **state)
{
	static const size_t counts[] = {0, 1, 50, 200, 5000};
	char(*texts)[200] = xcalloc(5000, sizeof(*texts));
	const char **names = xcalloc(5000, sizeof(*names));
	struct str *contents = xcalloc(5000, sizeof(*contents));
	struct image image;
	struct found root;
	size_t count;

	(void)state;
	for (size_t i = 0; i < 5000; i++) {
		snprintf(texts[i], sizeof(texts[i]), "%c%zu%.*s",
		    "!-.azA~"[i % 7], i, (int)(i % 150),
		    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
		names[i] = texts[i];
		contents[i] = str_from(texts[i]);
	}
	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
		start(&image);
		write_files(&image, names, contents, counts[i]);
		root = root_of(&image);
		assert_int_equal(root.mode, S_IFDIR | 0755);
		assert_int_equal(root.links, 2);
		assert_int_equal(
		    look_up(&image, &root, ".", &count), root.node);
		assert_int_equal(count, counts[i] + 2);
		assert_int_equal(
		    look_up(&image, &root, "..", &count), root.node);
		for (size_t j = 0; j < counts[i]; j += 7) {
			struct found file = child_of(&image, &root, names[j]);

			assert_content(&image, &file, contents[j]);
		}
		check_with_fsck(&image);
		discard(&image);
	}
	free(texts);
	free(names);
	free(contents);
}

static const char *const top_names[] = {"z", "link", "sub", "big", NULL};
static const enum erofs_kind top_kinds[] = {
    EROFS_FILE, EROFS_SYMLINK, EROFS_DIRECTORY, EROFS_FILE};
static const char *const sub_names[] = {"old", "deep", NULL};
static const enum erofs_kind sub_kinds[] = {EROFS_FILE, EROFS_DIRECTORY};
static const char *const no_names[] = {NULL};

/* Every kind of entry; big's body is elsewhere. */
static void
write_tree(struct image *image)
{
	const struct erofs_attributes old = {0555, {12345, 678}};
	struct erofs_directory *top = begin(image, NULL, top_names, top_kinds);
	struct erofs_directory *sub;
	struct erofs_directory *deep;
	uint64_t node;

	assert_int_equal(erofs_image_file(image->writer, &plain, STR("last"),
			     &node, &image->error),
	    0);
	erofs_directory_set(top, 0, node);
	assert_int_equal(erofs_image_symlink(image->writer, &plain,
			     STR("sub/old"), &node, &image->error),
	    0);
	erofs_directory_set(top, 1, node);
	sub = begin(image, top, sub_names, sub_kinds);
	erofs_directory_set(top, 2, erofs_directory_node(sub));
	assert_int_equal(erofs_image_file(image->writer, &old, STR("of old"),
			     &node, &image->error),
	    0);
	erofs_directory_set(sub, 0, node);
	deep = begin(image, sub, no_names, NULL);
	erofs_directory_set(sub, 1, erofs_directory_node(deep));
	end(image, deep);
	end(image, sub);
	assert_int_equal(
	    erofs_image_file_elsewhere(image->writer, &plain, (uint64_t)5 << 30,
		STR("/body"), &node, &image->error),
	    0);
	erofs_directory_set(top, 3, node);
	end(image, top);
	finish(image);
}

static void
links_directories_and_times_read_back(void **state)
{
	struct image image;
	struct found top;
	struct found sub;
	struct found found;
	size_t count;

	(void)state;
	start(&image);
	write_tree(&image);
	top = root_of(&image);
	assert_int_equal(top.links, 3);
	found = child_of(&image, &top, "link");
	assert_int_equal(found.mode & S_IFMT, S_IFLNK);
	assert_content(&image, &found, STR("sub/old"));
	sub = child_of(&image, &top, "sub");
	assert_int_equal(sub.links, 3);
	assert_int_equal(look_up(&image, &sub, "..", &count), top.node);
	found = child_of(&image, &sub, "old");
	assert_int_equal(found.time, 12345);
	assert_int_equal(found.mode, S_IFREG | 0555);
	assert_content(&image, &found, STR("of old"));
	found = child_of(&image, &sub, "deep");
	assert_int_equal(look_up(&image, &found, "..", &count), sub.node);
	assert_int_equal(count, 2);
	discard(&image);
}

static void
a_body_elsewhere_is_named_and_not_in_the_image(void **state)
{
	struct image image;
	struct found top;
	struct found big;
	const char *attributes;

	(void)state;
	start(&image);
	write_tree(&image);
	top = root_of(&image);
	big = child_of(&image, &top, "big");
	assert_int_equal(big.size, (uint64_t)5 << 30);
	assert_int_equal(big.block, EROFS_NO_BLOCK);
	attributes = (const char *)image.bytes + big.offset;
	assert_non_null(memmem(attributes, big.head, "overlay.redirect/body",
	    strlen("overlay.redirect/body")));
	assert_non_null(memmem(attributes, big.head, "overlay.metacopy",
	    strlen("overlay.metacopy")));
	discard(&image);
}

static void
limits_are_kept(void **state)
{
	struct image image;
	char *data = xcalloc(1, 100000);
	char name[EROFS_REDIRECT_MAX + 2];
	uint64_t node;

	(void)state;
	start_with(&image, 50000);
	assert_int_equal(erofs_image_file(image.writer, &plain,
			     (struct str){data, 100000}, &node, &image.error),
	    -1);
	assert_int_equal(image.error.code, ERROR_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(image.error.text, "the-limit"));
	memset(name, 'n', sizeof(name));
	assert_int_equal(
	    erofs_image_file_elsewhere(image.writer, &plain, 1,
		(struct str){name, sizeof(name)}, &node, &image.error),
	    -1);
	erofs_image_free(image.writer);
	discard(&image);
	free(data);
}

static int
refuse_bytes(void *cookie, uint64_t offset, const void *data, size_t len,
    struct error *err)
{
	(void)cookie;
	(void)offset;
	(void)data;
	(void)len;
	return error_set(err, ERROR_RESOURCE_EXHAUSTED, "no room");
}

static void
a_failing_disk_fails_the_image(void **state)
{
	const struct erofs_image_options options = {
	    .max_bytes = IMAGE_MAX, .limit = "limit", .write = refuse_bytes};
	struct erofs_image *image = erofs_image_new(&options);
	char *data = xcalloc(1, 2 << 20);
	struct error err;
	uint64_t node;
	int rc = 0;

	(void)state;
	for (int i = 0; i < 2 && rc == 0; i++)
		rc = erofs_image_file(
		    image, &plain, (struct str){data, 2 << 20}, &node, &err);
	assert_int_equal(rc, -1);
	assert_string_equal(err.text, "no room");
	erofs_image_free(image);
	free(data);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(files_of_all_sizes_read_back),
	    cmocka_unit_test(directories_of_any_number_of_entries_are_in_order),
	    cmocka_unit_test(links_directories_and_times_read_back),
	    cmocka_unit_test(a_body_elsewhere_is_named_and_not_in_the_image),
	    cmocka_unit_test(limits_are_kept),
	    cmocka_unit_test(a_failing_disk_fails_the_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
