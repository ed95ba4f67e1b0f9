/* SPDX-License-Identifier: Apache-2.0 */
/* The set is a hash table with open addressing; hashes are uniform already. */
#include "cas/keep.h"

#include <stdlib.h>
#include <string.h>

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/closure.h"
#include "cas/digest_list.h"
#include "cas/digest_message.h"
#include "cas/store.h"
#include "protos/arena_allocator.h"

#define KEEP_CAPACITY_MIN 1024
/* Actions and Commands; larger ones are refused by Execute. */
#define MESSAGE_MAX ((size_t)16 << 20)
#define UNPACKED_MAX ((size_t)96 << 20)

void
keep_init(struct keep *keep, struct store *store)
{
	memset(keep, 0, sizeof(*keep));
	keep->store = store;
}

void
keep_clear(struct keep *keep)
{
	free(keep->slots);
	keep->slots = NULL;
	keep->capacity = keep->count = 0;
}

static uint64_t
keep_key(const struct digest *digest)
{
	uint64_t key;

	memcpy(&key, digest->hash, sizeof(key));
	return key != 0 ? key : 1;
}

/* The slot of the key, or the free one where it would stand. */
static size_t
keep_slot(const struct keep *keep, uint64_t key)
{
	size_t slot = (size_t)key & (keep->capacity - 1);

	while (keep->slots[slot] != 0 && keep->slots[slot] != key)
		slot = (slot + 1) & (keep->capacity - 1);
	return slot;
}

static void
keep_grow(struct keep *keep)
{
	struct keep old = *keep;

	keep->capacity =
	    old.capacity == 0 ? KEEP_CAPACITY_MIN : 2 * old.capacity;
	keep->slots = xcalloc(keep->capacity, sizeof(*keep->slots));
	for (size_t i = 0; i < old.capacity; i++) {
		if (old.slots[i] != 0)
			keep->slots[keep_slot(keep, old.slots[i])] =
			    old.slots[i];
	}
	free(old.slots);
}

void
keep_add_blob(struct keep *keep, const struct digest *digest)
{
	uint64_t key = keep_key(digest);
	size_t slot;

	if (2 * keep->count >= keep->capacity)
		keep_grow(keep);
	slot = keep_slot(keep, key);
	if (keep->slots[slot] != 0)
		return;
	keep->slots[slot] = key;
	keep->count++;
}

bool
keep_has(const struct keep *keep, const struct digest *digest)
{
	uint64_t key = keep_key(digest);

	return keep->count > 0 && keep->slots[keep_slot(keep, key)] == key;
}

/* --- trees ---------------------------------------------------------------- */

static void
keep_add_list(struct keep *keep, const struct digest_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		keep_add_blob(keep, &list->items[i]);
		keep->tree_blobs++;
		keep->tree_bytes += list->items[i].size;
	}
}

/* 0 when the root may be incomplete for reasons of its own. */
static int
keep_broken(const struct digest *root, const struct error *err)
{
	char text[DIGEST_TEXT_MAX];

	if (err->code != ERROR_INVALID_ARGUMENT && err->code != ERROR_DATA_LOSS)
		return -1;
	log_warn("root_broken", "digest=%s error=\"%s\"",
	    digest_format(root, text), err->text);
	return 0;
}

int
keep_add_tree(struct keep *keep, const struct digest *root, struct error *err)
{
	const struct closure_source source =
	    closure_source_of_store(keep->store, root->function);
	struct digest_list files, directories, missing;
	const struct closure closure = {
	    .files = &files, .directories = &directories, .missing = &missing};
	char text[DIGEST_TEXT_MAX];
	int rc;

	digest_list_init(&files, CLOSURE_DIGESTS_MAX);
	digest_list_init(&directories, CLOSURE_DIRECTORIES_MAX);
	digest_list_init(&missing, CLOSURE_DIRECTORIES_MAX);
	keep_add_blob(keep, root);
	rc = closure_of_directory(&source, root, &closure, err);
	if (rc < 0)
		rc = keep_broken(root, err);
	else if (missing.count > 0)
		log_warn("root_incomplete", "digest=%s directories_missing=%zu",
		    digest_format(root, text), missing.count);
	keep->tree_blobs = keep->tree_bytes = 0;
	keep_add_list(keep, &files);
	keep_add_list(keep, &directories);
	digest_list_clear(&files);
	digest_list_clear(&directories);
	digest_list_clear(&missing);
	return rc;
}

/* --- actions -------------------------------------------------------------- */

static bool
property_names_root(ProtobufCBinaryData name)
{
	static const struct str prefixes[] = {
	    {"toolchain-root", 14}, {"chrootRootDigest", 16}};

	for (size_t i = 0; i < 2; i++) {
		if (name.len >= prefixes[i].len &&
		    memcmp(name.data, prefixes[i].data, prefixes[i].len) == 0)
			return true;
	}
	return false;
}

static int
keep_add_platform(struct keep *keep, enum digest_function function,
    const Reapi__Platform *platform, struct error *err)
{
	for (size_t i = 0; platform != NULL && i < platform->n_properties;
	     i++) {
		const Reapi__Platform__Property *property =
		    platform->properties[i];
		struct str value = {
		    (const char *)property->value.data, property->value.len};
		struct digest root;
		struct error ignored;

		/* A value that is no digest fails the action, not us. */
		if (!property_names_root(property->name) ||
		    digest_parse_text(function, value, &root, &ignored) < 0)
			continue;
		if (keep_add_tree(keep, &root, err) < 0)
			return -1;
	}
	return 0;
}

/* The message of a blob; NULL when it is absent or broken (*rc 0) or cannot be
 * read (*rc -1). */
static void *
keep_message(struct keep *keep, const struct digest *digest,
    const ProtobufCMessageDescriptor *descriptor, struct arena *arena, int *rc,
    struct error *err)
{
	struct buffer content;
	void *message = NULL;
	int found;

	buffer_init(&content, MESSAGE_MAX);
	found = store_read(keep->store, digest, &content, err);
	if (found == 1)
		message =
		    protos_unpack(arena, descriptor, buffer_str(&content), err);
	*rc = 0;
	if (found < 0 || (found == 1 && message == NULL))
		*rc = keep_broken(digest, err);
	buffer_clear(&content);
	return message;
}

static int
keep_add_parts(struct keep *keep, enum digest_function function,
    const Reapi__Action *action, struct arena *arena, struct error *err)
{
	const Reapi__Command *command;
	struct digest digest;
	struct error ignored;
	int rc = 0;

	if (digest_from_message(
		function, action->input_root_digest, &digest, &ignored) == 0 &&
	    keep_add_tree(keep, &digest, err) < 0)
		return -1;
	if (keep_add_platform(keep, function, action->platform, err) < 0)
		return -1;
	if (digest_from_message(
		function, action->command_digest, &digest, &ignored) < 0)
		return 0;
	keep_add_blob(keep, &digest);
	command = keep_message(
	    keep, &digest, &reapi__command__descriptor, arena, &rc, err);
	if (command == NULL)
		return rc;
	return keep_add_platform(keep, function, command->platform, err);
}

int
keep_add_action(
    struct keep *keep, const struct digest *action, struct error *err)
{
	const Reapi__Action *message;
	struct arena arena;
	int rc = 0;

	keep_add_blob(keep, action);
	arena_init(&arena, UNPACKED_MAX);
	message = keep_message(
	    keep, action, &reapi__action__descriptor, &arena, &rc, err);
	if (message != NULL)
		rc = keep_add_parts(
		    keep, action->function, message, &arena, err);
	arena_clear(&arena);
	return rc;
}
