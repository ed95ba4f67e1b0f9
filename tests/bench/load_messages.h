/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of the API put together by the wire format, and the blobs that they
 * carry: numbered, so that the same number is the same blob, and nothing needs
 * to be remembered. For benches, hence static; see load_client.h.
 */
#ifndef TOOLROOT_TESTS_BENCH_LOAD_MESSAGES_H
#define TOOLROOT_TESTS_BENCH_LOAD_MESSAGES_H

#include "base/buffer.h"
#include "cas/digest.h"
#include "protos/wire.h"
#include "tests/bench/load_client.h"

#define UPDATE_PATH \
	"/build.bazel.remote.execution.v2.ContentAddressableStorage/" \
	"BatchUpdateBlobs"
#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define BATCH 1000
#define MESSAGE_MAX (64 * MIB)

/* --- messages --------------------------------------------------------------
 */

static inline void
put(struct buffer *out, const void *data, size_t len)
{
	if (buffer_append(out, data, len) < 0)
		load_die("request", "too large");
}

static inline void
put_bytes(struct buffer *out, uint32_t field, const void *data, size_t len)
{
	uint8_t header[2 * WIRE_VARINT_MAX];

	put(out, header, wire_put_bytes_header(header, field, len));
	put(out, data, len);
}

static inline void
put_text(struct buffer *out, uint32_t field, const char *text)
{
	put_bytes(out, field, text, strlen(text));
}

static inline void
put_number(struct buffer *out, uint32_t field, uint64_t value)
{
	uint8_t bytes[2 * WIRE_VARINT_MAX];

	put(out, bytes, wire_put_varint_field(bytes, field, value));
}

/* Takes the inner message. */
static inline void
put_message(struct buffer *out, uint32_t field, struct buffer *inner)
{
	put_bytes(out, field, inner->data, inner->len);
	buffer_clear(inner);
}

static inline void
put_digest(struct buffer *out, uint32_t field, const struct digest *digest)
{
	char hash[DIGEST_TEXT_MAX];
	struct buffer inner;

	buffer_init(&inner, KIB);
	put_text(&inner, 1, digest_format_hash(digest, hash));
	put_number(&inner, 2, digest->size);
	put_message(out, field, &inner);
}

/* Takes the bytes. */
static inline grpc_byte_buffer *
to_request(struct buffer *bytes)
{
	grpc_slice slice = grpc_slice_from_copied_buffer(
	    bytes->len > 0 ? bytes->data : "", bytes->len);
	grpc_byte_buffer *request = grpc_raw_byte_buffer_create(&slice, 1);

	grpc_slice_unref(slice);
	buffer_clear(bytes);
	return request;
}

/* --- blobs -----------------------------------------------------------------
 */

/* The content of blob number: bytes that nothing compresses. */
static inline void
fill(char *content, size_t len, uint64_t number)
{
	uint64_t state = number * 0x9e3779b97f4a7c15u + 1;

	for (size_t i = 0; i + 8 <= len; i += 8) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		memcpy(content + i, &state, 8);
	}
}

static inline void
blob_digest(uint64_t number, struct digest *digest)
{
	char content[KIB];

	fill(content, sizeof(content), number);
	digest_compute(DIGEST_SHA256, content, sizeof(content), digest);
}

static inline void
put_update(struct buffer *out, const void *data, size_t len)
{
	struct digest digest;
	struct buffer inner;

	buffer_init(&inner, MESSAGE_MAX);
	digest_compute(DIGEST_SHA256, data, len, &digest);
	put_digest(&inner, 1, &digest);
	put_bytes(&inner, 2, data, len);
	put_message(out, 2, &inner);
}

/* BatchUpdateBlobs of BATCH blobs of 1 KiB from number first on. */
static inline grpc_byte_buffer *
batch_request(uint64_t first)
{
	char content[KIB];
	struct buffer request;

	buffer_init(&request, MESSAGE_MAX);
	for (size_t i = 0; i < BATCH; i++) {
		fill(content, sizeof(content), first + i);
		put_update(&request, content, sizeof(content));
	}
	return to_request(&request);
}

/* Every response of BatchUpdateBlobs has status OK. */
static inline void
check_updates(size_t number, struct str reply, void *cookie)
{
	struct wire_field response, part, status;

	(void)number;
	(void)cookie;
	while (wire_next(&reply, &response) > 0)
		while (wire_next(&response.bytes, &part) > 0)
			while (part.number == 2 &&
			       wire_next(&part.bytes, &status) > 0)
				if (status.number == 1 && status.value != 0)
					load_die(UPDATE_PATH,
					    "a blob was not stored");
}

#endif
