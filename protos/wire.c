/* SPDX-License-Identifier: Apache-2.0 */
/* Protobuf wire format. Pure. */
#include "protos/wire.h"

static bool
take_varint(struct str *rest, uint64_t *value)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < WIRE_VARINT_MAX && i < rest->len; i++) {
		unsigned char byte = (unsigned char)rest->data[i];

		if (i == WIRE_VARINT_MAX - 1 && byte > 1)
			return false;
		sum |= (uint64_t)(byte & 0x7fu) << (7 * i);
		if ((byte & 0x80u) == 0) {
			rest->data += i + 1;
			rest->len -= i + 1;
			*value = sum;
			return true;
		}
	}
	return false;
}

static bool
take_fixed(struct str *rest, size_t width, uint64_t *value)
{
	uint64_t sum = 0;

	if (rest->len < width)
		return false;
	for (size_t i = width; i-- > 0;)
		sum = sum << 8 | (unsigned char)rest->data[i];
	rest->data += width;
	rest->len -= width;
	*value = sum;
	return true;
}

static bool
take_bytes(struct str *rest, struct str *bytes)
{
	uint64_t len;

	if (!take_varint(rest, &len) || len > rest->len)
		return false;
	*bytes = (struct str){rest->data, (size_t)len};
	rest->data += len;
	rest->len -= (size_t)len;
	return true;
}

int
wire_next(struct str *rest, struct wire_field *field)
{
	uint64_t tag;
	bool whole;

	if (rest->len == 0)
		return 0;
	if (!take_varint(rest, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
		return -1;
	field->number = (uint32_t)(tag >> 3);
	field->value = 0;
	field->bytes = (struct str){NULL, 0};
	switch (tag & 7) {
	case WIRE_VARINT:
		field->type = WIRE_VARINT;
		whole = take_varint(rest, &field->value);
		break;
	case WIRE_FIXED64:
		field->type = WIRE_FIXED64;
		whole = take_fixed(rest, 8, &field->value);
		break;
	case WIRE_BYTES:
		field->type = WIRE_BYTES;
		whole = take_bytes(rest, &field->bytes);
		break;
	case WIRE_FIXED32:
		field->type = WIRE_FIXED32;
		whole = take_fixed(rest, 4, &field->value);
		break;
	default:
		whole = false;
	}
	return whole ? 1 : -1;
}

size_t
wire_put_varint(uint8_t *out, uint64_t value)
{
	size_t used = 0;

	for (; value >= 0x80; value >>= 7)
		out[used++] = (uint8_t)(value | 0x80);
	out[used++] = (uint8_t)value;
	return used;
}

size_t
wire_varint_size(uint64_t value)
{
	size_t size = 1;

	for (; value >= 0x80; value >>= 7)
		size++;
	return size;
}

size_t
wire_put_bytes_header(uint8_t *out, uint32_t number, size_t len)
{
	size_t used = wire_put_varint(out, (uint64_t)number << 3 | WIRE_BYTES);

	return used + wire_put_varint(out + used, len);
}

size_t
wire_put_varint_field(uint8_t *out, uint32_t number, uint64_t value)
{
	size_t used = wire_put_varint(out, (uint64_t)number << 3 | WIRE_VARINT);

	return used + wire_put_varint(out + used, value);
}
