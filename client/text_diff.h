/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The unified difference of two small texts, as people know it from diff -u,
 * without the two lines that name the files. Pure.
 */
#ifndef TOOLROOT_CLIENT_TEXT_DIFF_H
#define TOOLROOT_CLIENT_TEXT_DIFF_H

#include "base/str.h"

struct buffer;

/* Appends it to out. -1 past the buffer's limit, what came before stays. */
int text_diff_unified(struct str before, struct str after, struct buffer *out);
/* Whether it is text: UTF-8 without NUL. */
static inline bool
text_diff_is_text(struct str content)
{
	return str_is_utf8(content);
}

#endif
