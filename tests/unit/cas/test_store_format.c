/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docs/store-format.md by the byte: what another program would read, which
 * knows the page and none of our code. Numbers are taken apart here by hand.
 */
#include "collector_fixture.h"
#include "owner_fixture.h"

#include <lmdb.h>

#include "cas/crc32c.h"
#include "cas/pins.h"
#include "cas/provenance.h"

#define RECORD 96

static uint64_t
number(const void *data, size_t offset, size_t bytes)
{
	const uint8_t *in = (const uint8_t *)data + offset;
	uint64_t value = 0;

	for (size_t i = bytes; i-- > 0;)
		value = value << 8 | in[i];
	return value;
}

static void
read_file(struct fixture *fixture, const char *name, struct buffer *content)
{
	char path[256];
	struct error err;

	snprintf(path, sizeof(path), "%s/%s", fixture->path, name);
	buffer_init(content, 64 << 20);
	if (file_read_all(path, content, &err) < 0)
		fail_msg("%s", err.text);
}

static void
the_format_file_is_a_line_of_text(void **state)
{
	struct buffer content;

	read_file(*state, "format", &content);
	assert_int_equal(content.len, 17);
	assert_memory_equal(content.data, "toolroot-store 1\n", 17);
	buffer_clear(&content);
}

static void
a_segment_is_records_one_after_the_other(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = put_numbered(fixture->store, 1, 1000);
	struct buffer file;
	char *data = make_content(1, 1000);

	put_numbered(fixture->store, 2, 2000);
	fixture_reopen(fixture);
	read_file(fixture, "segments/00000001", &file);
	assert_int_equal(file.len, 2 * RECORD + 3000);
	assert_memory_equal(file.data, "TRB1", 4);
	assert_int_equal(number(file.data, 4, 1), 1); /* SHA256 */
	assert_int_equal(number(file.data, 5, 1), 0); /* identity */
	assert_int_equal(number(file.data, 6, 2), 0);
	assert_int_equal(number(file.data, 8, 8), 1000);
	assert_int_equal(number(file.data, 16, 8), 1000);
	assert_int_equal(number(file.data, 24, 4), crc32c(0, data, 1000));
	assert_memory_equal(file.data + 28, digest.hash, 64);
	assert_int_equal(number(file.data, 92, 4), crc32c(0, file.data, 92));
	assert_memory_equal(file.data + RECORD, data, 1000);
	assert_memory_equal(file.data + RECORD + 1000, "TRB1", 4);
	assert_int_equal(number(file.data, RECORD + 1000 + 8, 8), 2000);
	/* The checksum is that of RFC 3720. */
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	free(data);
	buffer_clear(&file);
}

static void
a_large_blob_is_a_file_by_its_hash(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = put_numbered(fixture->store, 3, 200000);
	char name[200], hash[DIGEST_TEXT_MAX];
	char *data = make_content(3, 200000);
	struct buffer file;

	snprintf(name, sizeof(name), "blobs/sha256/%02x/%s", digest.hash[0],
	    digest_format_hash(&digest, hash));
	read_file(fixture, name, &file);
	assert_int_equal(file.len, 200000);
	assert_memory_equal(file.data, data, file.len);
	free(data);
	buffer_clear(&file);
}

/* --- the index, through LMDB alone -----------------------------------------
 */

struct reader {
	MDB_env *env;
	MDB_txn *txn;
};

static void
reader_open(struct fixture *fixture, struct reader *reader)
{
	char path[256];

	store_close(fixture->store);
	fixture->store = NULL;
	snprintf(path, sizeof(path), "%s/index", fixture->path);
	assert_int_equal(mdb_env_create(&reader->env), 0);
	assert_int_equal(mdb_env_set_maxdbs(reader->env, 8), 0);
	assert_int_equal(mdb_env_open(reader->env, path, MDB_RDONLY, 0600), 0);
	assert_int_equal(
	    mdb_txn_begin(reader->env, NULL, MDB_RDONLY, &reader->txn), 0);
}

static void
reader_close(struct fixture *fixture, struct reader *reader)
{
	mdb_txn_abort(reader->txn);
	mdb_env_close(reader->env);
	fixture_open(fixture);
}

static MDB_val
look_up(struct reader *reader, const char *table, const void *key, size_t len)
{
	MDB_val name = {len, (void *)(uintptr_t)key}, value;
	MDB_dbi handle;

	assert_int_equal(mdb_dbi_open(reader->txn, table, 0, &handle), 0);
	assert_int_equal(mdb_get(reader->txn, handle, &name, &value), 0);
	return value;
}

static void
the_index_has_blobs_segments_and_state(void **state)
{
	struct fixture *fixture = *state;
	uint64_t minutes = (uint64_t)time(NULL) / 60;
	uint8_t key[33] = {1}, segment[4] = {1, 0, 0, 0};
	struct reader reader;
	struct digest digest;
	MDB_val value;

	put_numbered(fixture->store, 1, 1000);
	digest = put_numbered(fixture->store, 2, 2000);
	put_numbered(fixture->store, 3, 200000);
	reader_open(fixture, &reader);
	memcpy(key + 1, digest.hash, 32);
	value = look_up(&reader, "blobs", key, sizeof(key));
	assert_int_equal(value.mv_size, 36);
	assert_int_equal(number(value.mv_data, 0, 8), 2000);
	assert_int_equal(number(value.mv_data, 8, 8), 2000);
	assert_int_equal(number(value.mv_data, 16, 8), RECORD + 1000);
	assert_int_equal(number(value.mv_data, 24, 4), 1);
	assert_int_equal(number(value.mv_data, 28, 4) % 10, 0);
	assert_true(number(value.mv_data, 28, 4) + 20 > minutes);
	assert_int_equal(number(value.mv_data, 32, 1), 1);
	assert_int_equal(number(value.mv_data, 33, 1), 0);
	value = look_up(&reader, "segments", segment, 4);
	assert_int_equal(value.mv_size, 16);
	assert_int_equal(number(value.mv_data, 0, 8), 2 * RECORD + 3000);
	assert_int_equal(number(value.mv_data, 8, 8), 2 * RECORD + 3000);
	value = look_up(&reader, "meta", "state", 5);
	assert_int_equal(value.mv_size, 68);
	assert_int_equal(number(value.mv_data, 0, 4), 1);
	assert_int_equal(number(value.mv_data, 4, 8), 3);
	assert_int_equal(number(value.mv_data, 28, 8), 1);
	assert_int_equal(number(value.mv_data, 36, 8), 2 * RECORD + 3000);
	assert_int_equal(number(value.mv_data, 44, 8), 49 * 4096);
	assert_int_equal(number(value.mv_data, 52, 8), 2 * RECORD + 3000);
	assert_int_equal(number(value.mv_data, 60, 4), 1);
	reader_close(fixture, &reader);
}

static void
a_result_has_blobs_provenance_and_checksum(void **state)
{
	struct fixture *fixture = *state;
	struct digest blob = put_numbered(fixture->store, 1, 1000);
	struct digest action = action_numbered(7).action, name;
	struct provenance provenance = {.worker = STR("w7")};
	uint8_t preimage[1 + 64 + 8 + 4] = {1}, *at;
	struct reader reader;
	struct error err;
	MDB_val value;
	uint32_t crc;
	size_t length;

	assert_int_equal(
	    put_action_from(fixture->store, 7, &blob, 1, &provenance, &err), 0);
	reader_open(fixture, &reader);
	memcpy(preimage + 1, action.hash, 64);
	preimage[65] = 40;
	memcpy(preimage + 73, "main", 4);
	digest_compute(DIGEST_SHA256, preimage, sizeof(preimage), &name);
	value = look_up(&reader, "actions", name.hash, 32);
	assert_int_equal(number(value.mv_data, 12, 4), 1);
	length = number(value.mv_data, 16, 8);
	assert_int_equal(number(value.mv_data, 24, 8), 4);
	at = (uint8_t *)value.mv_data + 32;
	assert_int_equal(at[0], 1);
	assert_int_equal(number(at, 1, 8), 40);
	assert_memory_equal(at + 9, action.hash, 32);
	at += 41;
	assert_memory_equal(at, "main", 4);
	at += 4 + length;
	assert_int_equal(number(at, 1, 8), 1000);
	assert_memory_equal(at + 9, blob.hash, 32);
	at += 41;
	/* Field 2, two bytes; field 14, the owner; field 15, fixed32. */
	assert_memory_equal(at, "\x12\x02w7\x70\x01\x7d", 7);
	at += 2;
	assert_ptr_equal(at + 9, (uint8_t *)value.mv_data + value.mv_size);
	crc = crc32c(0, value.mv_data, 8);
	crc =
	    crc32c(crc, (uint8_t *)value.mv_data + 12, value.mv_size - 12 - 5);
	assert_int_equal(number(at, 5, 4), crc);
	reader_close(fixture, &reader);
}

static void
owners_stand_with_blobs_and_in_meta(void **state)
{
	struct fixture *fixture = *state;
	struct owner_limits limits[] = {
	    {.instance = STR("a"), .quota = 5 << 20, .floor = 1 << 20},
	    {.instance = STR("beta"), .quota = 7 << 20}};
	uint8_t key[33] = {1};
	struct reader reader;
	struct buffer file;
	struct digest digest;
	struct error err;
	uint16_t owner;
	MDB_val value;

	assert_int_equal(
	    store_set_owner_limits(fixture->store, limits, 2, &err), 0);
	assert_int_equal(
	    store_owner(fixture->store, STR("beta"), &owner, &err), 0);
	assert_int_equal(owner, 2);
	digest = put_numbered_by(fixture->store, owner, 1, 1000);
	reader_open(fixture, &reader);
	memcpy(key + 1, digest.hash, 32);
	value = look_up(&reader, "blobs", key, sizeof(key));
	assert_int_equal(number(value.mv_data, 34, 2), 2);
	value = look_up(&reader, "meta", "record/instance/\2\0", 18);
	assert_int_equal(value.mv_size, 49 + 4);
	assert_int_equal(number(value.mv_data, 0, 8), 1);
	assert_int_equal(number(value.mv_data, 8, 8), 160 + RECORD + 1000);
	assert_int_equal(number(value.mv_data, 16, 8), 0);
	assert_int_equal(number(value.mv_data, 24, 8), 0);
	assert_int_equal(number(value.mv_data, 32, 8), 7 << 20);
	assert_int_equal(number(value.mv_data, 40, 8), 0);
	assert_int_equal(number(value.mv_data, 48, 1), 1);
	assert_memory_equal((uint8_t *)value.mv_data + 49, "beta", 4);
	value = look_up(&reader, "meta", "record/instance/\1\0", 18);
	assert_int_equal(number(value.mv_data, 40, 8), 1 << 20);
	reader_close(fixture, &reader);
	read_file(fixture, "segments/00000001", &file);
	assert_int_equal(number(file.data, 6, 2), 2);
	buffer_clear(&file);
}

static void
a_pin_is_an_entry_of_meta(void **state)
{
	struct fixture *fixture = *state;
	struct pin pin = {.name = STR("mine"), .kind = PIN_BLOB};
	struct reader reader;
	struct error err;
	MDB_val value;

	pin.digest = put_numbered(fixture->store, 1, 1000);
	pin.created_ns = 12345;
	assert_int_equal(pin_set(fixture->store, &pin, &err), 0);
	reader_open(fixture, &reader);
	value = look_up(&reader, "meta", "pin:mine", 8);
	assert_int_equal(value.mv_size, 18 + 32);
	assert_int_equal(number(value.mv_data, 0, 8), 12345);
	assert_int_equal(number(value.mv_data, 8, 1), 1);
	assert_int_equal(number(value.mv_data, 9, 1), 1);
	assert_int_equal(number(value.mv_data, 10, 8), 1000);
	assert_memory_equal((uint8_t *)value.mv_data + 18, pin.digest.hash, 32);
	reader_close(fixture, &reader);
}

#define with_store(test) \
	cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    with_store(the_format_file_is_a_line_of_text),
	    with_store(a_segment_is_records_one_after_the_other),
	    with_store(a_large_blob_is_a_file_by_its_hash),
	    with_store(the_index_has_blobs_segments_and_state),
	    with_store(a_result_has_blobs_provenance_and_checksum),
	    with_store(owners_stand_with_blobs_and_in_meta),
	    with_store(a_pin_is_an_entry_of_meta),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
