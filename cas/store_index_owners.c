/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each instance has in the index: an entry of the table meta for each, by
 * its number, and the changes of a transaction, which are written with it.
 * Writing: the indexer's thread; reading: any.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "cas/action_value.h"
#include "cas/little_endian.h"
#include "cas/owners.h"
#include "cas/store_index_internal.h"
#include "cas/store_internal.h"

/* A record as those of cas/records.h: programs that know nothing of owners
 * leave it alone. */
#define OWNER_PREFIX "record/instance/"
#define OWNER_KEY_SIZE (sizeof(OWNER_PREFIX) - 1 + 2)
#define OWNER_HEADER_SIZE 49
#define WALK_BATCH 256

/* --- values --------------------------------------------------------------- */

static struct str
owner_key(uint16_t number, char key[static OWNER_KEY_SIZE])
{
	memcpy(key, OWNER_PREFIX, sizeof(OWNER_PREFIX) - 1);
	little_endian_put16((uint8_t *)key + sizeof(OWNER_PREFIX) - 1, number);
	return (struct str){key, OWNER_KEY_SIZE};
}

static void
owner_encode(const struct index_owner *owner, uint8_t *out)
{
	assert(owner->name.len <= OWNER_NAME_MAX);
	little_endian_put64(out, owner->use.blobs);
	little_endian_put64(out + 8, owner->use.blob_bytes);
	little_endian_put64(out + 16, owner->use.results);
	little_endian_put64(out + 24, owner->use.result_bytes);
	little_endian_put64(out + 32, owner->quota);
	little_endian_put64(out + 40, owner->floor);
	out[48] = owner->named;
	memcpy(out + OWNER_HEADER_SIZE, owner->name.data, owner->name.len);
}

/* False when it is malformed; owner is empty then. */
static bool
owner_decode(struct str value, struct index_owner *owner)
{
	const uint8_t *in = (const uint8_t *)value.data;

	*owner = (struct index_owner){.name = STR("")};
	if (value.len < OWNER_HEADER_SIZE ||
	    value.len > OWNER_HEADER_SIZE + OWNER_NAME_MAX)
		return false;
	owner->use.blobs = little_endian_get64(in);
	owner->use.blob_bytes = little_endian_get64(in + 8);
	owner->use.results = little_endian_get64(in + 16);
	owner->use.result_bytes = little_endian_get64(in + 24);
	owner->quota = little_endian_get64(in + 32);
	owner->floor = little_endian_get64(in + 40);
	owner->named = in[48] != 0;
	owner->name = (struct str){
	    value.data + OWNER_HEADER_SIZE, value.len - OWNER_HEADER_SIZE};
	return true;
}

bool
index_decode_owner(struct str key, struct str value, uint16_t *number,
    struct index_owner *owner)
{
	if (!str_starts_with(key, STR(OWNER_PREFIX)))
		return false;
	*number = 0;
	if (key.len == OWNER_KEY_SIZE && owner_decode(value, owner))
		*number = little_endian_get16(
		    (const uint8_t *)key.data + sizeof(OWNER_PREFIX) - 1);
	return true;
}

/* --- reading -------------------------------------------------------------- */

struct owner_walk {
	index_owner_fn *visit;
	void *cookie;
	bool past; /* the keys of owners are behind us */
};

static int
owner_walk_visit(
    void *cookie, struct str key, struct str value, struct error *err)
{
	struct owner_walk *walk = cookie;
	struct index_owner owner;
	uint16_t number;

	if (walk->past || !index_decode_owner(key, value, &number, &owner)) {
		walk->past = true;
		return 0;
	}
	return number == 0 ? 0 : walk->visit(walk->cookie, number, &owner, err);
}

int
index_each_owner(struct store_index *index, index_owner_fn *visit, void *cookie,
    struct error *err)
{
	struct owner_walk walk = {.visit = visit, .cookie = cookie};
	struct index_position position = {
	    .key = OWNER_PREFIX, .length = sizeof(OWNER_PREFIX) - 1};
	MDB_txn *txn;
	int rc = 1;

	if (index_read_begin(index, &txn, err) < 0)
		return -1;
	while (rc == 1 && !walk.past)
		rc = index_walk(index, txn, INDEX_META, &position, WALK_BATCH,
		    owner_walk_visit, &walk, err);
	index_read_end(index, txn);
	return rc < 0 ? -1 : 0;
}

/* --- the changes of a transaction ----------------------------------------- */

void
index_changes_reset(struct owner_changes *changes)
{
	if (changes->count > 0)
		memset(changes->items, 0,
		    changes->count * sizeof(*changes->items));
}

static struct owner_use *
changes_at(struct owner_changes *changes, uint16_t owner)
{
	changes->items = xgrow(
	    changes->items, &changes->count, owner, sizeof(*changes->items));
	return &changes->items[owner];
}

void
index_count_place(
    struct index_write *write, const struct place *place, bool added)
{
	uint64_t cost = store_place_cost(place);
	struct owner_use *use;

	if (place->owner == 0)
		return;
	use = changes_at(&write->changes, place->owner);
	use->blobs += added ? 1 : UINT64_MAX;
	use->blob_bytes += added ? cost : -cost;
}

void
index_count_action(
    struct index_write *write, struct str key, struct str value, bool added)
{
	uint64_t cost = store_action_cost(key.len + value.len);
	uint16_t owner = action_value_owner(value);
	struct owner_use *use;

	if (owner == 0)
		return;
	use = changes_at(&write->changes, owner);
	use->results += added ? 1 : UINT64_MAX;
	use->result_bytes += added ? cost : -cost;
}

/* Never below 0: programs that know nothing of owners remove blobs too. */
static uint64_t
changed(uint64_t value, uint64_t change)
{
	bool less = (int64_t)change < 0;

	return less && -change > value ? 0 : value + change;
}

void
owner_use_change(struct owner_use *use, const struct owner_use *change)
{
	use->blobs = changed(use->blobs, change->blobs);
	use->blob_bytes = changed(use->blob_bytes, change->blob_bytes);
	use->results = changed(use->results, change->results);
	use->result_bytes = changed(use->result_bytes, change->result_bytes);
}

/* --- writing -------------------------------------------------------------- */

/* An empty one when there is none, or none that can be read; its name is
 * copied. */
static int
owner_read(struct index_write *write, uint16_t number,
    struct index_owner *owner, char name[static OWNER_NAME_MAX],
    struct error *err)
{
	char key[OWNER_KEY_SIZE];
	struct str value;
	int found = index_find_meta(
	    write->index, write->txn, owner_key(number, key), &value, err);

	if (found < 0)
		return -1;
	if (!owner_decode(found == 1 ? value : STR(""), owner))
		return 0;
	memcpy(name, owner->name.data, owner->name.len);
	owner->name.data = name;
	return 0;
}

static int
owner_write(struct index_write *write, uint16_t number,
    const struct index_owner *owner, struct error *err)
{
	uint8_t value[OWNER_HEADER_SIZE + OWNER_NAME_MAX];
	char key[OWNER_KEY_SIZE];

	owner_encode(owner, value);
	return index_set_meta(write, owner_key(number, key),
		   (struct str){
		       (char *)value, OWNER_HEADER_SIZE + owner->name.len},
		   err) < 0
		   ? -1
		   : 0;
}

int
index_write_owners(struct index_write *write, struct error *err)
{
	static const struct owner_use none;

	for (size_t i = 0; i < write->changes.count; i++) {
		const struct owner_use *change = &write->changes.items[i];
		char name[OWNER_NAME_MAX];
		struct index_owner owner;

		if (memcmp(change, &none, sizeof(none)) == 0)
			continue;
		if (owner_read(write, (uint16_t)i, &owner, name, err) < 0)
			return -1;
		owner_use_change(&owner.use, change);
		if (owner_write(write, (uint16_t)i, &owner, err) < 0)
			return -1;
	}
	return 0;
}

int
index_put_owner(struct index_write *write, uint16_t number,
    const struct index_owner *owner, struct error *err)
{
	struct index_owner present;
	char name[OWNER_NAME_MAX];

	if (owner_read(write, number, &present, name, err) < 0)
		return -1;
	present.named = owner->named;
	present.name = owner->name;
	present.quota = owner->quota;
	present.floor = owner->floor;
	return owner_write(write, number, &present, err);
}

int
index_own(struct index_write *write, struct str key, uint16_t owner,
    struct error *err)
{
	MDB_val name = {key.len, (void *)(uintptr_t)key.data};
	uint8_t bytes[INDEX_PLACE_SIZE];
	MDB_val value;
	struct place place;
	int rc = mdb_get(write->txn, write->index->blobs, &name, &value);

	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc != 0)
		return index_fail(err, rc, "look-up");
	if (index_decode_place(&value, &place, err) < 0)
		return -1;
	if (place.owner != 0)
		return 0;
	place.owner = owner;
	index_count_place(write, &place, true);
	index_encode_place(&place, bytes);
	value = (MDB_val){sizeof(bytes), bytes};
	rc = mdb_put(write->txn, write->index->blobs, &name, &value, 0);
	return rc == 0 ? 0 : index_fail(err, rc, "put");
}
