/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on borrowed strings. No state, any thread. */
#include "base/str.h"

int
str_compare(struct str a, struct str b)
{
	size_t shared = a.len < b.len ? a.len : b.len;
	int order = shared > 0 ? memcmp(a.data, b.data, shared) : 0;

	if (order != 0)
		return order;
	return (a.len > b.len) - (a.len < b.len);
}

bool
str_starts_with(struct str s, struct str prefix)
{
	return s.len >= prefix.len &&
	       str_equal((struct str){s.data, prefix.len}, prefix);
}

struct str
str_cut(struct str *rest, char separator)
{
	struct str head = *rest;
	const char *at =
	    rest->len > 0 ? memchr(rest->data, separator, rest->len) : NULL;

	if (at == NULL) {
		*rest = (struct str){NULL, 0};
		return head;
	}
	head.len = (size_t)(at - head.data);
	rest->data = at + 1;
	rest->len -= head.len + 1;
	return head;
}

bool
str_to_uint64(struct str s, uint64_t max, uint64_t *value)
{
	uint64_t sum = 0;

	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		unsigned digit = (unsigned)(unsigned char)s.data[i] - '0';

		if (digit > 9 || __builtin_mul_overflow(sum, 10u, &sum) ||
		    __builtin_add_overflow(sum, digit, &sum) || sum > max)
			return false;
	}
	*value = sum;
	return true;
}

/* Length of the sequence that starts with lead, and the smallest code point
 * that needs so many bytes; 0 for a byte that starts none. */
static size_t
utf8_length(unsigned char lead, uint32_t *code, uint32_t *smallest)
{
	if (lead < 0x80) {
		*code = lead;
		*smallest = 1;
		return 1;
	}
	if ((lead & 0xe0) == 0xc0) {
		*code = lead & 0x1fu;
		*smallest = 0x80;
		return 2;
	}
	if ((lead & 0xf0) == 0xe0) {
		*code = lead & 0x0fu;
		*smallest = 0x800;
		return 3;
	}
	if ((lead & 0xf8) == 0xf0) {
		*code = lead & 0x07u;
		*smallest = 0x10000;
		return 4;
	}
	return 0;
}

size_t
str_utf8_next(struct str s, uint32_t *code)
{
	uint32_t smallest;
	size_t length =
	    s.len > 0 ? utf8_length((unsigned char)s.data[0], code, &smallest)
		      : 0;

	if (length == 0 || length > s.len)
		return 0;
	for (size_t i = 1; i < length; i++) {
		unsigned char byte = (unsigned char)s.data[i];

		if ((byte & 0xc0) != 0x80)
			return 0;
		*code = *code << 6 | (byte & 0x3fu);
	}
	if (*code < smallest || *code > 0x10ffff ||
	    (*code >= 0xd800 && *code <= 0xdfff))
		return 0;
	return length;
}

/* Eight bytes of ASCII without NUL, as nearly all is that is asked about. */
static bool
str_begins_ascii(struct str s)
{
	uint64_t word;

	if (s.len < sizeof(word))
		return false;
	memcpy(&word, s.data, sizeof(word));
	/* One less than each: a NUL has its highest bit then. */
	return ((word | (word - 0x0101010101010101u)) & 0x8080808080808080u) ==
	       0;
}

bool
str_is_utf8(struct str s)
{
	while (s.len > 0) {
		uint32_t code;
		size_t length = sizeof(uint64_t);

		if (!str_begins_ascii(s))
			length = str_utf8_next(s, &code);

		if (length == 0)
			return false;
		s.data += length;
		s.len -= length;
	}
	return true;
}
