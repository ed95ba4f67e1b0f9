/* SPDX-License-Identifier: Apache-2.0 */
/* Pins in the table meta, under "pin:" and their name. */
#include "cas/pins.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/closure.h"
#include "cas/digest_list.h"
#include "cas/index_job.h"
#include "cas/little_endian.h"
#include "cas/store_internal.h"

#define PREFIX "pin:"
#define PREFIX_LENGTH (sizeof(PREFIX) - 1)
#define VALUE_MAX (18 + DIGEST_HASH_MAX)
/* Pins that one transaction reads. */
#define WALK_BATCH 64

struct pin_bytes {
	char key[PREFIX_LENGTH + PIN_NAME_MAX];
	uint8_t value[VALUE_MAX];
	size_t key_length;
	size_t value_length; /* 0 removes */
	bool changed;
};

/* --- keys and values ------------------------------------------------------ */

static int
pin_encode_name(struct str name, struct pin_bytes *bytes, struct error *err)
{
	if (name.len == 0 || name.len > PIN_NAME_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the name of a pin has 1 to %d bytes, not %zu",
		    PIN_NAME_MAX, name.len);
	for (size_t i = 0; i < name.len; i++) {
		if ((unsigned char)name.data[i] < 0x20 || name.data[i] == 0x7f)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "the name of a pin has a control character at "
			    "byte %zu",
			    i + 1);
	}
	memcpy(bytes->key, PREFIX, PREFIX_LENGTH);
	memcpy(bytes->key + PREFIX_LENGTH, name.data, name.len);
	bytes->key_length = PREFIX_LENGTH + name.len;
	return 0;
}

static void
pin_encode_value(const struct pin *pin, struct pin_bytes *bytes)
{
	size_t length = digest_hash_length(pin->digest.function);

	little_endian_put64(bytes->value, (uint64_t)pin->created_ns);
	bytes->value[8] = (uint8_t)pin->kind;
	bytes->value[9] = (uint8_t)pin->digest.function;
	little_endian_put64(bytes->value + 10, pin->digest.size);
	memcpy(bytes->value + 18, pin->digest.hash, length);
	bytes->value_length = 18 + length;
}

/* The name points into the key. */
static int
pin_decode(struct str key, struct str value, struct pin *pin, struct error *err)
{
	const uint8_t *in = (const uint8_t *)value.data;
	size_t length;

	memset(pin, 0, sizeof(*pin));
	pin->name =
	    (struct str){key.data + PREFIX_LENGTH, key.len - PREFIX_LENGTH};
	if (value.len < 18)
		goto malformed;
	pin->created_ns = (int64_t)little_endian_get64(in);
	pin->kind = (enum pin_kind)in[8];
	pin->digest.function = (enum digest_function)in[9];
	pin->digest.size = little_endian_get64(in + 10);
	length = digest_hash_length(pin->digest.function);
	if (length == 0 || value.len != 18 + length ||
	    (pin->kind != PIN_BLOB && pin->kind != PIN_TREE))
		goto malformed;
	memcpy(pin->digest.hash, in + 18, length);
	return 0;
malformed:
	return error_set(err, ERROR_DATA_LOSS,
	    "store index: the pin \"%.*s\" is malformed", STR_ARG(pin->name));
}

bool
pin_entry_is_sound(struct str key, struct str value)
{
	struct error ignored;
	struct pin pin;

	return str_starts_with(key, STR(PREFIX)) && key.len > PREFIX_LENGTH &&
	       key.len <= PREFIX_LENGTH + PIN_NAME_MAX &&
	       pin_decode(key, value, &pin, &ignored) == 0;
}

/* --- changing ------------------------------------------------------------- */

static int
pin_absent(const struct pin *pin, const struct digest *digest, size_t count,
    struct error *err)
{
	char text[DIGEST_TEXT_MAX];

	return error_set(err, ERROR_FAILED_PRECONDITION,
	    "the pin \"%.*s\" names %zu blobs that are not in the store, the "
	    "first is %s; upload them before",
	    STR_ARG(pin->name), count, digest_format(digest, text));
}

static int
pin_check_files(struct store *store, const struct pin *pin,
    const struct digest_list *files, struct error *err)
{
	bool *missing = xcalloc(files->count + 1, sizeof(*missing));
	const struct digest *first = NULL;
	size_t count = 0;
	int rc =
	    store_find_missing(store, files->items, files->count, missing, err);

	for (size_t i = files->count; rc == 0 && i-- > 0;) {
		if (missing[i]) {
			first = &files->items[i];
			count++;
		}
	}
	free(missing);
	if (count > 0)
		rc = pin_absent(pin, first, count, err);
	return rc;
}

/* Finds, and thereby makes young, all that the pin names. So a collection that
 * runs now, and does not know of the pin, leaves it alone. */
static int
pin_check(struct store *store, const struct pin *pin, struct error *err)
{
	const struct closure_source source =
	    closure_source_of_store(store, pin->digest.function);
	struct digest_list files, directories, missing;
	const struct closure closure = {
	    .files = &files, .directories = &directories, .missing = &missing};
	int rc = 0;

	digest_list_init(&files, CLOSURE_DIGESTS_MAX);
	digest_list_init(&directories, CLOSURE_DIRECTORIES_MAX);
	digest_list_init(&missing, CLOSURE_DIRECTORIES_MAX);
	if (pin->kind == PIN_TREE)
		rc = closure_of_directory(&source, &pin->digest, &closure, err);
	else if (digest_list_add(&files, &pin->digest) < 0)
		rc = error_set(err, ERROR_INTERNAL, "a list of one is full");
	if (rc == 0 && missing.count > 0)
		rc = pin_absent(pin, &missing.items[0], missing.count, err);
	if (rc == 0)
		rc = pin_check_files(store, pin, &files, err);
	digest_list_clear(&files);
	digest_list_clear(&directories);
	digest_list_clear(&missing);
	return rc;
}

static int
pin_apply(void *cookie, struct store *store, struct index_write *write,
    struct error *err)
{
	struct pin_bytes *bytes = cookie;
	const struct str key = {bytes->key, bytes->key_length};
	const struct str value = {
	    bytes->value_length > 0 ? (const char *)bytes->value : NULL,
	    bytes->value_length};
	int rc = index_set_meta(write, key, value, err);

	(void)store;
	bytes->changed = rc == 1;
	return rc < 0 ? -1 : 0;
}

int
pin_set(struct store *store, const struct pin *pin, struct error *err)
{
	struct pin_bytes bytes = {.changed = false};
	const struct index_job job = {.apply = pin_apply, .cookie = &bytes};

	if (pin_encode_name(pin->name, &bytes, err) < 0 ||
	    pin_check(store, pin, err) < 0)
		return -1;
	pin_encode_value(pin, &bytes);
	return index_job_run(store, &job, err);
}

int
pin_remove(struct store *store, struct str name, struct error *err)
{
	struct pin_bytes bytes = {.changed = false};
	const struct index_job job = {.apply = pin_apply, .cookie = &bytes};

	if (pin_encode_name(name, &bytes, err) < 0 ||
	    index_job_run(store, &job, err) < 0)
		return -1;
	atomic_fetch_add(&store->let_go, 1);
	return bytes.changed;
}

/* --- listing -------------------------------------------------------------- */

struct pin_walk {
	struct pin_bytes pins[WALK_BATCH];
	size_t count;
	bool past; /* the names with our prefix are behind us */
};

static int
pin_walk_visit(
    void *cookie, struct str key, struct str value, struct error *err)
{
	struct pin_walk *walk = cookie;
	struct pin_bytes *bytes;

	(void)err;
	if (walk->past || key.len < PREFIX_LENGTH ||
	    memcmp(key.data, PREFIX, PREFIX_LENGTH) != 0 ||
	    key.len > sizeof(bytes->key) || value.len > VALUE_MAX) {
		walk->past = true;
		return 0;
	}
	bytes = &walk->pins[walk->count++];
	memcpy(bytes->key, key.data, key.len);
	memcpy(bytes->value, value.data, value.len);
	bytes->key_length = key.len;
	bytes->value_length = value.len;
	return 0;
}

static int
pin_walk_batch(struct store *store, struct pin_walk *walk,
    struct index_position *position, struct error *err)
{
	MDB_txn *txn;
	int rc;

	walk->count = 0;
	if (index_read_begin(store->index, &txn, err) < 0)
		return -1;
	rc = index_walk(store->index, txn, INDEX_META, position, WALK_BATCH,
	    pin_walk_visit, walk, err);
	index_read_end(store->index, txn);
	return rc;
}

int
pins_list(
    struct store *store, pin_visit_fn *visit, void *cookie, struct error *err)
{
	struct index_position position = {.length = PREFIX_LENGTH};
	struct pin_walk *walk = xcalloc(1, sizeof(*walk));
	int rc = 1;

	memcpy(position.key, PREFIX, PREFIX_LENGTH);
	while (rc == 1 && !walk->past) {
		rc = pin_walk_batch(store, walk, &position, err);
		for (size_t i = 0; rc >= 0 && i < walk->count; i++) {
			const struct pin_bytes *bytes = &walk->pins[i];
			const struct str key = {bytes->key, bytes->key_length};
			const struct str value = {
			    (const char *)bytes->value, bytes->value_length};
			struct pin pin;

			if (pin_decode(key, value, &pin, err) < 0 ||
			    visit(cookie, &pin, err) < 0)
				rc = -1;
		}
	}
	free(walk);
	return rc < 0 ? -1 : 0;
}
