/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two Merkle trees side by side: a stack of the pairs of directories that
 * differ, in the order of paths. A directory that is on one side only is told
 * as such and not read. Most of two directories is the same: only what is not
 * is decoded.
 */
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "cas/closure.h"
#include "cas/digest_message.h"
#include "cas/directory.h"
#include "executor/explain_internal.h"
#include "executor/message_difference.h"

struct pair {
	const char *prefix; /* in the scratch arena */
	struct digest before;
	struct digest after;
	size_t depth;
};

struct comparison {
	struct explainer_work *work;
	const struct explain_tree *tree;
	struct pair *stack;
	size_t count;
	size_t capacity;
	struct buffer contents[2]; /* of the pair that is compared */
};

/* An entry of a directory, of whatever kind. */
struct entry {
	struct str name;
	struct digest digest;
	struct str target; /* of a link */
	enum { ENTRY_FILE, ENTRY_DIRECTORY, ENTRY_LINK } type;
	bool executable;
};

struct entries {
	struct entry *items;
	size_t count;
};

/* --- entries --------------------------------------------------------------
 */

static int
compare_names(const void *a, const void *b)
{
	const struct entry *left = a;
	const struct entry *right = b;

	return str_compare(left->name, right->name);
}

/* The digests were checked when it was decoded. */
static void
entry_digest(enum digest_function function, const Reapi__Digest *message,
    struct entry *entry)
{
	struct error ignored;

	if (digest_from_message(function, message, &entry->digest, &ignored) <
	    0)
		digest_empty(function, &entry->digest);
}

static struct entries
list_entries(const Reapi__Directory *directory, enum digest_function function)
{
	struct entries list = {.count = 0};

	list.items = xcalloc(directory->n_files + directory->n_directories +
				 directory->n_symlinks + 1,
	    sizeof(*list.items));
	for (size_t i = 0; i < directory->n_files; i++) {
		const Reapi__FileNode *node = directory->files[i];
		struct entry *entry = &list.items[list.count++];

		*entry = (struct entry){.name = directory_str(node->name),
		    .type = ENTRY_FILE,
		    .executable = node->is_executable};
		entry_digest(function, node->digest, entry);
	}
	for (size_t i = 0; i < directory->n_directories; i++) {
		const Reapi__DirectoryNode *node = directory->directories[i];
		struct entry *entry = &list.items[list.count++];

		*entry = (struct entry){
		    .name = directory_str(node->name), .type = ENTRY_DIRECTORY};
		entry_digest(function, node->digest, entry);
	}
	for (size_t i = 0; i < directory->n_symlinks; i++) {
		const Reapi__SymlinkNode *node = directory->symlinks[i];

		list.items[list.count++] =
		    (struct entry){.name = directory_str(node->name),
			.type = ENTRY_LINK,
			.target = directory_str(node->target)};
	}
	qsort(list.items, list.count, sizeof(*list.items), compare_names);
	return list;
}

static const char *
describe(struct explainer_work *work, const struct entry *entry)
{
	if (entry == NULL)
		return NULL;
	if (entry->type == ENTRY_DIRECTORY)
		return "directory";
	if (entry->type == ENTRY_FILE)
		return entry->executable ? "executable" : "file";
	return arena_printf(
	    &work->out->arena, "link to %s", explain_text(work, entry->target));
}

/* Either may be NULL, not both. */
static void
tell(struct comparison *comparison, const char *prefix,
    const struct entry *before, const struct entry *after)
{
	struct explainer_work *work = comparison->work;
	struct str name = before != NULL ? before->name : after->name;
	struct explain_change change = {.kind = comparison->tree->kind};

	/* Past the limit only the count matters. */
	if (work->out->count < work->left.changes) {
		change.name = arena_printf(
		    &work->out->arena, "%s%.*s", prefix, STR_ARG(name));
		change.before = describe(work, before);
		change.after = describe(work, after);
	}
	if (before != NULL && before->type != ENTRY_LINK) {
		change.before_digest = before->digest;
		change.has_before_digest = true;
	}
	if (after != NULL && after->type != ENTRY_LINK) {
		change.after_digest = after->digest;
		change.has_after_digest = true;
	}
	explain_add(work, comparison->tree->cause, &change);
}

/* --- directories ----------------------------------------------------------
 */

static void
push(struct comparison *comparison, const struct pair *pair)
{
	if (comparison->count == comparison->capacity) {
		comparison->capacity =
		    comparison->capacity > 0 ? comparison->capacity * 2 : 16;
		comparison->stack = xreallocarray(comparison->stack,
		    comparison->capacity, sizeof(*comparison->stack));
	}
	comparison->stack[comparison->count++] = *pair;
}

static void
compare_entry(struct comparison *comparison, const struct pair *parent,
    const struct entry *before, const struct entry *after)
{
	struct explainer_work *work = comparison->work;
	struct pair pair = {.depth = parent->depth + 1};

	if (before->type != after->type) {
		tell(comparison, parent->prefix, before, after);
		return;
	}
	if (before->type == ENTRY_LINK) {
		if (!str_equal(before->target, after->target))
			tell(comparison, parent->prefix, before, after);
		return;
	}
	if (digest_equal(&before->digest, &after->digest) &&
	    before->executable == after->executable)
		return;
	if (before->type == ENTRY_FILE) {
		tell(comparison, parent->prefix, before, after);
		return;
	}
	pair.before = before->digest;
	pair.after = after->digest;
	pair.prefix = arena_printf(
	    &work->scratch, "%s%.*s/", parent->prefix, STR_ARG(before->name));
	if (pair.prefix == NULL || pair.depth > CLOSURE_DEPTH_MAX ||
	    comparison->count >= work->left.directories)
		explain_incomplete(
		    work, "the limit on directories to read is reached");
	else
		push(comparison, &pair);
}

/* Backwards over the directories, as the stack turns them round. */
static void
compare_entries(struct comparison *comparison, const struct pair *pair,
    const struct entries *before, const struct entries *after)
{
	size_t first = comparison->count;
	size_t i = 0, j = 0;

	for (;;) {
		const struct entry *a =
		    i < before->count ? &before->items[i] : NULL;
		const struct entry *b =
		    j < after->count ? &after->items[j] : NULL;
		int order = a != NULL && b != NULL ? compare_names(a, b) : 0;

		if (a == NULL && b == NULL)
			break;
		if (a != NULL && b != NULL && order == 0)
			compare_entry(comparison, pair, a, b);
		else if (b == NULL || (a != NULL && order < 0))
			tell(comparison, pair->prefix, a, NULL);
		else
			tell(comparison, pair->prefix, NULL, b);
		i += a != NULL && order <= 0;
		j += b != NULL && order >= 0;
	}
	for (size_t last = comparison->count; first + 1 < last; first++) {
		struct pair swapped = comparison->stack[first];

		comparison->stack[first] = comparison->stack[--last];
		comparison->stack[last] = swapped;
	}
}

/* The entries of what is left of a message. */
static int
list_side(struct comparison *comparison, struct arena *arena, struct str bytes,
    struct entries *list, struct error *err)
{
	enum digest_function function = comparison->work->source->function;
	const Reapi__Directory *directory;

	arena_init(arena, directory_memory(bytes.len));
	directory = directory_decode(arena, bytes, function, err);
	if (directory == NULL)
		return -1;
	*list = list_entries(directory, function);
	return 0;
}

static int
compare_messages(struct comparison *comparison, const struct pair *pair,
    struct str before, struct str after, struct error *err)
{
	struct arena arenas[2] = {{.cap = 0}, {.cap = 0}};
	struct entries a = {.items = NULL}, b = {.items = NULL};
	int rc;

	message_difference(&before, &after);
	rc = list_side(comparison, &arenas[0], before, &a, err);
	if (rc == 0)
		rc = list_side(comparison, &arenas[1], after, &b, err);
	if (rc == 0)
		compare_entries(comparison, pair, &a, &b);
	free(a.items);
	free(b.items);
	arena_clear(&arenas[0]);
	arena_clear(&arenas[1]);
	return rc;
}

/* 1, 0 when it is absent and noted, -1. */
static int
load(struct explainer_work *work, const struct digest *digest,
    struct buffer *content, struct error *err)
{
	char text[DIGEST_TEXT_MAX];
	int found = explain_read(work, digest, content, err);

	if (found == 0)
		explain_incomplete(work, "the directory %s is not in the store",
		    digest_format(digest, text));
	return found;
}

static int
compare_pair(
    struct comparison *comparison, const struct pair *pair, struct error *err)
{
	struct explainer_work *work = comparison->work;
	struct buffer *before = &comparison->contents[0];
	struct buffer *after = &comparison->contents[1];
	int rc = load(work, &pair->before, before, err);

	if (rc > 0)
		rc = load(work, &pair->after, after, err);
	if (rc > 0)
		rc = compare_messages(comparison, pair, buffer_str(before),
		    buffer_str(after), err);
	return rc < 0 ? -1 : 0;
}

int
explain_trees(struct explainer_work *work, const struct explain_tree *tree,
    struct error *err)
{
	struct comparison comparison = {.work = work, .tree = tree};
	const struct pair root = {tree->prefix, tree->before, tree->after, 0};
	size_t told = work->out->total;
	int rc = 0;

	if (digest_equal(&tree->before, &tree->after))
		return 0;
	work->differs[tree->cause] = true;
	for (size_t i = 0; i < 2; i++)
		buffer_init(&comparison.contents[i], EXPLAIN_MESSAGE_MAX);
	push(&comparison, &root);
	while (rc == 0 && comparison.count > 0 &&
	       (!work->left.first_only || work->out->total == told)) {
		const struct pair pair = comparison.stack[--comparison.count];

		if (work->left.directories == 0) {
			explain_incomplete(work,
			    "the limit on directories to read is reached");
			break;
		}
		work->left.directories--;
		rc = compare_pair(&comparison, &pair, err);
	}
	for (size_t i = 0; i < 2; i++)
		buffer_clear(&comparison.contents[i]);
	free(comparison.stack);
	return rc;
}
