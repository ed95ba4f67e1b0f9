/* SPDX-License-Identifier: Apache-2.0 */
/* WriteRequest in place. Pure. */
#include "frontend/write_request.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "protos/wire.h"

enum { RESOURCE_NAME = 1, WRITE_OFFSET = 2, FINISH_WRITE = 3, DATA = 10 };

static void
take_field(struct write_request *request, const struct wire_field *field)
{
	if (field->number == RESOURCE_NAME && field->type == WIRE_BYTES)
		request->resource_name = field->bytes;
	else if (field->number == WRITE_OFFSET && field->type == WIRE_VARINT)
		request->write_offset = (int64_t)field->value;
	else if (field->number == FINISH_WRITE && field->type == WIRE_VARINT)
		request->finish_write = field->value != 0;
}

static int
parse_flat(struct str message, struct write_request *request)
{
	struct str rest = message;
	struct wire_field field;
	int more;

	while ((more = wire_next(&rest, &field)) > 0) {
		take_field(request, &field);
		if (field.number == DATA && field.type == WIRE_BYTES) {
			request->data_offset =
			    (size_t)(field.bytes.data - message.data);
			request->data_len = field.bytes.len;
		}
	}
	return more;
}

/* The tag and length of the data field at the head of rest; returns their
 * size, or 0 when something else stands there. */
static size_t
data_header(struct str rest, uint64_t *len)
{
	size_t at = 1;

	if (rest.len < 2 || rest.data[0] != (DATA << 3 | WIRE_BYTES))
		return 0;
	*len = 0;
	for (; at < rest.len && at <= WIRE_VARINT_MAX; at++) {
		unsigned char byte = (unsigned char)rest.data[at];

		*len |= (uint64_t)(byte & 0x7fu) << (7 * (at - 1) % 64);
		if ((byte & 0x80u) == 0)
			return at + 1;
	}
	return 0;
}

/* The usual order: short fields in the first part, then data to the end. */
static bool
parse_usual(struct str first, size_t total, struct write_request *request)
{
	struct str rest = first;
	struct wire_field field;
	uint64_t len;

	while (rest.len > 0) {
		size_t header = data_header(rest, &len);
		size_t at = (size_t)(rest.data - first.data);

		if (header > 0) {
			request->data_offset = at + header;
			request->data_len = (size_t)len;
			return len == total - request->data_offset;
		}
		if (wire_next(&rest, &field) < 0)
			return false;
		take_field(request, &field);
	}
	return first.len == total;
}

static char *
make_flat(const struct iovec *parts, size_t count, size_t total)
{
	char *flat = xmalloc(total);
	size_t used = 0;

	for (size_t i = 0; i < count; i++) {
		memcpy(flat + used, parts[i].iov_base, parts[i].iov_len);
		used += parts[i].iov_len;
	}
	return flat;
}

int
write_request_parse(const struct iovec *parts, size_t count,
    struct write_request *request, struct error *err)
{
	static const struct write_request none = {
	    .resource_name = {"", 0},
	};
	size_t total = 0;

	*request = none;
	for (size_t i = 0; i < count; i++)
		total += parts[i].iov_len;
	if (total == 0)
		return 0;
	if (parse_usual((struct str){parts[0].iov_base, parts[0].iov_len},
		total, request))
		return 0;
	*request = none;
	request->flat = make_flat(parts, count, total);
	if (parse_flat((struct str){request->flat, total}, request) == 0)
		return 0;
	free(request->flat);
	request->flat = NULL;
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "a WriteRequest of %zu bytes is malformed", total);
}

size_t
write_request_data(const struct write_request *request,
    const struct iovec *parts, size_t count, struct iovec *out)
{
	size_t begin = request->data_offset;
	size_t left = request->data_len;
	size_t used = 0;

	if (request->flat != NULL) {
		*out = (struct iovec){request->flat + begin, left};
		return left > 0 ? 1 : 0;
	}
	for (size_t i = 0; i < count && left > 0; i++) {
		char *data = parts[i].iov_base;
		size_t len = parts[i].iov_len;

		if (begin >= len) {
			begin -= len;
			continue;
		}
		data += begin;
		len -= begin;
		begin = 0;
		len = len < left ? len : left;
		left -= len;
		out[used++] = (struct iovec){data, len};
	}
	return used;
}
