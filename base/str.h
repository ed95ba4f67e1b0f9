/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A borrowed run of bytes with its length, passed by value. It owns nothing
 * and need not end in NUL; a NUL-terminated string is made only where a system
 * call wants one.
 */
#ifndef TOOLROOT_BASE_STR_H
#define TOOLROOT_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
	const char *data;
	size_t len;
};

/* printf: "%.*s", STR_ARG(s) */
#define STR_ARG(s) (int)(s).len, (s).data
#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})

static inline struct str
str_from(const char *text)
{
	return (struct str){
	    text != NULL ? text : "", text != NULL ? strlen(text) : 0};
}

static inline bool
str_equal(struct str a, struct str b)
{
	return a.len == b.len &&
	       (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Bytewise order, shorter first: the order of REAPI's sorted lists. */
int str_compare(struct str a, struct str b);
bool str_starts_with(struct str s, struct str prefix);
/* Cuts *rest at the first separator and returns what stood before it; the
 * whole when there is none, and *rest is then empty with data NULL. */
struct str str_cut(struct str *rest, char separator);
/* Decimal digits only, no sign, no blanks; false when not so or above max. */
bool str_to_uint64(struct str s, uint64_t max, uint64_t *value);
/* Bytes of the first character of s, whose number is put into *code; 0 where
 * no well-formed UTF-8 begins, or a NUL, and when s is empty. */
size_t str_utf8_next(struct str s, uint32_t *code);
/* Well-formed UTF-8 without NUL. */
bool str_is_utf8(struct str s);

#endif
