/* SPDX-License-Identifier: Apache-2.0 */
/* Entries by path in a hash table; parents are made when a child is. */
#include "client/capture_tree.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"
#include "cas/directory.h"
#include "cas/merkle_builder.h"

/* Links that are followed for one path, as Linux does. */
#define LINKS_MAX 40
#define PATH_BYTES_MAX 4095u
/* A path that is longer while links are followed than any can be. */
#define RESOLVE_BYTES_MAX 65536u

struct capture_tree {
	enum digest_function function;
	struct capture_limits limits;
	struct map entries; /* path -> struct capture_entry */
	uint64_t bytes;
	unsigned layer; /* of what is added */
};

struct capture_tree *
capture_tree_new(
    enum digest_function function, const struct capture_limits *limits)
{
	struct capture_tree *tree = xcalloc(1, sizeof(*tree));

	tree->function = function;
	tree->limits = *limits;
	map_init(&tree->entries);
	return tree;
}

static void
entry_free(struct capture_entry *entry)
{
	free(entry->path);
	free(entry->source);
	free(entry->target);
	free(entry);
}

void
capture_tree_free(struct capture_tree *tree)
{
	struct capture_entry *entry;
	size_t position = 0;

	if (tree == NULL)
		return;
	while ((entry = map_next(&tree->entries, &position)) != NULL)
		entry_free(entry);
	map_clear(&tree->entries);
	free(tree);
}

enum digest_function
capture_tree_function(const struct capture_tree *tree)
{
	return tree->function;
}

struct capture_entry *
capture_tree_find(const struct capture_tree *tree, struct str path)
{
	return map_get(&tree->entries, path);
}

/* --- removing ------------------------------------------------------------- */

static void
drop_entry(struct capture_tree *tree, struct capture_entry *entry)
{
	map_remove(&tree->entries, str_from(entry->path));
	tree->bytes -= entry->size;
	entry_free(entry);
}

static bool
is_below(const char *path, struct str directory)
{
	return strncmp(path, directory.data, directory.len) == 0 &&
	       path[directory.len] == '/';
}

/* Entries of layers before end. */
static void
remove_below(struct capture_tree *tree, struct str path, unsigned end)
{
	struct capture_entry **below =
	    xcalloc(tree->entries.count + 1, sizeof(struct capture_entry *));
	struct capture_entry *entry;
	size_t position = 0, count = 0;

	/* The table must not change under the walk. */
	while ((entry = map_next(&tree->entries, &position)) != NULL) {
		if (entry->layer < end &&
		    (path.len == 0 || is_below(entry->path, path)))
			below[count++] = entry;
	}
	for (size_t i = 0; i < count; i++)
		drop_entry(tree, below[i]);
	free(below);
}

void
capture_tree_remove_below(struct capture_tree *tree, struct str path)
{
	remove_below(tree, path, UINT_MAX);
}

void
capture_tree_next_layer(struct capture_tree *tree)
{
	tree->layer++;
}

void
capture_tree_hide_below(struct capture_tree *tree, struct str path)
{
	remove_below(tree, path, tree->layer);
}

void
capture_tree_hide(struct capture_tree *tree, struct str path)
{
	struct capture_entry *entry = map_get(&tree->entries, path);

	if (entry == NULL)
		return;
	remove_below(tree, path, tree->layer);
	/* A directory in which this layer has something is of this layer. */
	if (entry->layer < tree->layer)
		drop_entry(tree, entry);
}

void
capture_tree_remove(struct capture_tree *tree, struct str path)
{
	struct capture_entry *entry = map_get(&tree->entries, path);

	if (entry == NULL)
		return;
	if (entry->kind == CAPTURE_DIRECTORY)
		capture_tree_remove_below(tree, path);
	drop_entry(tree, entry);
}

/* --- adding --------------------------------------------------------------- */

static int
check_path(struct str path, struct error *err)
{
	char printable[DIRECTORY_PRINTABLE_MAX];
	struct str rest = path;

	if (path.len > PATH_BYTES_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the path \"%s\" is longer than %u bytes",
		    directory_printable(path, printable), PATH_BYTES_MAX);
	while (rest.data != NULL) {
		if (directory_check_name(str_cut(&rest, '/'), err) < 0) {
			error_prefix(
			    err, "%s", directory_printable(path, printable));
			return -1;
		}
	}
	return 0;
}

int
capture_tree_check_room(
    const struct capture_tree *tree, uint64_t size, struct error *err)
{
	if (tree->entries.count >= tree->limits.entries)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "more than %" PRIu64 " files, directories and links; "
		    "raise --max-entries if that is meant",
		    tree->limits.entries);
	if (size > tree->limits.bytes - tree->bytes)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "more than %" PRIu64 " bytes of files; raise --max-bytes "
		    "if that is meant",
		    tree->limits.bytes);
	return 0;
}

/* An entry of size bytes; what stood there is gone. NULL on error. */
static struct capture_entry *
put_entry(struct capture_tree *tree, struct str path, enum capture_kind kind,
    uint64_t size, struct error *err)
{
	struct capture_entry *entry;

	capture_tree_remove(tree, path);
	if (capture_tree_check_room(tree, size, err) < 0)
		return NULL;
	entry = xcalloc(1, sizeof(*entry));
	entry->path = xstrndup(path.data, path.len);
	entry->kind = kind;
	entry->size = size;
	entry->layer = tree->layer;
	tree->bytes += size;
	map_put(&tree->entries, str_from(entry->path), entry);
	return entry;
}

/* path is checked. */
static int
add_directory(struct capture_tree *tree, struct str path, struct error *err)
{
	struct capture_entry *entry = map_get(&tree->entries, path);

	if (entry != NULL && entry->kind == CAPTURE_DIRECTORY) {
		entry->layer = tree->layer;
		return 0;
	}
	return put_entry(tree, path, CAPTURE_DIRECTORY, 0, err) != NULL ? 0
									: -1;
}

static int
add_parents(struct capture_tree *tree, struct str path, struct error *err)
{
	char printable[DIRECTORY_PRINTABLE_MAX],
	    parent[DIRECTORY_PRINTABLE_MAX];

	for (size_t i = 0; i < path.len; i++) {
		struct str above = {path.data, i};
		const struct capture_entry *entry;

		if (path.data[i] != '/')
			continue;
		entry = map_get(&tree->entries, above);
		if (entry != NULL && entry->kind == CAPTURE_SYMLINK)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "%s lies below %s, which is a symbolic link",
			    directory_printable(path, printable),
			    directory_printable(above, parent));
		if (add_directory(tree, above, err) < 0)
			return -1;
	}
	return 0;
}

int
capture_tree_add_directory(
    struct capture_tree *tree, struct str path, struct error *err)
{
	if (path.len == 0)
		return 0;
	if (check_path(path, err) < 0 || add_parents(tree, path, err) < 0)
		return -1;
	return add_directory(tree, path, err);
}

static struct capture_entry *
add_entry(struct capture_tree *tree, struct str path, enum capture_kind kind,
    uint64_t size, struct error *err)
{
	if (check_path(path, err) < 0 || add_parents(tree, path, err) < 0)
		return NULL;
	return put_entry(tree, path, kind, size, err);
}

int
capture_tree_add_file(struct capture_tree *tree, struct str path,
    const struct capture_file *file, struct error *err)
{
	struct capture_entry *entry =
	    add_entry(tree, path, CAPTURE_FILE, file->size, err);

	if (entry == NULL)
		return -1;
	entry->executable = file->executable;
	entry->source = file->source != NULL ? xstrdup(file->source) : NULL;
	entry->offset = file->offset;
	if (file->digest != NULL) {
		entry->digest = *file->digest;
		entry->hashed = true;
	}
	return 0;
}

int
capture_tree_add_symlink(struct capture_tree *tree, struct str path,
    struct str target, struct error *err)
{
	char printable[DIRECTORY_PRINTABLE_MAX];
	struct capture_entry *entry;

	if (directory_check_target(target, err) < 0) {
		error_prefix(err, "%s", directory_printable(path, printable));
		return -1;
	}
	entry = add_entry(tree, path, CAPTURE_SYMLINK, 0, err);
	if (entry == NULL)
		return -1;
	entry->target = xstrndup(target.data, target.len);
	return 0;
}

int
capture_tree_add_link(struct capture_tree *tree, struct str path,
    struct str existing, struct error *err)
{
	char printable[DIRECTORY_PRINTABLE_MAX], other[DIRECTORY_PRINTABLE_MAX];
	const struct capture_entry *entry = map_get(&tree->entries, existing);
	struct capture_file file;
	char *source;
	int rc;

	if (entry == NULL || entry->kind == CAPTURE_DIRECTORY)
		return error_set(err, ERROR_NOT_FOUND,
		    "%s is a hard link to %s, which is no earlier file",
		    directory_printable(path, printable),
		    directory_printable(existing, other));
	if (str_equal(path, existing))
		return 0;
	if (entry->kind == CAPTURE_SYMLINK) {
		source = xstrdup(entry->target);
		rc =
		    capture_tree_add_symlink(tree, path, str_from(source), err);
	} else {
		struct digest digest = entry->digest;

		source = entry->source != NULL ? xstrdup(entry->source) : NULL;
		file = (struct capture_file){entry->executable, source,
		    entry->offset, entry->size, entry->hashed ? &digest : NULL};
		rc = capture_tree_add_file(tree, path, &file, err);
	}
	free(source);
	return rc;
}

/* --- following links ------------------------------------------------------ */

/* Puts target before what is left of the path, *rest, both in memory that the
 * caller frees. */
static char *
substitute(const char *target, struct str rest)
{
	if (rest.data == NULL)
		return xstrdup(target);
	return xasprintf("%s/%.*s", target, STR_ARG(rest));
}

static void
drop_last_name(struct buffer *path)
{
	while (path->len > 0 && path->data[path->len - 1] != '/')
		path->len--;
	if (path->len > 0)
		path->len--;
	if (path->data != NULL)
		path->data[path->len] = '\0';
}

/* One name of the path: appended to done, or, when that is a link, replaced:
 * the new rest of the path is returned. -1 past the buffer's limit. */
static int
resolve_name(const struct capture_tree *tree, struct buffer *done,
    struct str name, struct str rest, char **again)
{
	const struct capture_entry *entry;

	*again = NULL;
	if (name.len == 0 || str_equal(name, STR(".")))
		return 0;
	if (str_equal(name, STR(".."))) {
		drop_last_name(done);
		return 0;
	}
	if (buffer_printf(
		done, "%s%.*s", done->len > 0 ? "/" : "", STR_ARG(name)) < 0)
		return -1;
	if (rest.data == NULL)
		return 0; /* the last name */
	entry = map_get(&tree->entries, buffer_str(done));
	if (entry == NULL || entry->kind != CAPTURE_SYMLINK)
		return 0;
	*again = substitute(entry->target, rest);
	drop_last_name(done);
	if (entry->target[0] == '/')
		buffer_reset(done);
	return 0;
}

char *
capture_tree_resolve(
    const struct capture_tree *tree, struct str path, struct error *err)
{
	char printable[DIRECTORY_PRINTABLE_MAX];
	char *held = xstrndup(path.data, path.len);
	struct str rest = str_from(held);
	struct buffer done;
	unsigned links = 0;

	buffer_init(&done, RESOLVE_BYTES_MAX);
	while (rest.data != NULL) {
		struct str name = str_cut(&rest, '/');
		char *again;

		if (resolve_name(tree, &done, name, rest, &again) < 0)
			links = LINKS_MAX;
		if (again != NULL) {
			free(held);
			held = again;
			rest = str_from(held);
			links++;
		}
		if (links >= LINKS_MAX) {
			error_set(err, ERROR_INVALID_ARGUMENT,
			    "%s goes through too many symbolic links",
			    directory_printable(path, printable));
			free(held);
			buffer_clear(&done);
			return NULL;
		}
	}
	free(held);
	return done.data != NULL ? done.data : xstrdup("");
}

/* --- the whole ------------------------------------------------------------ */

static int
compare_paths(const void *a, const void *b)
{
	const struct capture_entry *const *left = a;
	const struct capture_entry *const *right = b;

	return strcmp((*left)->path, (*right)->path);
}

struct capture_entry **
capture_tree_list(const struct capture_tree *tree, size_t *count)
{
	struct capture_entry **list =
	    xcalloc(tree->entries.count + 1, sizeof(struct capture_entry *));
	size_t position = 0;

	*count = 0;
	while ((list[*count] = map_next(&tree->entries, &position)) != NULL)
		++*count;
	qsort(list, *count, sizeof(struct capture_entry *), compare_paths);
	return list;
}

void
capture_tree_totals(
    const struct capture_tree *tree, struct capture_totals *totals)
{
	const struct capture_entry *entry;
	size_t position = 0;

	*totals = (struct capture_totals){.directories = 1};
	while ((entry = map_next(&tree->entries, &position)) != NULL) {
		totals->files += entry->kind == CAPTURE_FILE;
		totals->directories += entry->kind == CAPTURE_DIRECTORY;
		totals->symlinks += entry->kind == CAPTURE_SYMLINK;
		totals->bytes += entry->size;
	}
}

uint64_t
capture_tree_unique_bytes(const struct capture_tree *tree)
{
	struct capture_entry *entry;
	uint64_t bytes = 0;
	size_t position = 0;
	struct map seen;

	map_init(&seen);
	while ((entry = map_next(&tree->entries, &position)) != NULL) {
		if (entry->kind != CAPTURE_FILE || !entry->hashed ||
		    map_put(&seen, digest_key(&entry->digest), entry) != NULL)
			continue;
		bytes += entry->size;
	}
	map_clear(&seen);
	return bytes;
}

static int
build_entry(const struct capture_entry *entry, struct merkle_builder *builder,
    struct error *err)
{
	struct str path = str_from(entry->path);
	const struct merkle_file file = {
	    .digest = entry->digest, .executable = entry->executable};

	if (entry->kind == CAPTURE_DIRECTORY)
		return merkle_builder_add_directory(builder, path, err);
	if (entry->kind == CAPTURE_SYMLINK)
		return merkle_builder_add_symlink(
		    builder, path, str_from(entry->target), err);
	if (!entry->hashed)
		return error_set(
		    err, ERROR_INTERNAL, "%s has no digest", entry->path);
	return merkle_builder_add_file(builder, path, &file, err);
}

int
capture_tree_build(const struct capture_tree *tree,
    struct merkle_builder *builder, struct error *err)
{
	const struct capture_entry *entry;
	size_t position = 0;

	while ((entry = map_next(&tree->entries, &position)) != NULL) {
		if (build_entry(entry, builder, err) < 0)
			return -1;
	}
	return merkle_builder_finish(builder, err);
}
