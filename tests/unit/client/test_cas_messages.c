/* SPDX-License-Identifier: Apache-2.0 */
/* Messages in the wire format, held against protobuf-c. */
#include "client/cas_messages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>
#include <google/bytestream/bytestream.pb-c.h>
#include <google/rpc/error_details.pb-c.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/digest_message.h"
#include "rpc/message.h"
#include "rpc/runtime.h"
#include "rpc/status.h"

#define INSTANCE STR("an/instance")

static struct digest
digest_of(const char *text)
{
	struct digest digest;

	digest_compute(DIGEST_SHA256, text, strlen(text), &digest);
	return digest;
}

static void
assert_bytes(ProtobufCBinaryData data, const char *text)
{
	assert_int_equal(data.len, strlen(text));
	assert_memory_equal(data.data, text, data.len);
}

static void
assert_digest(const Reapi__Digest *message, const struct digest *wanted)
{
	struct digest digest;
	struct error err;

	assert_int_equal(
	    digest_from_message(DIGEST_SHA256, message, &digest, &err), 0);
	assert_true(digest_equal(&digest, wanted));
}

/* Takes the message. */
static void *
unpack(struct rpc_message *message, struct arena *arena,
    const ProtobufCMessageDescriptor *descriptor)
{
	struct error err;
	void *unpacked;

	arena_init(arena, 1 << 20);
	unpacked = rpc_message_unpack(message, descriptor, arena, &err);
	if (unpacked == NULL)
		fail_msg("%s", err.text);
	rpc_message_free(message);
	return unpacked;
}

static void
lists_of_digests_are_encoded(void **state)
{
	struct digest digests[2] = {digest_of(""), digest_of("b")};
	struct arena arena;
	Reapi__FindMissingBlobsRequest *find;
	Reapi__BatchReadBlobsRequest *read;

	(void)state;
	find = unpack(
	    cas_message_find_missing(INSTANCE, DIGEST_SHA256, digests, 2),
	    &arena, &reapi__find_missing_blobs_request__descriptor);
	assert_bytes(find->instance_name, "an/instance");
	assert_int_equal(find->digest_function, 1);
	assert_int_equal(find->n_blob_digests, 2);
	assert_digest(find->blob_digests[0], &digests[0]);
	assert_digest(find->blob_digests[1], &digests[1]);
	arena_clear(&arena);
	read =
	    unpack(cas_message_batch_read(STR(""), DIGEST_SHA256, digests, 2),
		&arena, &reapi__batch_read_blobs_request__descriptor);
	assert_int_equal(read->instance_name.len, 0);
	assert_int_equal(read->digest_function, 1);
	assert_int_equal(read->n_digests, 2);
	assert_digest(read->digests[1], &digests[1]);
	assert_int_equal(read->base.n_unknown_fields, 0);
	arena_clear(&arena);
}

static void
uploads_are_encoded(void **state)
{
	struct digest digest = digest_of("content");
	struct rpc_message *message =
	    cas_message_batch_update(INSTANCE, DIGEST_SHA256);
	struct cas_write_piece piece = {.resource = STR("name"),
	    .offset = UINT64_C(1) << 40,
	    .finish = true,
	    .data = xstrdup("data"),
	    .len = 4};
	Reapi__BatchUpdateBlobsRequest *update;
	Bytestream__WriteRequest *write;
	struct arena arena;

	(void)state;
	cas_message_batch_update_add(message, &digest, xstrdup("content"), 7);
	cas_message_batch_update_add(message, &digest, xstrdup("content"), 7);
	update = unpack(
	    message, &arena, &reapi__batch_update_blobs_request__descriptor);
	assert_bytes(update->instance_name, "an/instance");
	assert_int_equal(update->digest_function, 1);
	assert_int_equal(update->n_requests, 2);
	assert_digest(update->requests[1]->digest, &digest);
	assert_bytes(update->requests[1]->data, "content");
	arena_clear(&arena);
	write = unpack(cas_message_write(&piece), &arena,
	    &bytestream__write_request__descriptor);
	assert_bytes(write->resource_name, "name");
	assert_int_equal(write->write_offset, INT64_C(1) << 40);
	assert_true(write->finish_write);
	assert_bytes(write->data, "data");
	arena_clear(&arena);
}

static void
reads_are_encoded(void **state)
{
	struct arena arena;
	Bytestream__ReadRequest *read =
	    unpack(cas_message_read(STR("name"), 77), &arena,
		&bytestream__read_request__descriptor);

	(void)state;
	assert_bytes(read->resource_name, "name");
	assert_int_equal(read->read_offset, 77);
	arena_clear(&arena);
}

static void
resource_names_have_the_form_of_the_specification(void **state)
{
	struct digest digest = digest_of("b");
	struct buffer name;
	char text[DIGEST_TEXT_MAX];
	char wanted[512];

	(void)state;
	digest_format(&digest, text);
	buffer_init(&name, CAS_RESOURCE_NAME_MAX);
	cas_resource_name(&name, STR(""), NULL, &digest, false);
	snprintf(wanted, sizeof(wanted), "blobs/%s", text);
	assert_string_equal(name.data, wanted);
	buffer_reset(&name);
	cas_resource_name(&name, INSTANCE, "u-u", &digest, false);
	snprintf(
	    wanted, sizeof(wanted), "an/instance/uploads/u-u/blobs/%s", text);
	assert_string_equal(name.data, wanted);
	buffer_reset(&name);
	cas_resource_name(&name, INSTANCE, "u-u", &digest, true);
	snprintf(wanted, sizeof(wanted),
	    "an/instance/uploads/u-u/compressed-blobs/zstd/%s", text);
	assert_string_equal(name.data, wanted);
	buffer_clear(&name);
}

/* Two blobs: one with data, one refused with advice to wait 1.5 s. */
static struct str
batch_response(struct arena *arena, const struct digest *digests)
{
	Reapi__BatchReadBlobsResponse response =
	    REAPI__BATCH_READ_BLOBS_RESPONSE__INIT;
	Reapi__BatchReadBlobsResponse__Response items[2] = {
	    REAPI__BATCH_READ_BLOBS_RESPONSE__RESPONSE__INIT,
	    REAPI__BATCH_READ_BLOBS_RESPONSE__RESPONSE__INIT};
	Reapi__BatchReadBlobsResponse__Response *list[2] = {
	    &items[0], &items[1]};
	Reapi__Digest messages[2];
	char texts[2][DIGEST_TEXT_MAX];
	struct error why;
	struct str bytes;
	uint8_t *packed;

	for (size_t i = 0; i < 2; i++) {
		digest_to_message(&digests[i], texts[i], &messages[i]);
		items[i].digest = &messages[i];
	}
	items[0].data.data = (uint8_t *)"a";
	items[0].data.len = 1;
	error_set_retry(&why, ERROR_RESOURCE_EXHAUSTED, 1500, "busy");
	items[1].status = rpc_status_from_error(arena, &why);
	response.n_responses = 2;
	response.responses = list;
	bytes.len =
	    reapi__batch_read_blobs_response__get_packed_size(&response);
	packed = arena_alloc(arena, bytes.len);
	reapi__batch_read_blobs_response__pack(&response, packed);
	bytes.data = (const char *)packed;
	return bytes;
}

static void
items_of_a_batch_are_scanned(void **state)
{
	struct digest digests[2] = {digest_of("a"), digest_of("b")};
	struct cas_batch_item item;
	struct arena arena;
	struct str rest;
	struct error err;

	(void)state;
	arena_init(&arena, 1 << 20);
	rest = batch_response(&arena, digests);
	assert_int_equal(
	    cas_batch_next(&rest, CAS_BATCH_READ, DIGEST_SHA256, &item, &err),
	    1);
	assert_true(digest_equal(&item.digest, &digests[0]));
	assert_true(str_equal(item.data, STR("a")));
	assert_int_equal(item.code, 0);
	assert_int_equal(
	    cas_batch_next(&rest, CAS_BATCH_READ, DIGEST_SHA256, &item, &err),
	    1);
	assert_true(digest_equal(&item.digest, &digests[1]));
	assert_int_equal(item.code, ERROR_RESOURCE_EXHAUSTED);
	assert_true(str_equal(item.text, STR("busy")));
	assert_int_equal(item.retry_delay_ms, 1500);
	assert_int_equal(
	    cas_batch_next(&rest, CAS_BATCH_READ, DIGEST_SHA256, &item, &err),
	    0);
	arena_clear(&arena);
}

/* Cut anywhere or with any byte changed: an error or other items, never a read
 * beyond the end (the copies are exact, so the sanitizers see one). */
static void
malformed_responses_are_survived(void **state)
{
	struct digest digests[2] = {digest_of("a"), digest_of("b")};
	struct cas_batch_item item;
	struct error err;
	struct arena arena;
	struct str whole;
	struct str second;

	(void)state;
	arena_init(&arena, 1 << 20);
	whole = batch_response(&arena, digests);
	second = whole;
	assert_int_equal(
	    cas_batch_next(&second, CAS_BATCH_READ, DIGEST_SHA256, &item, &err),
	    1);
	for (size_t i = 0; i < 2 * whole.len; i++) {
		size_t len = i < whole.len ? i : whole.len;
		char *copy = malloc(len + (len == 0));
		struct str rest = {copy, len};
		int more;

		memcpy(copy, whole.data, len);
		if (i >= whole.len)
			copy[i - whole.len] ^= 0x15;
		while ((more = cas_batch_next(&rest, CAS_BATCH_READ,
			    DIGEST_SHA256, &item, &err)) == 1)
			assert_true(item.data.len <= len);
		/* A cut between the two items leaves a whole message. */
		if (i < whole.len)
			assert_int_equal(more,
			    i == 0 || i == whole.len - second.len ? 0 : -1);
		free(copy);
	}
	arena_clear(&arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lists_of_digests_are_encoded),
	    cmocka_unit_test(uploads_are_encoded),
	    cmocka_unit_test(reads_are_encoded),
	    cmocka_unit_test(resource_names_have_the_form_of_the_specification),
	    cmocka_unit_test(items_of_a_batch_are_scanned),
	    cmocka_unit_test(malformed_responses_are_survived),
	};
	int failed;

	rpc_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rpc_shutdown();
	return failed;
}
