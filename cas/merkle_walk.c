/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depth-first, with a stack of its own. A node is NEW until it is read, OPEN
 * while what is below it is walked, then DONE with its height known, so that a
 * second reference costs one look-up and still counts for the depth.
 */
#include "cas/merkle_walk.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"
#include "cas/closure.h"
#include "cas/digest_message.h"
#include "cas/directory.h"

/* Nodes and their names: some 500 bytes for each directory allowed. */
#define NODE_MEMORY_MAX ((size_t)CLOSURE_DIRECTORIES_MAX * 512)

enum node_state { NODE_NEW, NODE_OPEN, NODE_DONE };

struct node {
	struct digest digest;      /* its key in the map */
	const struct node *parent; /* who referred to it first; NULL = root */
	const char *name;          /* by which the parent did */
	uint32_t height;           /* directories below it, so far */
	uint64_t entries;          /* of the tree laid out, so far */
	enum node_state state;
};

struct merkle_walk {
	struct merkle_walk_options options;
	struct map nodes;      /* digest -> struct node */
	struct arena memory;   /* the nodes and their names */
	struct node **pending; /* the stack: to be entered, left or raised */
	size_t pending_count;
	size_t pending_capacity;
	struct node *open[CLOSURE_DEPTH_MAX]; /* from the root down */
	uint32_t depth;                       /* how many are open */
};

struct merkle_walk *
merkle_walk_new(const struct merkle_walk_options *options)
{
	struct merkle_walk *walk = xcalloc(1, sizeof(*walk));

	walk->options = *options;
	map_init(&walk->nodes);
	arena_init(&walk->memory, NODE_MEMORY_MAX);
	return walk;
}

void
merkle_walk_free(struct merkle_walk *walk)
{
	if (walk == NULL)
		return;
	map_clear(&walk->nodes);
	arena_clear(&walk->memory);
	free(walk->pending);
	free(walk);
}

/* Prefixes err with the path of node. */
static int
node_prefix(const struct node *node, struct error *err)
{
	const char *names[CLOSURE_DEPTH_MAX];
	bool is_root = node->parent == NULL;
	size_t count = 0;
	char path[2 * DIRECTORY_PRINTABLE_MAX];
	size_t len = 0;
	char printable[DIRECTORY_PRINTABLE_MAX];

	for (; node->parent != NULL && count < CLOSURE_DEPTH_MAX;
	     node = node->parent)
		names[count++] = node->name;
	while (count-- > 0 && len < sizeof(path))
		len += (size_t)snprintf(
		    path + len, sizeof(path) - len, "%s/", names[count]);
	if (len >= sizeof(path))
		len = sizeof(path) - 1;
	if (is_root)
		error_prefix(err, "root directory");
	else
		error_prefix(err, "directory \"%s\"",
		    directory_printable((struct str){path, len}, printable));
	return -1;
}

static int
node_fail(const struct node *node, const char *text, unsigned limit,
    struct error *err)
{
	error_set(
	    err, ERROR_INVALID_ARGUMENT, "%s (the limit is %u)", text, limit);
	return node_prefix(node, err);
}

static int
walk_push(struct merkle_walk *walk, struct node *node, struct error *err)
{
	if (walk->pending_count == CLOSURE_DIGESTS_MAX)
		return node_fail(node, "the tree has too many entries",
		    CLOSURE_DIGESTS_MAX, err);
	if (walk->pending_count == walk->pending_capacity) {
		walk->pending_capacity = walk->pending_capacity > 0
					     ? walk->pending_capacity * 2
					     : 64;
		walk->pending = xreallocarray(walk->pending,
		    walk->pending_capacity, sizeof(struct node *));
	}
	walk->pending[walk->pending_count++] = node;
	return 0;
}

/* The node of digest, made when this is the first reference to it. NULL at the
 * limits. */
static struct node *
walk_node(struct merkle_walk *walk, const struct node *parent, struct str name,
    const struct digest *digest)
{
	struct node *node = map_get(&walk->nodes, digest_key(digest));

	if (node != NULL)
		return node;
	if (walk->nodes.count == CLOSURE_DIRECTORIES_MAX)
		return NULL;
	node = arena_zalloc(&walk->memory, 1, sizeof(*node));
	if (node == NULL)
		return NULL;
	node->digest = *digest;
	node->parent = parent;
	node->name = arena_copy(&walk->memory, name);
	if (node->name == NULL)
		return NULL;
	map_put(&walk->nodes, digest_key(&node->digest), node);
	return node;
}

/* The innermost open directory has a child that is done. */
static int
walk_raise(
    struct merkle_walk *walk, const struct node *child, struct error *err)
{
	struct node *parent;

	if (walk->depth == 0)
		return 0;
	parent = walk->open[walk->depth - 1];
	/* Once for each reference: forty directories that each name the next
	 * one twice would lay out as 2^40. */
	if (__builtin_add_overflow(
		parent->entries, child->entries, &parent->entries))
		parent->entries = UINT64_MAX;
	if (walk->options.entries_max > 0 &&
	    parent->entries > walk->options.entries_max)
		return node_fail(parent,
		    "the tree has too many entries once laid out",
		    (unsigned)walk->options.entries_max, err);
	if (parent->height < child->height + 1)
		parent->height = child->height + 1;
	if (walk->depth + parent->height > CLOSURE_DEPTH_MAX)
		return node_fail(
		    child, "the tree is too deep", CLOSURE_DEPTH_MAX, err);
	return 0;
}

static int
walk_child(struct merkle_walk *walk, const struct node *parent,
    const Reapi__DirectoryNode *reference, struct error *err)
{
	struct digest digest;
	struct node *child;

	if (digest_from_message(
		walk->options.function, reference->digest, &digest, err) < 0)
		return node_prefix(parent, err);
	child =
	    walk_node(walk, parent, directory_str(reference->name), &digest);
	if (child == NULL)
		return node_fail(parent, "the tree has too many directories",
		    CLOSURE_DIRECTORIES_MAX, err);
	if (child->state == NODE_DONE)
		return walk_raise(walk, child, err);
	if (child->state == NODE_NEW)
		return walk_push(walk, child, err);
	error_set(err, ERROR_INVALID_ARGUMENT, "the directory contains itself");
	return node_prefix(child, err);
}

static int
walk_read(struct merkle_walk *walk, struct node *node, struct str bytes,
    struct error *err)
{
	const struct merkle_walk_options *options = &walk->options;
	struct arena arena;
	Reapi__Directory *directory;
	int rc = -1;

	arena_init(&arena, directory_memory(bytes.len));
	directory = directory_decode(&arena, bytes, options->function, err);
	if (directory == NULL) {
		node_prefix(node, err);
		goto out;
	}
	if (options->visit(options->cookie, &node->digest, directory, err) < 0)
		goto out;
	node->entries = directory->n_files + directory->n_directories +
			directory->n_symlinks;
	/* Backwards, so that the stack gives them in order. */
	for (size_t i = directory->n_directories; i-- > 0;) {
		if (walk_child(walk, node, directory->directories[i], err) < 0)
			goto out;
	}
	rc = 0;
out:
	arena_clear(&arena);
	return rc;
}

static int
walk_enter(struct merkle_walk *walk, struct node *node, struct error *err)
{
	const struct merkle_walk_options *options = &walk->options;
	struct str bytes = {"", 0};
	int found;

	if (walk->depth == CLOSURE_DEPTH_MAX)
		return node_fail(
		    node, "the tree is too deep", CLOSURE_DEPTH_MAX, err);
	found = options->load(options->cookie, &node->digest, &bytes, err);
	if (found < 0)
		return node_prefix(node, err);
	if (found == 0) {
		node->state = NODE_DONE;
		return options->visit(
		    options->cookie, &node->digest, NULL, err);
	}
	node->state = NODE_OPEN;
	walk->open[walk->depth++] = node;
	return walk_read(walk, node, bytes, err);
}

static int
walk_step(struct merkle_walk *walk, struct error *err)
{
	struct node *node = walk->pending[walk->pending_count - 1];

	if (node->state == NODE_NEW)
		return walk_enter(walk, node, err);
	walk->pending_count--;
	/* An open node on top of the stack is the innermost one: what was
	 * pushed after it is gone, and no child is pushed while open. */
	if (node->state == NODE_OPEN) {
		walk->depth--;
		node->state = NODE_DONE;
	}
	return walk_raise(walk, node, err);
}

int
merkle_walk_run(
    struct merkle_walk *walk, const struct digest *root, struct error *err)
{
	struct node *node = walk_node(walk, NULL, STR(""), root);

	if (node == NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the trees have too many directories (the limit is %u)",
		    CLOSURE_DIRECTORIES_MAX);
	if (walk_push(walk, node, err) < 0)
		return -1;
	while (walk->pending_count > 0) {
		if (walk_step(walk, err) < 0)
			return -1;
	}
	return 0;
}
