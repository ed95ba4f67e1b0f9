/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The protobuf wire format, read and written in place: for the hot messages
 * (FindMissingBlobs, Batch*, ByteStream), where unpacking would copy every
 * blob. Pure functions over bytes; any thread.
 *
 * Source: protobuf.dev "Encoding".
 */
#ifndef TOOLROOT_PROTOS_WIRE_H
#define TOOLROOT_PROTOS_WIRE_H

#include "base/str.h"

enum wire_type {
	WIRE_VARINT = 0,
	WIRE_FIXED64 = 1,
	WIRE_BYTES = 2,
	WIRE_FIXED32 = 5,
};

struct wire_field {
	uint32_t number;
	enum wire_type type;
	uint64_t value;   /* VARINT, FIXED64, FIXED32 */
	struct str bytes; /* BYTES: points into the input */
};

/* Takes the next field off *rest. 1, 0 at the end, -1 when malformed (cut
 * off, field number 0, groups). */
int wire_next(struct str *rest, struct wire_field *field);

#define WIRE_VARINT_MAX 10
/* Returns the number of bytes written, at most WIRE_VARINT_MAX. */
size_t wire_put_varint(uint8_t *out, uint64_t value);
size_t wire_varint_size(uint64_t value);
/* Tag and length of a bytes field; the content follows. At most
 * 2 * WIRE_VARINT_MAX bytes. */
size_t wire_put_bytes_header(uint8_t *out, uint32_t number, size_t len);
/* Tag and value of a varint field, at most 2 * WIRE_VARINT_MAX bytes. */
size_t wire_put_varint_field(uint8_t *out, uint32_t number, uint64_t value);

#endif
