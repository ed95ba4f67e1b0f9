/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One region that grows, block by block: blocks of inodes, with the ends of
 * bodies behind them, and blocks of data in between. Metadata is said to start
 * at block 0, so that any block may hold inodes.
 */
#include "worker/erofs_image.h"

#include <assert.h>
#include <endian.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/memory.h"
#include "worker/erofs_format.h"

/* What is held back before it is written. */
#define CHUNK ((size_t)1 << 20)
#define XATTRS_MAX (sizeof(struct erofs_xattr_header) + 512)

struct erofs_image {
	struct erofs_image_options options;
	uint64_t end;       /* bytes taken so far, whole blocks */
	uint64_t inode;     /* free part of a block of inodes ... */
	uint64_t inode_end; /* ... and its end */
	uint64_t root;
	uint32_t inodes;
	uint64_t base; /* of what is held back */
	uint8_t *held; /* up to the end */
	size_t capacity;
};

/* An inode and where its data goes. */
struct item {
	const struct erofs_attributes *attributes;
	mode_t type;
	uint32_t links;
	uint64_t size;
	bool elsewhere;
	const uint8_t *xattrs;
	size_t xattr_len;
	/* Filled by place. */
	bool extended;
	bool inlined;    /* the last part of the data */
	uint64_t offset; /* of the inode */
	uint64_t block;  /* first block of the data */
};

struct entry {
	struct str name;
	enum erofs_kind kind;
	uint64_t node;
	size_t number; /* as counted by the caller; dots come after */
};

struct erofs_directory {
	struct erofs_image *image;
	uint64_t parent; /* 0: the root */
	struct entry *entries;
	size_t count;
	size_t capacity;
	size_t subdirectories;
	size_t *sorted; /* by number: place among the entries */
	uint8_t *xattrs;
	struct item item;
};

struct erofs_image *
erofs_image_new(const struct erofs_image_options *options)
{
	struct erofs_image *image = xcalloc(1, sizeof(*image));

	image->options = *options;
	image->capacity = 4 * EROFS_BLOCK;
	image->held = xcalloc(1, image->capacity);
	image->end = EROFS_BLOCK; /* the superblock's */
	return image;
}

void
erofs_image_free(struct erofs_image *image)
{
	if (image == NULL)
		return;
	free(image->held);
	free(image);
}

/* --- bytes ----------------------------------------------------------------
 */

static int
flush(struct erofs_image *image, struct error *err)
{
	size_t len = (size_t)(image->end - image->base);

	if (len > 0 && image->options.write(image->options.cookie, image->base,
			   image->held, len, err) < 0)
		return -1;
	memset(image->held, 0, len);
	image->base = image->end;
	/* What is added to a block later is written by itself: rather begin
	 * another. */
	image->inode_end = image->inode;
	return 0;
}

/* Takes blocks at the end; *offset is the first one's. */
static int
take_blocks(struct erofs_image *image, uint64_t bytes, uint64_t *offset,
    struct error *err)
{
	uint64_t whole = (bytes + EROFS_BLOCK - 1) & ~(EROFS_BLOCK - 1);
	size_t needed;

	if (bytes > image->options.max_bytes ||
	    image->end + whole > image->options.max_bytes ||
	    (image->end + whole) >> EROFS_BLOCK_BITS >= EROFS_NO_BLOCK)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "%s of the worker (%llu bytes) is less than an image of "
		    "the tree takes",
		    image->options.limit,
		    (unsigned long long)image->options.max_bytes);
	if (image->end - image->base > CHUNK && flush(image, err) < 0)
		return -1;
	*offset = image->end;
	image->end += whole;
	needed = (size_t)(image->end - image->base);
	if (needed > image->capacity) {
		size_t old = image->capacity;

		image->capacity = needed > 2 * old ? needed : 2 * old;
		image->held = xrealloc(image->held, image->capacity);
		memset(image->held + old, 0, image->capacity - old);
	}
	return 0;
}

static int
put(struct erofs_image *image, uint64_t offset, const void *data, size_t len,
    struct error *err)
{
	if (len == 0)
		return 0;
	if (offset < image->base)
		return image->options.write(
		    image->options.cookie, offset, data, len, err);
	memcpy(image->held + (offset - image->base), data, len);
	return 0;
}

/* --- inodes ---------------------------------------------------------------
 */

static size_t
head_len(const struct item *item)
{
	return (item->extended ? sizeof(struct erofs_inode_extended)
			       : sizeof(struct erofs_inode_compact)) +
	       item->xattr_len;
}

static uint64_t
node_of(const struct item *item)
{
	return item->offset / EROFS_NODE_UNIT;
}

static int
place_inode(struct erofs_image *image, struct item *item, size_t tail,
    struct error *err)
{
	uint64_t len = (head_len(item) + tail + EROFS_NODE_UNIT - 1) &
		       ~(uint64_t)(EROFS_NODE_UNIT - 1);

	if (image->inode_end - image->inode < len) {
		if (take_blocks(image, EROFS_BLOCK, &image->inode, err) < 0)
			return -1;
		image->inode_end = image->inode + EROFS_BLOCK;
	}
	item->offset = image->inode;
	image->inode += len;
	return 0;
}

/* Finds room for the inode and its data. */
static int
place(struct erofs_image *image, struct item *item, struct error *err)
{
	const struct erofs_image_options *options = &image->options;
	size_t tail = (size_t)(item->size & (EROFS_BLOCK - 1));
	uint64_t data = item->elsewhere ? 0 : item->size;
	uint64_t offset = 0;

	item->extended = item->size > UINT32_MAX || item->links > UINT16_MAX ||
			 options->uid > UINT16_MAX ||
			 options->gid > UINT16_MAX ||
			 item->attributes->time.tv_sec != options->time ||
			 item->attributes->time.tv_nsec != 0;
	item->inlined =
	    data > 0 && tail > 0 && head_len(item) + tail <= EROFS_BLOCK;
	if (item->inlined)
		data -= tail;
	if (data > 0 && take_blocks(image, data, &offset, err) < 0)
		return -1;
	item->block = data > 0 ? offset >> EROFS_BLOCK_BITS : EROFS_NO_BLOCK;
	return place_inode(image, item, item->inlined ? tail : 0, err);
}

static int
write_inode(
    struct erofs_image *image, const struct item *item, struct error *err)
{
	const struct erofs_attributes *attributes = item->attributes;
	uint16_t layout =
	    item->inlined ? EROFS_LAYOUT_INLINE : EROFS_LAYOUT_PLAIN;
	uint16_t xattrs = 0;
	struct erofs_inode_compact compact;
	struct erofs_inode_extended extended;
	size_t len = sizeof(compact);

	if (item->xattr_len > 0)
		xattrs = (uint16_t)(1 + (item->xattr_len -
					    sizeof(struct erofs_xattr_header)) /
					    4);
	image->inodes++;
	if (item->extended) {
		extended = (struct erofs_inode_extended){
		    .format = htole16((uint16_t)(layout << 1 | 1)),
		    .xattr_count = htole16(xattrs),
		    .mode = htole16((uint16_t)(item->type | attributes->mode)),
		    .size = htole64(item->size),
		    .block = htole32((uint32_t)item->block),
		    .number = htole32(image->inodes),
		    .uid = htole32(image->options.uid),
		    .gid = htole32(image->options.gid),
		    .time = htole64((uint64_t)attributes->time.tv_sec),
		    .time_ns = htole32((uint32_t)attributes->time.tv_nsec),
		    .links = htole32(item->links)};
		len = sizeof(extended);
	} else {
		compact = (struct erofs_inode_compact){
		    .format = htole16((uint16_t)(layout << 1)),
		    .xattr_count = htole16(xattrs),
		    .mode = htole16((uint16_t)(item->type | attributes->mode)),
		    .links = htole16((uint16_t)item->links),
		    .size = htole32((uint32_t)item->size),
		    .block = htole32((uint32_t)item->block),
		    .number = htole32(image->inodes),
		    .uid = htole16((uint16_t)image->options.uid),
		    .gid = htole16((uint16_t)image->options.gid)};
	}
	if (put(image, item->offset,
		item->extended ? (const void *)&extended : &compact, len,
		err) < 0)
		return -1;
	return put(
	    image, item->offset + len, item->xattrs, item->xattr_len, err);
}

static int
write_data(struct erofs_image *image, const struct item *item,
    struct str content, struct error *err)
{
	size_t tail = item->inlined ? content.len & (EROFS_BLOCK - 1) : 0;
	size_t whole = content.len - tail;

	if (put(image, item->block << EROFS_BLOCK_BITS, content.data, whole,
		err) < 0)
		return -1;
	return put(image, item->offset + head_len(item), content.data + whole,
	    tail, err);
}

static int
add_content(struct erofs_image *image, struct item *item, struct str content,
    uint64_t *node, struct error *err)
{
	item->links = 1;
	item->size = content.len;
	if (place(image, item, err) < 0 || write_inode(image, item, err) < 0)
		return -1;
	*node = node_of(item);
	return write_data(image, item, content, err);
}

int
erofs_image_file(struct erofs_image *image,
    const struct erofs_attributes *attributes, struct str content,
    uint64_t *node, struct error *err)
{
	struct item item = {.attributes = attributes, .type = S_IFREG};

	return add_content(image, &item, content, node, err);
}

int
erofs_image_symlink(struct erofs_image *image,
    const struct erofs_attributes *attributes, struct str target,
    uint64_t *node, struct error *err)
{
	struct item item = {.attributes = attributes, .type = S_IFLNK};

	return add_content(image, &item, target, node, err);
}

/* Returns how many bytes it took, aligned. */
static size_t
put_xattr(uint8_t *out, struct str name, struct str value)
{
	const struct erofs_xattr_entry entry = {.name_len = (uint8_t)name.len,
	    .name_index = EROFS_XATTR_TRUSTED,
	    .value_len = htole16((uint16_t)value.len)};
	size_t len = sizeof(entry);

	memcpy(out, &entry, len);
	memcpy(out + len, name.data, name.len);
	len += name.len;
	memcpy(out + len, value.data, value.len);
	return (len + value.len + 3) & ~(size_t)3;
}

int
erofs_image_file_elsewhere(struct erofs_image *image,
    const struct erofs_attributes *attributes, uint64_t size,
    struct str redirect, uint64_t *node, struct error *err)
{
	uint8_t xattrs[XATTRS_MAX] = {0};
	struct item item = {.attributes = attributes,
	    .type = S_IFREG,
	    .links = 1,
	    .size = size,
	    .elsewhere = true,
	    .xattrs = xattrs,
	    .xattr_len = sizeof(struct erofs_xattr_header)};

	if (redirect.len > EROFS_REDIRECT_MAX)
		return error_set(
		    err, ERROR_INTERNAL, "the redirect of a file is too long");
	item.xattr_len += put_xattr(
	    xattrs + item.xattr_len, STR("overlay.redirect"), redirect);
	item.xattr_len += put_xattr(
	    xattrs + item.xattr_len, STR("overlay.metacopy"), STR(""));
	if (place(image, &item, err) < 0 || write_inode(image, &item, err) < 0)
		return -1;
	*node = node_of(&item);
	return 0;
}

/* --- directories ----------------------------------------------------------
 */

struct erofs_directory *
erofs_directory_new(
    struct erofs_image *image, const struct erofs_directory *parent)
{
	struct erofs_directory *directory = xcalloc(1, sizeof(*directory));

	directory->image = image;
	if (parent != NULL)
		directory->parent = erofs_directory_node(parent);
	return directory;
}

void
erofs_directory_free(struct erofs_directory *directory)
{
	if (directory == NULL)
		return;
	free(directory->entries);
	free(directory->sorted);
	free(directory->xattrs);
	free(directory);
}

void
erofs_directory_name(
    struct erofs_directory *directory, struct str name, enum erofs_kind kind)
{
	if (directory->count == directory->capacity) {
		directory->capacity = directory->capacity * 2 + 16;
		directory->entries = xreallocarray(directory->entries,
		    directory->capacity, sizeof(*directory->entries));
	}
	directory->entries[directory->count] = (struct entry){
	    .name = name, .kind = kind, .number = directory->count};
	directory->count++;
	directory->subdirectories += kind == EROFS_DIRECTORY;
}

void
erofs_directory_redirect(struct erofs_directory *directory, struct str redirect)
{
	struct item *item = &directory->item;

	assert(redirect.len <= EROFS_REDIRECT_MAX);
	directory->xattrs = xcalloc(1, XATTRS_MAX);
	item->xattrs = directory->xattrs;
	item->xattr_len = sizeof(struct erofs_xattr_header);
	item->xattr_len += put_xattr(directory->xattrs + item->xattr_len,
	    STR("overlay.redirect"), redirect);
}

static int
compare_entries(const void *a, const void *b)
{
	const struct entry *left = a;
	const struct entry *right = b;

	return str_compare(left->name, right->name);
}

/* Entries of one block, from first on; *used is what they take. */
static size_t
fill_block(const struct erofs_directory *directory, size_t first, size_t *used)
{
	size_t next = first;
	size_t need;

	*used = 0;
	while (next < directory->count) {
		need = sizeof(struct erofs_dirent) +
		       directory->entries[next].name.len;
		if (*used + need > EROFS_BLOCK)
			break;
		*used += need;
		next++;
	}
	return next;
}

static uint64_t
directory_size(const struct erofs_directory *directory)
{
	uint64_t size = 0;
	size_t next = 0;
	size_t used = 0;

	while (next < directory->count) {
		next = fill_block(directory, next, &used);
		size += next < directory->count ? EROFS_BLOCK : used;
	}
	return size;
}

int
erofs_directory_begin(struct erofs_directory *directory,
    const struct erofs_attributes *attributes, struct error *err)
{
	struct erofs_image *image = directory->image;
	struct item *item = &directory->item;

	/* 2 and what a directory below adds. */
	item->links = 2 + (uint32_t)directory->subdirectories;
	erofs_directory_name(directory, STR("."), EROFS_DIRECTORY);
	erofs_directory_name(directory, STR(".."), EROFS_DIRECTORY);
	qsort(directory->entries, directory->count, sizeof(struct entry),
	    compare_entries);
	directory->sorted = xcalloc(directory->count, sizeof(size_t));
	for (size_t i = 0; i < directory->count; i++)
		directory->sorted[directory->entries[i].number] = i;
	item->attributes = attributes;
	item->type = S_IFDIR;
	item->size = directory_size(directory);
	if (place(image, item, err) < 0 || write_inode(image, item, err) < 0)
		return -1;
	item->attributes = NULL; /* borrowed */
	erofs_directory_set(directory, directory->count - 2, node_of(item));
	erofs_directory_set(directory, directory->count - 1,
	    directory->parent != 0 ? directory->parent : node_of(item));
	if (directory->parent == 0)
		image->root = node_of(item);
	return 0;
}

uint64_t
erofs_directory_node(const struct erofs_directory *directory)
{
	return node_of(&directory->item);
}

void
erofs_directory_set(
    struct erofs_directory *directory, size_t entry, uint64_t node)
{
	directory->entries[directory->sorted[entry]].node = node;
}

static void
write_block(const struct entry *entries, size_t count, uint8_t *out)
{
	size_t offset = count * sizeof(struct erofs_dirent);

	for (size_t i = 0; i < count; i++) {
		const struct erofs_dirent dirent = {
		    .node = htole64(entries[i].node),
		    .name_offset = htole16((uint16_t)offset),
		    .kind = (uint8_t)entries[i].kind};

		memcpy(out + i * sizeof(dirent), &dirent, sizeof(dirent));
		memcpy(out + offset, entries[i].name.data, entries[i].name.len);
		offset += entries[i].name.len;
	}
}

int
erofs_directory_end(struct erofs_directory *directory, struct error *err)
{
	size_t size = (size_t)directory->item.size;
	uint8_t *content = xcalloc(1, size + EROFS_BLOCK);
	uint8_t *out = content;
	size_t first = 0;
	size_t used;
	int rc;

	while (first < directory->count) {
		size_t next = fill_block(directory, first, &used);

		write_block(&directory->entries[first], next - first, out);
		out += EROFS_BLOCK;
		first = next;
	}
	rc = write_data(directory->image, &directory->item,
	    (struct str){(const char *)content, size}, err);
	free(content);
	return rc;
}

void
erofs_image_set_root(struct erofs_image *image, uint64_t node)
{
	image->root = node;
}

int
erofs_image_finish(struct erofs_image *image, uint64_t *size, struct error *err)
{
	const struct erofs_superblock superblock = {
	    .magic = htole32(EROFS_MAGIC),
	    .block_bits = EROFS_BLOCK_BITS,
	    .root = htole16((uint16_t)image->root),
	    .inodes = htole64(image->inodes),
	    .time = htole64((uint64_t)image->options.time),
	    .blocks = htole32((uint32_t)(image->end >> EROFS_BLOCK_BITS))};

	if (image->root > UINT16_MAX)
		return error_set(err, ERROR_INTERNAL,
		    "the root of a tree's image is not at its start");
	if (put(image, EROFS_SUPERBLOCK_OFFSET, &superblock, sizeof(superblock),
		err) < 0 ||
	    flush(image, err) < 0)
		return -1;
	*size = image->end;
	return 0;
}
