/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of the EROFS on-disk format that we write, and our tests read:
 * numbers are little-endian, a block has 4096 bytes, an inode's number ("nid")
 * is its place in units of 32 bytes from the start of the metadata. Facts of
 * Linux, fs/erofs/erofs_fs.h.
 */
#ifndef TOOLROOT_WORKER_EROFS_FORMAT_H
#define TOOLROOT_WORKER_EROFS_FORMAT_H

#include <stdint.h>

#define EROFS_MAGIC 0xe0f5e1e2u
#define EROFS_BLOCK_BITS 12
#define EROFS_BLOCK ((uint64_t)1 << EROFS_BLOCK_BITS)
#define EROFS_SUPERBLOCK_OFFSET 1024
#define EROFS_NODE_UNIT 32u
#define EROFS_NO_BLOCK 0xffffffffu

struct erofs_superblock {
	uint32_t magic;
	uint32_t checksum;
	uint32_t feature_compat;
	uint8_t block_bits;
	uint8_t extension_slots;
	uint16_t root;
	uint64_t inodes;
	uint64_t time; /* of compact inodes */
	uint32_t time_ns;
	uint32_t blocks;
	uint32_t metadata_block;
	uint32_t xattr_block;
	uint8_t uuid[16];
	uint8_t volume_name[16];
	uint32_t feature_incompat;
	uint8_t rest[44];
};

/* Bit 0 of the format: extended; bits 1 to 3: the layout of the data. */
enum erofs_layout {
	EROFS_LAYOUT_PLAIN = 0,
	EROFS_LAYOUT_INLINE = 2, /* the last, partial block is in the inode */
};

struct erofs_inode_compact {
	uint16_t format;
	uint16_t xattr_count;
	uint16_t mode;
	uint16_t links;
	uint32_t size;
	uint32_t unused;
	uint32_t block; /* the first one of the data */
	uint32_t number;
	uint16_t uid;
	uint16_t gid;
	uint32_t unused2;
};

struct erofs_inode_extended {
	uint16_t format;
	uint16_t xattr_count;
	uint16_t mode;
	uint16_t unused;
	uint64_t size;
	uint32_t block;
	uint32_t number;
	uint32_t uid;
	uint32_t gid;
	uint64_t time;
	uint32_t time_ns;
	uint32_t links;
	uint8_t unused2[16];
};

/* After the inode, when its xattr_count is 1 + (bytes - this) / 4; entries
 * follow. */
struct erofs_xattr_header {
	uint32_t name_filter;
	uint8_t shared_count;
	uint8_t unused[7];
};

#define EROFS_XATTR_TRUSTED 4

/* Then the name without its prefix, the value, and up to 3 bytes to align. */
struct erofs_xattr_entry {
	uint8_t name_len;
	uint8_t name_index;
	uint16_t value_len;
};

/* At the start of each block of a directory, then the names. */
struct erofs_dirent {
	uint64_t node;
	uint16_t name_offset; /* in the block; the first one / 12 = entries */
	uint8_t kind;
	uint8_t unused;
} __attribute__((packed));

_Static_assert(sizeof(struct erofs_superblock) == 128, "superblock");
_Static_assert(sizeof(struct erofs_inode_compact) == 32, "compact inode");
_Static_assert(sizeof(struct erofs_inode_extended) == 64, "extended inode");
_Static_assert(sizeof(struct erofs_xattr_header) == 12, "xattr header");
_Static_assert(sizeof(struct erofs_xattr_entry) == 4, "xattr entry");
_Static_assert(sizeof(struct erofs_dirent) == 12, "directory entry");

#endif
