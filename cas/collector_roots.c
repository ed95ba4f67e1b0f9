/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a collection must not touch: below pins, below names of toolchains, and
 * what the server's operations need. The collecting thread.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/collector_details.h"
#include "cas/collector_internal.h"
#include "cas/names.h"
#include "cas/pins.h"

/* --- pins ----------------------------------------------------------------- */

/* Records what a root keeps, for those who ask. */
static struct collection_root *
roots_note(struct collection *collection, enum collection_root_kind kind,
    struct str name)
{
	struct collection_details *details = collection->wish->details;

	return details != NULL ? collection_details_root(details, kind, name)
			       : NULL;
}

static int
roots_keep_pin(void *cookie, const struct pin *pin, struct error *err)
{
	struct collection *collection = cookie;
	struct collection_root *root =
	    roots_note(collection, ROOT_PIN, pin->name);

	collection->keep.roots++;
	if (root != NULL) {
		root->digest = pin->digest;
		root->blobs = 1;
		root->bytes = pin->digest.size;
	}
	if (pin->kind == PIN_BLOB) {
		keep_add_blob(&collection->keep, &pin->digest);
		return 0;
	}
	if (keep_add_tree(&collection->keep, &pin->digest, err) < 0)
		return -1;
	if (root != NULL) {
		root->blobs = collection->keep.tree_blobs;
		root->bytes = collection->keep.tree_bytes;
	}
	return 0;
}

/* --- names of toolchains ---------------------------------------------------
 */

struct named {
	uint8_t instance[NAMES_INSTANCE_LENGTH];
	char name[NAMES_NAME_MAX + 1];
	struct digest root;
	int64_t created_ns;
	int64_t used_ns;
	bool dropped;
};

struct named_list {
	struct named *items; /* owned */
	size_t count;
	size_t capacity;
};

static int
named_note(void *cookie, struct str name, const struct name_entry *entry,
    struct error *err)
{
	struct named_list *list = cookie;
	struct named *named;

	if (name.len > NAMES_NAME_MAX)
		return error_set(err, ERROR_DATA_LOSS,
		    "store index: the name of a toolchain is too long");
	if (list->count == list->capacity) {
		list->capacity = 2 * list->capacity + 16;
		list->items = xreallocarray(
		    list->items, list->capacity, sizeof(*list->items));
	}
	named = &list->items[list->count++];
	memset(named, 0, sizeof(*named));
	memcpy(named->instance, entry->instance, sizeof(named->instance));
	memcpy(named->name, name.data, name.len);
	named->root = entry->root;
	named->created_ns = named->used_ns = entry->created_ns;
	return 0;
}

/* By instance, the latest first. */
static int
named_order(const void *a, const void *b)
{
	const struct named *one = a, *other = b;
	int order =
	    memcmp(one->instance, other->instance, sizeof(one->instance));

	if (order != 0)
		return order;
	if (one->used_ns != other->used_ns)
		return one->used_ns > other->used_ns ? -1 : 1;
	return strcmp(one->name, other->name);
}

/* A toolchain is used when its root was found last; without touching it. */
static int
named_look(
    struct collection *collection, struct named *named, struct error *err)
{
	struct store_index *index = collection->store->index;
	struct index_state state;
	struct place place;
	MDB_txn *txn;
	int found;

	if (index_read_begin(index, &txn, err) < 0)
		return -1;
	found = -1;
	if (index_state(index, txn, &state, err) == 0)
		found = index_find(index, txn, &named->root, &place, err);
	index_read_end(index, txn);
	if (found == 1) {
		int64_t used_ns =
		    (int64_t)collection_epoch(place.epoch, &state) *
		    60000000000;

		if (used_ns > named->used_ns)
			named->used_ns = used_ns;
	}
	return found < 0 ? -1 : 0;
}

/* Marks those beyond the wish's number in each instance, unless they were used
 * within min_age. */
static int
named_choose(
    struct collection *collection, struct named_list *list, struct error *err)
{
	int64_t limit_ns = (int64_t)collection->limit * 60000000000;
	uint64_t rank = 0;

	for (size_t i = 0; i < list->count; i++) {
		if (named_look(collection, &list->items[i], err) < 0)
			return -1;
	}
	if (list->count > 0)
		qsort(list->items, list->count, sizeof(*list->items),
		    named_order);
	for (size_t i = 0; i < list->count; i++) {
		struct named *named = &list->items[i];

		if (i > 0 && memcmp(named->instance, named[-1].instance,
				 sizeof(named->instance)) != 0)
			rank = 0;
		named->dropped = ++rank > collection->wish->keep_toolchains &&
				 !collection->limited_out &&
				 named->used_ns <= limit_ns;
	}
	return 0;
}

/* 1 when it is gone, or would be; 0 when it was put anew meanwhile; -1. */
static int
named_drop(
    struct collection *collection, const struct named *named, struct error *err)
{
	const struct name_entry seen = {.root = named->root,
	    .created_ns = named->created_ns,
	    .instance = named->instance};
	int rc = 1;

	if (collection->wish->run)
		rc = names_drop(
		    collection->store, str_from(named->name), &seen, err);
	if (rc != 1)
		return rc;
	collection->report->dropped_names++;
	if (collection->wish->run)
		log_info("toolchain_name_removed", "name=\"%s\" reason=\"gc\"",
		    named->name);
	return 1;
}

static int
named_keep(
    struct collection *collection, const struct named *named, struct error *err)
{
	struct collection_root *root =
	    roots_note(collection, ROOT_TOOLCHAIN, str_from(named->name));
	int dropped = 0;

	if (named->dropped)
		dropped = named_drop(collection, named, err);
	if (dropped < 0)
		return -1;
	if (root != NULL) {
		root->digest = named->root;
		root->dropped = dropped == 1;
	}
	if (dropped == 1)
		return 0;
	collection->keep.roots++;
	if (keep_add_tree(&collection->keep, &named->root, err) < 0)
		return -1;
	if (root != NULL) {
		root->blobs = collection->keep.tree_blobs;
		root->bytes = collection->keep.tree_bytes;
	}
	return 0;
}

/* Their trees are walked when the walk over the names has ended. */
static int
roots_keep_names(struct collection *collection, struct error *err)
{
	struct named_list list = {NULL, 0, 0};
	int rc = names_each(collection->store, named_note, &list, err);

	if (rc >= 0 && collection->wish->limit_toolchains)
		rc = named_choose(collection, &list, err);
	for (size_t i = 0; rc >= 0 && i < list.count; i++)
		rc = named_keep(collection, &list.items[i], err);
	free(list.items);
	return rc < 0 ? -1 : 0;
}

/* --- operations ------------------------------------------------------------
 */

static int
roots_keep_operations(struct collection *collection,
    const struct collector_options *options, struct error *err)
{
	size_t before = collection->keep.count;
	struct collection_root *root;

	if (options->roots == NULL)
		return 0;
	if (options->roots(options->cookie, &collection->keep, err) < 0)
		return -1;
	root = roots_note(
	    collection, ROOT_OPERATIONS, STR("queued and running operations"));
	if (root != NULL)
		root->blobs = collection->keep.count - before;
	return 0;
}

int
collection_roots(struct collection *collection,
    const struct collector_options *options, struct error *err)
{
	if (pins_list(collection->store, roots_keep_pin, collection, err) < 0 ||
	    roots_keep_names(collection, err) < 0 ||
	    roots_keep_operations(collection, options, err) < 0)
		return -1;
	collection->report->roots = collection->keep.roots;
	return 0;
}
