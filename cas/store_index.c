/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LMDB behind the store's own terms: keys, values and totals. Writing: the
 * indexer's thread; reading: any.
 */
#include "cas/store_index.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/error.h"
#include "base/memory.h"
#include "cas/little_endian.h"
#include "cas/store_index_internal.h"
#include "cas/store_internal.h"

#define STATE_SIZE 68
#define SEGMENT_VALUE_SIZE 16
#define FULL_BELOW ((uint64_t)1 << 20)

int
index_fail(struct error *err, int rc, const char *what)
{
	if (rc > 0)
		return error_set_errno(err, rc, "store index: %s", what);
	if (rc == MDB_MAP_FULL)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "store index: %s: the map of %zu bytes is full", what,
		    INDEX_MAP_SIZE);
	if (rc == MDB_PANIC)
		return error_set(err, ERROR_UNAVAILABLE,
		    "store index: %s: the disk failed at the end of a commit; "
		    "the index is being opened again",
		    what);
	if (rc == MDB_CORRUPTED || rc == MDB_INVALID ||
	    rc == MDB_PAGE_NOTFOUND || rc == MDB_VERSION_MISMATCH)
		return error_set(err, ERROR_DATA_LOSS,
		    "store index: %s: %s; stop the server and run `toolroot "
		    "store repair`",
		    what, mdb_strerror(rc));
	return error_set(
	    err, ERROR_INTERNAL, "store index: %s: %s", what, mdb_strerror(rc));
}

static MDB_val
index_value(struct str bytes)
{
	return (MDB_val){
	    .mv_size = bytes.len, .mv_data = (void *)(uintptr_t)bytes.data};
}

size_t
index_key(const struct digest *digest, uint8_t key[INDEX_KEY_MAX])
{
	size_t length = digest_hash_length(digest->function);

	key[0] = (uint8_t)digest->function;
	memcpy(key + 1, digest->hash, length);
	return 1 + length;
}

/* --- values --------------------------------------------------------------- */

void
index_encode_place(const struct place *place, uint8_t out[INDEX_PLACE_SIZE])
{
	little_endian_put64(out, place->size);
	little_endian_put64(out + 8, place->stored_size);
	little_endian_put64(out + 16, place->offset);
	little_endian_put32(out + 24, place->segment);
	little_endian_put32(out + INDEX_BLOB_EPOCH, place->epoch);
	out[32] = (uint8_t)place->kind;
	out[33] = (uint8_t)place->encoding;
	little_endian_put16(out + 34, place->owner);
}

int
index_decode_place(const MDB_val *value, struct place *place, struct error *err)
{
	const uint8_t *in = value->mv_data;

	if (value->mv_size != INDEX_PLACE_SIZE ||
	    (in[32] != PLACE_SEGMENT && in[32] != PLACE_FILE) ||
	    in[33] > ENCODING_ZSTD)
		return error_set(err, ERROR_DATA_LOSS,
		    "store index: an entry of %zu bytes is malformed",
		    value->mv_size);
	place->size = little_endian_get64(in);
	place->stored_size = little_endian_get64(in + 8);
	place->offset = little_endian_get64(in + 16);
	place->segment = little_endian_get32(in + 24);
	place->epoch = little_endian_get32(in + INDEX_BLOB_EPOCH);
	place->kind = (enum place_kind)in[32];
	place->encoding = (enum encoding)in[33];
	place->owner = little_endian_get16(in + 34);
	if (place->kind == PLACE_SEGMENT &&
	    place->stored_size > STORE_SMALL_LIMIT_MAX)
		return error_set(err, ERROR_DATA_LOSS,
		    "store index: a record of %" PRIu64 " bytes is malformed",
		    place->stored_size);
	return 0;
}

static void
state_encode(const struct index_state *state, uint8_t out[STATE_SIZE])
{
	little_endian_put32(out, STORE_FORMAT);
	little_endian_put64(out + 4, state->blobs);
	little_endian_put64(out + 12, state->actions);
	little_endian_put64(out + 20, state->action_bytes);
	little_endian_put64(out + 28, state->segments);
	little_endian_put64(out + 36, state->segment_bytes);
	little_endian_put64(out + 44, state->file_bytes);
	little_endian_put64(out + 52, state->active_length);
	little_endian_put32(out + 60, state->active_segment);
	little_endian_put32(out + 64, state->touch_floor);
}

int
index_decode_state(
    const MDB_val *value, struct index_state *state, struct error *err)
{
	const uint8_t *in = value->mv_data;

	if (value->mv_size != STATE_SIZE ||
	    little_endian_get32(in) != STORE_FORMAT)
		return error_set(err, ERROR_DATA_LOSS,
		    "store index: the state of %zu bytes is malformed",
		    value->mv_size);
	state->blobs = little_endian_get64(in + 4);
	state->actions = little_endian_get64(in + 12);
	state->action_bytes = little_endian_get64(in + 20);
	state->segments = little_endian_get64(in + 28);
	state->segment_bytes = little_endian_get64(in + 36);
	state->file_bytes = little_endian_get64(in + 44);
	state->active_length = little_endian_get64(in + 52);
	state->active_segment = little_endian_get32(in + 60);
	state->touch_floor = little_endian_get32(in + 64);
	return 0;
}

/* --- reading -------------------------------------------------------------- */

static int
index_get(MDB_txn *txn, MDB_dbi table, struct str key, MDB_val *value,
    struct error *err)
{
	MDB_val name = index_value(key);
	int rc = mdb_get(txn, table, &name, value);

	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc != 0)
		return index_fail(err, rc, "look-up");
	return 1;
}

int
index_find_any(struct store_index *index, MDB_txn *txn,
    const struct digest *digest, struct place *place, struct error *err)
{
	uint8_t key[INDEX_KEY_MAX];
	struct str name = {(char *)key, index_key(digest, key)};
	MDB_val value;
	int found = index_get(txn, index->blobs, name, &value, err);

	if (found != 1)
		return found;
	return index_decode_place(&value, place, err) < 0 ? -1 : 1;
}

int
index_find(struct store_index *index, MDB_txn *txn, const struct digest *digest,
    struct place *place, struct error *err)
{
	int found = index_find_any(index, txn, digest, place, err);

	/* The size is part of the digest. */
	return found == 1 ? place->size == digest->size : found;
}

int
index_find_action(struct store_index *index, MDB_txn *txn, struct str key,
    struct str *value, struct error *err)
{
	MDB_val found;
	int rc = index_get(txn, index->actions, key, &found, err);

	if (rc == 1)
		*value = (struct str){found.mv_data, found.mv_size};
	return rc;
}

int
index_state(struct store_index *index, MDB_txn *txn, struct index_state *state,
    struct error *err)
{
	MDB_val value;
	int rc = index_get(txn, index->meta, STR("state"), &value, err);

	memset(state, 0, sizeof(*state));
	if (rc == 1)
		rc = index_decode_state(&value, state, err);
	return rc < 0 ? -1 : 0;
}

/* --- writing -------------------------------------------------------------- */

int
index_write_begin(
    struct store_index *index, struct index_write *write, struct error *err)
{
	int rc;

	write->index = index;
	index_changes_reset(&write->changes);
	rc = index_is_broken(index)
		 ? MDB_PANIC
		 : mdb_txn_begin(index->env, NULL, 0, &write->txn);
	if (rc != 0) {
		write->txn = NULL;
		return index_fail(err, rc, "begin");
	}
	if (index_state(index, write->txn, &write->state, err) < 0) {
		index_write_abort(write);
		return -1;
	}
	return 0;
}

static int
index_put(struct index_write *write, MDB_dbi table, struct str key,
    struct str value, struct error *err)
{
	MDB_val name = index_value(key);
	MDB_val content = index_value(value);
	int rc = mdb_put(write->txn, table, &name, &content, 0);

	if (rc != 0)
		return index_fail(err, rc, "put");
	return 0;
}

/* LMDB tells EIO of a write that was cut short, which is a full disk's. */
static int
explain_short_write(const struct store_index *index, int rc)
{
	struct statvfs disk;
	int fd;

	if (rc == EIO && mdb_env_get_fd(index->env, &fd) == 0 &&
	    fstatvfs(fd, &disk) == 0 &&
	    disk.f_bavail * disk.f_frsize < FULL_BELOW)
		return ENOSPC;
	return rc;
}

int
index_write_commit(struct index_write *write, struct error *err)
{
	uint8_t value[STATE_SIZE];
	size_t id;
	int rc;

	state_encode(&write->state, value);
	if (index_write_owners(write, err) < 0 ||
	    index_put(write, write->index->meta, STR("state"),
		(struct str){(char *)value, sizeof(value)}, err) < 0) {
		index_write_abort(write);
		return -1;
	}
	id = mdb_txn_id(write->txn);
	rc = mdb_txn_commit(write->txn);
	write->txn = NULL;
	if (rc == 0)
		return 0;
	rc = explain_short_write(write->index, rc);
	index_commit_failed(write->index, id);
	return index_fail(err, rc, "commit");
}

void
index_write_abort(struct index_write *write)
{
	if (write->txn != NULL)
		mdb_txn_abort(write->txn);
	write->txn = NULL;
}

void
index_write_release(struct index_write *write)
{
	free(write->changes.items);
	write->changes = (struct owner_changes){NULL, 0};
}

static int
index_change_segment(struct index_write *write, uint32_t segment,
    int64_t length, int64_t used, struct error *err)
{
	uint8_t key[4], bytes[SEGMENT_VALUE_SIZE] = {0};
	struct str name = {(char *)key, sizeof(key)};
	MDB_val value;
	int found;

	little_endian_put32(key, segment);
	found =
	    index_get(write->txn, write->index->segments, name, &value, err);
	if (found < 0)
		return -1;
	if (found == 1 && value.mv_size == sizeof(bytes))
		memcpy(bytes, value.mv_data, sizeof(bytes));
	else
		write->state.segments++;
	little_endian_put64(
	    bytes, little_endian_get64(bytes) + (uint64_t)length);
	little_endian_put64(
	    bytes + 8, little_endian_get64(bytes + 8) + (uint64_t)used);
	write->state.segment_bytes += (uint64_t)length;
	return index_put(write, write->index->segments, name,
	    (struct str){(char *)bytes, sizeof(bytes)}, err);
}

int
index_grow_segment(struct index_write *write, uint32_t segment, uint64_t bytes,
    struct error *err)
{
	return index_change_segment(
	    write, segment, (int64_t)bytes, (int64_t)bytes, err);
}

int
index_waste_segment(struct index_write *write, uint32_t segment, uint64_t bytes,
    struct error *err)
{
	return index_change_segment(write, segment, 0, -(int64_t)bytes, err);
}

int
index_add(struct index_write *write, const struct digest *digest,
    const struct place *place, struct place *present, struct error *err)
{
	uint8_t key[INDEX_KEY_MAX], bytes[INDEX_PLACE_SIZE];
	MDB_val name = {index_key(digest, key), key};
	MDB_val value = {sizeof(bytes), bytes};
	int rc;

	index_encode_place(place, bytes);
	rc = mdb_put(
	    write->txn, write->index->blobs, &name, &value, MDB_NOOVERWRITE);
	if (rc == MDB_KEYEXIST) {
		if (index_decode_place(&value, present, err) < 0)
			return -1;
		if (present->size == digest->size)
			return present->epoch >= place->epoch
				   ? 0
				   : index_touch(write,
					 (struct str){
					     (char *)key, name.mv_size},
					 place->epoch, err);
		/* One of two verified blobs with one hash must go. */
		if (index_remove(write, digest, present, err) < 0)
			return -1;
		return index_add(write, digest, place, present, err);
	}
	if (rc != 0)
		return index_fail(err, rc, "put");
	write->state.blobs++;
	index_count_place(write, place, true);
	if (place->kind == PLACE_FILE)
		write->state.file_bytes += store_file_bytes(place->stored_size);
	return 1;
}

int
index_remove(struct index_write *write, const struct digest *digest,
    struct place *place, struct error *err)
{
	uint8_t key[INDEX_KEY_MAX];
	MDB_val name = {index_key(digest, key), key};
	MDB_val value;
	int rc = mdb_get(write->txn, write->index->blobs, &name, &value);

	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc != 0)
		return index_fail(err, rc, "look-up");
	if (index_decode_place(&value, place, err) < 0)
		return -1;
	rc = mdb_del(write->txn, write->index->blobs, &name, NULL);
	if (rc != 0)
		return index_fail(err, rc, "delete");
	write->state.blobs--;
	index_count_place(write, place, false);
	if (place->kind == PLACE_FILE) {
		write->state.file_bytes -= store_file_bytes(place->stored_size);
		return 1;
	}
	/* The bytes stay on disk until the segment is collected. */
	if (index_change_segment(write, place->segment, 0,
		-(int64_t)(RECORD_HEADER_SIZE + place->stored_size), err) < 0)
		return -1;
	return 1;
}

int
index_add_segment(struct index_write *write, const struct segment_usage *usage,
    struct error *err)
{
	return index_change_segment(write, usage->number,
	    (int64_t)usage->length, (int64_t)usage->used, err);
}

int
index_move(struct index_write *write, const struct digest *digest,
    const struct place *from, const struct place *to, struct error *err)
{
	uint8_t key[INDEX_KEY_MAX], bytes[INDEX_PLACE_SIZE];
	MDB_val name = {index_key(digest, key), key};
	MDB_val value = {sizeof(bytes), bytes};
	struct place there, moved = *to;
	int found = index_find(write->index, write->txn, digest, &there, err);
	int rc;

	if (found != 1)
		return found;
	if (there.kind != PLACE_SEGMENT || there.segment != from->segment ||
	    there.offset != from->offset)
		return 0;
	moved.epoch = there.epoch;
	moved.owner = there.owner;
	index_encode_place(&moved, bytes);
	rc = mdb_put(write->txn, write->index->blobs, &name, &value, 0);
	if (rc != 0)
		return index_fail(err, rc, "put");
	if (index_change_segment(write, from->segment, 0,
		-(int64_t)(RECORD_HEADER_SIZE + there.stored_size), err) < 0)
		return -1;
	return 1;
}

int
index_segment(struct store_index *index, MDB_txn *txn, uint32_t segment,
    struct segment_usage *usage, struct error *err)
{
	uint8_t key[4];
	struct str name = {(char *)key, sizeof(key)};
	MDB_val value;
	int found;

	little_endian_put32(key, segment);
	found = index_get(txn, index->segments, name, &value, err);
	if (found != 1)
		return found;
	if (value.mv_size != SEGMENT_VALUE_SIZE)
		return error_set(err, ERROR_DATA_LOSS,
		    "store index: the entry of segment %08" PRIu32
		    " is malformed",
		    segment);
	usage->number = segment;
	usage->length = little_endian_get64(value.mv_data);
	usage->used = little_endian_get64((uint8_t *)value.mv_data + 8);
	return 1;
}

int
index_remove_segment(
    struct index_write *write, uint32_t segment, struct error *err)
{
	struct segment_usage usage;
	uint8_t key[4];
	MDB_val name = {sizeof(key), key};
	int rc = index_segment(write->index, write->txn, segment, &usage, err);

	if (rc != 1)
		return rc;
	little_endian_put32(key, segment);
	rc = mdb_del(write->txn, write->index->segments, &name, NULL);
	if (rc != 0)
		return index_fail(err, rc, "delete");
	write->state.segments--;
	write->state.segment_bytes -= usage.length;
	return 1;
}

/* Rewrites a value with another epoch. */
static int
index_set_epoch(struct index_write *write, MDB_dbi table, struct str key,
    size_t at, uint32_t epoch)
{
	MDB_val name = index_value(key);
	MDB_val value;
	uint8_t *bytes;
	int rc = mdb_get(write->txn, table, &name, &value);

	if (rc != 0)
		return rc == MDB_NOTFOUND ? 0 : rc;
	if (value.mv_size < at + 4 ||
	    little_endian_get32((uint8_t *)value.mv_data + at) >= epoch)
		return 0;
	/* What the transaction gave may move when it writes. */
	bytes = xmalloc(value.mv_size);
	memcpy(bytes, value.mv_data, value.mv_size);
	little_endian_put32(bytes + at, epoch);
	value.mv_data = bytes;
	rc = mdb_put(write->txn, table, &name, &value, 0);
	free(bytes);
	return rc;
}

int
index_touch(struct index_write *write, struct str key, uint32_t epoch,
    struct error *err)
{
	int rc = index_set_epoch(
	    write, write->index->blobs, key, INDEX_BLOB_EPOCH, epoch);

	return rc == 0 ? 0 : index_fail(err, rc, "touch");
}

int
index_touch_action(struct index_write *write, struct str key, uint32_t epoch,
    struct error *err)
{
	int rc = index_set_epoch(
	    write, write->index->actions, key, INDEX_ACTION_EPOCH, epoch);

	return rc == 0 ? 0 : index_fail(err, rc, "touch");
}

int
index_remove_action(
    struct index_write *write, struct str key, struct error *err)
{
	MDB_val name = index_value(key);
	MDB_val value;
	size_t length;
	int rc = mdb_get(write->txn, write->index->actions, &name, &value);

	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc != 0)
		return index_fail(err, rc, "look-up");
	length = value.mv_size;
	index_count_action(
	    write, key, (struct str){value.mv_data, length}, false);
	rc = mdb_del(write->txn, write->index->actions, &name, NULL);
	if (rc != 0)
		return index_fail(err, rc, "delete");
	write->state.actions--;
	write->state.action_bytes -= key.len + length;
	return 1;
}

int
index_put_action(struct index_write *write, struct str key, struct str value,
    struct error *err)
{
	if (index_remove_action(write, key, err) < 0 ||
	    index_put(write, write->index->actions, key, value, err) < 0)
		return -1;
	index_count_action(write, key, value, true);
	write->state.actions++;
	write->state.action_bytes += key.len + value.len;
	return 0;
}
