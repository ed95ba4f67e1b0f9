/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes are compared, whole fields are cut. */
#include "executor/message_difference.h"

#include "protos/wire.h"

static void
cut_start(struct str *before, struct str *after)
{
	struct str rest = *before;
	struct wire_field field;

	while (wire_next(&rest, &field) > 0) {
		size_t len = before->len - rest.len;

		if (len > after->len ||
		    memcmp(before->data, after->data, len) != 0)
			return;
		*before = rest;
		after->data += len;
		after->len -= len;
	}
}

static size_t
common_end(struct str before, struct str after)
{
	size_t most = before.len < after.len ? before.len : after.len;
	size_t len = 0;

	while (len < most && before.data[before.len - len - 1] ==
				 after.data[after.len - len - 1])
		len++;
	return len;
}

/* Where a field begins on both sides, and everything from there on is the
 * same; a field may end with the bytes of another. */
static void
cut_end(struct str *before, struct str *after)
{
	size_t len = common_end(*before, *after);
	struct str a = *before, b = *after;
	struct wire_field field;

	while (a.len > len || b.len > len || a.len != b.len) {
		struct str *longer = a.len >= b.len ? &a : &b;

		if (wire_next(longer, &field) <= 0)
			return;
	}
	before->len -= a.len;
	after->len -= b.len;
}

void
message_difference(struct str *before, struct str *after)
{
	cut_start(before, after);
	cut_end(before, after);
}
