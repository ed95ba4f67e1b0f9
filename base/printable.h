/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts of others, before a terminal or a log shows them. Control characters
 * (those of U+0080 to U+009F too, which terminals obey like escapes), marks
 * that turn the direction of writing round, and bytes that are no UTF-8 become
 * '?', one for each byte. Pure.
 */
#ifndef TOOLROOT_BASE_PRINTABLE_H
#define TOOLROOT_BASE_PRINTABLE_H

#include <stddef.h>

#include "base/str.h"

enum printable {
	PRINTABLE_LINE,  /* newlines and tabs are controls, too */
	PRINTABLE_LINES, /* they stay */
};

/* In place; the length stays. */
void printable_make(char *text, size_t len, enum printable kind);
/* One line of it, malloced. */
char *printable_line(struct str text);

#endif
