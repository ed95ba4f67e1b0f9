/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a Tree message in place: an index of its directories by digest, which
 * the walk then loads from. Pure. */
#include "cas/tree.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"
#include "cas/closure.h"
#include "cas/digest_message.h"
#include "cas/merkle_walk.h"
#include "protos/wire.h"

#define FIELD_ROOT 1
#define FIELD_CHILDREN 2

struct member {
	struct digest digest;
	struct str bytes;
};

struct tree {
	const struct tree_options *options;
	struct member *members; /* the root, then the children in order */
	size_t count;
	size_t capacity;
	struct map by_digest; /* -> struct member; the first of equal ones */
	size_t visited;
};

static void
tree_add(struct tree *tree, struct str bytes)
{
	if (tree->count == tree->capacity) {
		tree->capacity = tree->capacity > 0 ? tree->capacity * 2 : 16;
		tree->members = xreallocarray(
		    tree->members, tree->capacity, sizeof(*tree->members));
	}
	tree->members[tree->count++].bytes = bytes;
}

/* Splits the message into its directories. */
static int
tree_split(struct tree *tree, struct str bytes, struct error *err)
{
	struct wire_field field;
	bool root = false;
	int more;

	tree_add(tree, (struct str){"", 0});
	while ((more = wire_next(&bytes, &field)) == 1) {
		if (field.number != FIELD_ROOT &&
		    field.number != FIELD_CHILDREN)
			continue;
		if (field.type != WIRE_BYTES)
			goto malformed;
		if (tree->count > CLOSURE_DIRECTORIES_MAX)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "the Tree has more than %u directories",
			    CLOSURE_DIRECTORIES_MAX);
		if (field.number == FIELD_CHILDREN) {
			tree_add(tree, field.bytes);
			continue;
		}
		if (root)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "the Tree has two roots");
		root = true;
		tree->members[0].bytes = field.bytes;
	}
	if (more == 0)
		return 0;
malformed:
	return error_set(
	    err, ERROR_INVALID_ARGUMENT, "the Tree is no well-formed message");
}

static int
tree_index(struct tree *tree, struct error *err)
{
	for (size_t i = 0; i < tree->count; i++) {
		struct member *member = &tree->members[i];
		struct str key;

		digest_compute(tree->options->function, member->bytes.data,
		    member->bytes.len, &member->digest);
		key = digest_key(&member->digest);
		if (map_get(&tree->by_digest, key) == NULL)
			map_put(&tree->by_digest, key, member);
		else if (tree->options->sorted)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "the Tree claims to be sorted, but its directory "
			    "%zu stands in it twice",
			    i);
	}
	return 0;
}

static int
tree_load(void *cookie, const struct digest *digest, struct str *bytes,
    struct error *err)
{
	struct tree *tree = cookie;
	const struct member *member =
	    map_get(&tree->by_digest, digest_key(digest));
	char text[DIGEST_TEXT_MAX];

	if (member == NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "%s is not in the Tree", digest_format(digest, text));
	*bytes = member->bytes;
	return 1;
}

static int
tree_check_order(struct tree *tree, const struct member *parent,
    const Reapi__Directory *directory, struct error *err)
{
	for (size_t i = 0; i < directory->n_directories; i++) {
		const struct member *child;
		struct digest digest;

		if (digest_from_message(tree->options->function,
			directory->directories[i]->digest, &digest, err) < 0)
			return -1;
		child = map_get(&tree->by_digest, digest_key(&digest));
		if (child != NULL && child <= parent)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "the Tree claims to be sorted, but its directory "
			    "%zu stands before its parent",
			    (size_t)(child - tree->members));
	}
	return 0;
}

static int
tree_visit(void *cookie, const struct digest *digest,
    const Reapi__Directory *directory, struct error *err)
{
	struct tree *tree = cookie;
	const struct member *member =
	    map_get(&tree->by_digest, digest_key(digest));

	tree->visited++;
	if (tree->options->sorted &&
	    tree_check_order(tree, member, directory, err) < 0)
		return -1;
	return tree->options->visit(
	    tree->options->cookie, digest, directory, err);
}

int
tree_walk(struct str bytes, const struct tree_options *options,
    struct digest *root, struct error *err)
{
	struct tree tree = {.options = options};
	struct merkle_walk_options walk_options = {
	    options->function, tree_load, tree_visit, &tree, 0};
	struct merkle_walk *walk = merkle_walk_new(&walk_options);
	int rc = -1;

	map_init(&tree.by_digest);
	if (tree_split(&tree, bytes, err) < 0 || tree_index(&tree, err) < 0)
		goto out;
	*root = tree.members[0].digest;
	if (merkle_walk_run(walk, root, err) < 0)
		goto out;
	if (options->sorted && tree.visited != tree.count) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "the Tree claims to be sorted, but no directory refers to "
		    "%zu of its children",
		    tree.count - tree.visited);
		goto out;
	}
	rc = 0;
out:
	merkle_walk_free(walk);
	map_clear(&tree.by_digest);
	free(tree.members);
	return rc;
}
