/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Passes over the tables of the index, for the collector and the store tools,
 * and the values of the table meta other than the state. Walks: any thread;
 * changes: the committer's.
 */
#include <string.h>

#include "base/error.h"
#include "cas/little_endian.h"
#include "cas/store_index_internal.h"

static MDB_dbi
index_table_handle(const struct store_index *index, enum index_table table)
{
	switch (table) {
	case INDEX_BLOBS:
		return index->blobs;
	case INDEX_ACTIONS:
		return index->actions;
	case INDEX_SEGMENTS:
		return index->segments;
	case INDEX_META:
		break;
	}
	return index->meta;
}

/* To the first key past the position. */
static int
index_walk_seek(MDB_cursor *cursor, const struct index_position *position,
    MDB_val *key, MDB_val *value)
{
	int rc;

	if (position->length == 0)
		return mdb_cursor_get(cursor, key, value, MDB_FIRST);
	key->mv_data = (void *)(uintptr_t)position->key;
	key->mv_size = position->length;
	rc = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
	if (rc == 0 && key->mv_size == position->length &&
	    memcmp(key->mv_data, position->key, position->length) == 0)
		rc = mdb_cursor_get(cursor, key, value, MDB_NEXT);
	return rc;
}

int
index_walk(struct store_index *index, MDB_txn *txn, enum index_table table,
    struct index_position *position, size_t count, index_visit_fn *visit,
    void *cookie, struct error *err)
{
	MDB_cursor *cursor;
	MDB_val key = {0, NULL}, value = {0, NULL};
	int rc =
	    mdb_cursor_open(txn, index_table_handle(index, table), &cursor);

	if (rc != 0)
		return index_fail(err, rc, "open a cursor");
	rc = index_walk_seek(cursor, position, &key, &value);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct str name = {key.mv_data, key.mv_size};
		struct str content = {value.mv_data, value.mv_size};

		/* LMDB's keys are shorter, but for a damaged page. */
		if (name.len > sizeof(position->key)) {
			mdb_cursor_close(cursor);
			return error_set(err, ERROR_DATA_LOSS,
			    "store index: a key of %zu bytes is damaged; "
			    "stop the server and run toolroot store repair",
			    name.len);
		}
		memcpy(position->key, name.data, name.len);
		position->length = name.len;
		if (visit(cookie, name, content, err) < 0) {
			mdb_cursor_close(cursor);
			return -1;
		}
		rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc != 0)
		return index_fail(err, rc, "walk");
	return 1;
}

int
index_decode_blob(struct str key, struct str value, struct digest *digest,
    struct place *place, struct error *err)
{
	MDB_val content = {value.len, (void *)(uintptr_t)value.data};
	size_t length;

	memset(digest, 0, sizeof(*digest));
	if (key.len > 0)
		digest->function = (enum digest_function)key.data[0];
	length = digest_hash_length(digest->function);
	if (length == 0 || key.len != 1 + length)
		return error_set(err, ERROR_DATA_LOSS,
		    "store index: a blob's key of %zu bytes is malformed",
		    key.len);
	memcpy(digest->hash, key.data + 1, length);
	if (index_decode_place(&content, place, err) < 0)
		return -1;
	digest->size = place->size;
	return 0;
}

int
index_decode_segment(struct str key, struct str value,
    struct segment_usage *usage, struct error *err)
{
	if (key.len != 4 || value.len != 16)
		return error_set(err, ERROR_DATA_LOSS,
		    "store index: a segment's entry is malformed");
	usage->number = little_endian_get32((const uint8_t *)key.data);
	usage->length = little_endian_get64((const uint8_t *)value.data);
	usage->used = little_endian_get64((const uint8_t *)value.data + 8);
	return 0;
}

int
index_find_meta(struct store_index *index, MDB_txn *txn, struct str key,
    struct str *value, struct error *err)
{
	MDB_val name = {key.len, (void *)(uintptr_t)key.data};
	MDB_val found;
	int rc = mdb_get(txn, index->meta, &name, &found);

	if (rc == MDB_NOTFOUND)
		return 0;
	if (rc != 0)
		return index_fail(err, rc, "look-up");
	*value = (struct str){found.mv_data, found.mv_size};
	return 1;
}

int
index_set_meta(struct index_write *write, struct str key, struct str value,
    struct error *err)
{
	MDB_val name = {key.len, (void *)(uintptr_t)key.data};
	MDB_val content = {value.len, (void *)(uintptr_t)value.data};
	int rc;

	if (value.data == NULL) {
		rc = mdb_del(write->txn, write->index->meta, &name, NULL);
		if (rc == MDB_NOTFOUND)
			return 0;
	} else {
		rc =
		    mdb_put(write->txn, write->index->meta, &name, &content, 0);
	}
	if (rc != 0)
		return index_fail(err, rc, "put");
	return 1;
}
