/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree in memory is a map of entries a directory; all of it lives in one
 * arena. finish goes through it depth first (bounded by the depth limit),
 * encodes each directory after its children, and keeps one of equal ones. That
 * order backwards has each parent before its children.
 */
#include "cas/merkle_builder.h"

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"
#include "cas/closure.h"
#include "cas/digest_message.h"
#include "cas/directory.h"
#include "protos/wire.h"

/* Entries and encoded directories: far above any tree that can be used. */
#define BUILDER_MEMORY_MAX ((size_t)4 << 30)
#define TREE_FIELD_ROOT 1
#define TREE_FIELD_CHILDREN 2

enum entry_kind {
	ENTRY_FILE,
	ENTRY_SYMLINK,
	ENTRY_BRANCH,
	ENTRY_SUBTREE,
};

struct entry {
	struct str name; /* the key in its directory's map */
	enum entry_kind kind;
	struct merkle_file file; /* digest also of a branch or subtree */
	struct str target;
	struct branch *branch;
};

/* A directory that is being built. */
struct branch {
	struct map entries;  /* name -> struct entry */
	struct branch *next; /* of all, for freeing the maps */
};

struct merkle_builder {
	enum digest_function function;
	struct arena memory;
	struct branch *root;
	struct branch *branches; /* all, the newest first */
	bool has_subtrees;
	struct map by_digest;           /* -> struct merkle_directory */
	struct merkle_directory **made; /* children first */
	size_t made_count;
	size_t made_capacity;
	struct merkle_directory *directories; /* made, backwards */
};

static int
builder_full(struct error *err)
{
	return error_set(err, ERROR_RESOURCE_EXHAUSTED,
	    "the tree takes more than %zu bytes of memory", BUILDER_MEMORY_MAX);
}

static struct branch *
branch_new(struct merkle_builder *builder)
{
	struct branch *branch =
	    arena_zalloc(&builder->memory, 1, sizeof(*branch));

	if (branch == NULL)
		return NULL;
	map_init(&branch->entries);
	branch->next = builder->branches;
	builder->branches = branch;
	return branch;
}

struct merkle_builder *
merkle_builder_new(enum digest_function function)
{
	struct merkle_builder *builder = xcalloc(1, sizeof(*builder));

	builder->function = function;
	arena_init(&builder->memory, BUILDER_MEMORY_MAX);
	map_init(&builder->by_digest);
	builder->root = branch_new(builder);
	return builder;
}

void
merkle_builder_free(struct merkle_builder *builder)
{
	if (builder == NULL)
		return;
	for (struct branch *branch = builder->branches; branch != NULL;
	     branch = branch->next)
		map_clear(&branch->entries);
	map_clear(&builder->by_digest);
	arena_clear(&builder->memory);
	free(builder->made);
	free(builder->directories);
	free(builder);
}

/* --- adding --------------------------------------------------------------- */

/* A new entry, or the one that has the name. NULL at the memory limit. */
static struct entry *
branch_entry(struct merkle_builder *builder, struct branch *branch,
    struct str name, enum entry_kind kind, bool *is_new)
{
	struct entry *entry = map_get(&branch->entries, name);
	char *copy;

	*is_new = entry == NULL;
	if (entry != NULL)
		return entry;
	entry = arena_zalloc(&builder->memory, 1, sizeof(*entry));
	copy = arena_copy(&builder->memory, name);
	if (entry == NULL || copy == NULL)
		return NULL;
	entry->name = (struct str){copy, name.len};
	entry->kind = kind;
	if (kind == ENTRY_BRANCH) {
		entry->branch = branch_new(builder);
		if (entry->branch == NULL)
			return NULL;
	}
	map_put(&branch->entries, entry->name, entry);
	return entry;
}

/* Goes down to the entry of path, making the directories above it. */
static int
builder_descend(struct merkle_builder *builder, struct str path,
    enum entry_kind kind, struct entry **entry, struct error *err)
{
	struct branch *branch = builder->root;
	struct str rest = path;
	bool is_new;

	for (unsigned depth = 1;; depth++) {
		struct str name = str_cut(&rest, '/');
		bool last = rest.data == NULL;

		if (directory_check_name(name, err) < 0)
			return -1;
		if (depth >= CLOSURE_DEPTH_MAX)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "the tree is too deep (the limit is %u)",
			    CLOSURE_DEPTH_MAX);
		*entry = branch_entry(
		    builder, branch, name, last ? kind : ENTRY_BRANCH, &is_new);
		if (*entry == NULL)
			return builder_full(err);
		if (last)
			break;
		if ((*entry)->kind != ENTRY_BRANCH)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "a directory above it was added as something else");
		branch = (*entry)->branch;
	}
	if (!is_new && (kind != ENTRY_BRANCH || (*entry)->kind != ENTRY_BRANCH))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "there is such an entry already");
	return 0;
}

static int
builder_add(struct merkle_builder *builder, struct str path,
    enum entry_kind kind, struct entry **entry, struct error *err)
{
	char printable[DIRECTORY_PRINTABLE_MAX];

	if (builder_descend(builder, path, kind, entry, err) == 0)
		return 0;
	error_prefix(err, "path \"%s\"", directory_printable(path, printable));
	return -1;
}

int
merkle_builder_add_file(struct merkle_builder *builder, struct str path,
    const struct merkle_file *file, struct error *err)
{
	struct entry *entry;

	if (builder_add(builder, path, ENTRY_FILE, &entry, err) < 0)
		return -1;
	entry->file = *file;
	return 0;
}

int
merkle_builder_add_symlink(struct merkle_builder *builder, struct str path,
    struct str target, struct error *err)
{
	struct entry *entry;
	char *copy;
	char printable[DIRECTORY_PRINTABLE_MAX];

	if (directory_check_target(target, err) < 0) {
		error_prefix(
		    err, "path \"%s\"", directory_printable(path, printable));
		return -1;
	}
	if (builder_add(builder, path, ENTRY_SYMLINK, &entry, err) < 0)
		return -1;
	copy = arena_copy(&builder->memory, target);
	if (copy == NULL)
		return builder_full(err);
	entry->target = (struct str){copy, target.len};
	return 0;
}

int
merkle_builder_add_directory(
    struct merkle_builder *builder, struct str path, struct error *err)
{
	struct entry *entry;

	if (path.len == 0)
		return 0; /* the root is always there */
	return builder_add(builder, path, ENTRY_BRANCH, &entry, err);
}

int
merkle_builder_add_subtree(struct merkle_builder *builder, struct str path,
    const struct digest *directory, struct error *err)
{
	struct entry *entry;

	if (builder_add(builder, path, ENTRY_SUBTREE, &entry, err) < 0)
		return -1;
	entry->file.digest = *directory;
	builder->has_subtrees = true;
	return 0;
}

/* --- encoding ------------------------------------------------------------- */

/* The messages that make up one directory; all in one arena. */
struct encoder {
	struct arena arena;
	Reapi__Directory directory;
};

/* Pieces of at most a few dozen bytes an entry, whose number is bounded: an
 * arena without a cap always gives. */
static void *
encoder_take(struct encoder *encoder, size_t size)
{
	return arena_zalloc(&encoder->arena, 1, size);
}

static ProtobufCBinaryData
encoder_bytes(struct str bytes)
{
	return (ProtobufCBinaryData){bytes.len, (uint8_t *)bytes.data};
}

static Reapi__Digest *
encoder_digest(struct encoder *encoder, const struct digest *digest)
{
	Reapi__Digest *message = encoder_take(encoder, sizeof(*message));

	digest_to_message(
	    digest, encoder_take(encoder, DIGEST_TEXT_MAX), message);
	return message;
}

static Reapi__NodeProperties *
encoder_properties(
    struct encoder *encoder, const struct merkle_properties *properties)
{
	Reapi__NodeProperties *message;

	if (!properties->has_mode && !properties->has_mtime)
		return NULL;
	message = encoder_take(encoder, sizeof(*message));
	reapi__node_properties__init(message);
	if (properties->has_mode) {
		message->unix_mode =
		    encoder_take(encoder, sizeof(*message->unix_mode));
		google__protobuf__uint32_value__init(message->unix_mode);
		message->unix_mode->value = properties->mode;
	}
	if (properties->has_mtime) {
		message->mtime = encoder_take(encoder, sizeof(*message->mtime));
		google__protobuf__timestamp__init(message->mtime);
		message->mtime->seconds = properties->mtime_seconds;
		message->mtime->nanos = properties->mtime_nanos;
	}
	return message;
}

static void
encoder_add_file(struct encoder *encoder, const struct entry *entry)
{
	Reapi__FileNode *node = encoder_take(encoder, sizeof(*node));

	reapi__file_node__init(node);
	node->name = encoder_bytes(entry->name);
	node->digest = encoder_digest(encoder, &entry->file.digest);
	node->is_executable = entry->file.executable;
	node->node_properties =
	    encoder_properties(encoder, &entry->file.properties);
	encoder->directory.files[encoder->directory.n_files++] = node;
}

static void
encoder_add_symlink(struct encoder *encoder, const struct entry *entry)
{
	Reapi__SymlinkNode *node = encoder_take(encoder, sizeof(*node));

	reapi__symlink_node__init(node);
	node->name = encoder_bytes(entry->name);
	node->target = encoder_bytes(entry->target);
	encoder->directory.symlinks[encoder->directory.n_symlinks++] = node;
}

static void
encoder_add_directory(struct encoder *encoder, const struct entry *entry)
{
	Reapi__DirectoryNode *node = encoder_take(encoder, sizeof(*node));

	reapi__directory_node__init(node);
	node->name = encoder_bytes(entry->name);
	node->digest = encoder_digest(encoder, &entry->file.digest);
	encoder->directory.directories[encoder->directory.n_directories++] =
	    node;
}

static void
encoder_init(
    struct encoder *encoder, struct entry *const *entries, size_t count)
{
	Reapi__Directory *directory = &encoder->directory;

	arena_init(&encoder->arena, SIZE_MAX);
	reapi__directory__init(directory);
	directory->files = encoder_take(encoder, count * sizeof(void *));
	directory->symlinks = encoder_take(encoder, count * sizeof(void *));
	directory->directories = encoder_take(encoder, count * sizeof(void *));
	for (size_t i = 0; i < count; i++) {
		if (entries[i]->kind == ENTRY_FILE)
			encoder_add_file(encoder, entries[i]);
		else if (entries[i]->kind == ENTRY_SYMLINK)
			encoder_add_symlink(encoder, entries[i]);
		else
			encoder_add_directory(encoder, entries[i]);
	}
}

static int
entry_compare(const void *a, const void *b)
{
	return str_compare((*(struct entry *const *)a)->name,
	    (*(struct entry *const *)b)->name);
}

/* By name; the caller frees the array. */
static struct entry **
branch_sorted(const struct branch *branch)
{
	struct entry **entries =
	    xcalloc(branch->entries.count + 1, sizeof(struct entry *));
	size_t position = 0;

	for (size_t i = 0; i < branch->entries.count; i++)
		entries[i] = map_next(&branch->entries, &position);
	qsort(entries, branch->entries.count, sizeof(struct entry *),
	    entry_compare);
	return entries;
}

/* Keeps the directory unless there is an equal one. */
static int
builder_keep(struct merkle_builder *builder, const Reapi__Directory *message,
    struct digest *digest, struct error *err)
{
	size_t size = reapi__directory__get_packed_size(message);
	uint8_t *bytes = arena_alloc(&builder->memory, size);
	struct merkle_directory *directory;

	directory = arena_alloc(&builder->memory, sizeof(*directory));
	if (bytes == NULL || directory == NULL)
		return builder_full(err);
	reapi__directory__pack(message, bytes);
	directory->bytes = (struct str){(const char *)bytes, size};
	digest_compute(builder->function, bytes, size, &directory->digest);
	*digest = directory->digest;
	if (map_get(&builder->by_digest, digest_key(digest)) != NULL)
		return 0;
	map_put(&builder->by_digest, digest_key(&directory->digest), directory);
	if (builder->made_count == builder->made_capacity) {
		builder->made_capacity = builder->made_capacity > 0
					     ? builder->made_capacity * 2
					     : 64;
		builder->made = xreallocarray(builder->made,
		    builder->made_capacity, sizeof(struct merkle_directory *));
	}
	builder->made[builder->made_count++] = directory;
	return 0;
}

/* Calls itself at most CLOSURE_DEPTH_MAX deep: builder_descend. */
static int
builder_encode(struct merkle_builder *builder, const struct branch *branch,
    struct digest *digest, struct error *err)
{
	struct entry **entries = branch_sorted(branch);
	size_t count = branch->entries.count;
	struct encoder encoder;
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++) {
		if (entries[i]->kind == ENTRY_BRANCH)
			rc = builder_encode(builder, entries[i]->branch,
			    &entries[i]->file.digest, err);
	}
	if (rc == 0) {
		encoder_init(&encoder, entries, count);
		rc = builder_keep(builder, &encoder.directory, digest, err);
		arena_clear(&encoder.arena);
	}
	free(entries);
	return rc;
}

int
merkle_builder_finish(struct merkle_builder *builder, struct error *err)
{
	struct digest root;
	size_t count;

	if (builder_encode(builder, builder->root, &root, err) < 0)
		return -1;
	count = builder->made_count;
	builder->directories = xcalloc(count, sizeof(*builder->directories));
	for (size_t i = 0; i < count; i++)
		builder->directories[i] = *builder->made[count - 1 - i];
	return 0;
}

/* --- results -------------------------------------------------------------- */

const struct digest *
merkle_builder_root(const struct merkle_builder *builder)
{
	return &builder->directories[0].digest;
}

const struct merkle_directory *
merkle_builder_directories(const struct merkle_builder *builder, size_t *count)
{
	*count = builder->made_count;
	return builder->directories;
}

int
merkle_builder_tree(const struct merkle_builder *builder, struct buffer *tree,
    struct error *err)
{
	if (builder->has_subtrees)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "a tree with directories known by digest only cannot be "
		    "written as a Tree message");
	for (size_t i = 0; i < builder->made_count; i++) {
		struct str bytes = builder->directories[i].bytes;
		uint8_t header[2 * WIRE_VARINT_MAX];
		size_t len = wire_put_bytes_header(header,
		    i == 0 ? TREE_FIELD_ROOT : TREE_FIELD_CHILDREN, bytes.len);

		if (buffer_append(tree, header, len) < 0 ||
		    buffer_append(tree, bytes.data, bytes.len) < 0)
			return error_set(err, ERROR_RESOURCE_EXHAUSTED,
			    "the Tree message is larger than %zu bytes",
			    tree->limit);
	}
	return 0;
}
