/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing list of owned strings that always ends in NULL, as argv does. Part
 * of the cargo front. One thread at a time.
 */
#ifndef TOOLROOT_CLIENT_CARGO_STRINGS_H
#define TOOLROOT_CLIENT_CARGO_STRINGS_H

#include <stdbool.h>
#include <stddef.h>

/* All zero is an empty list (items is NULL then). */
struct cargo_strings {
	char **items; /* count many, then NULL */
	size_t count;
	size_t capacity;
};

/* Takes text, which is memory of malloc; returns it. */
char *cargo_strings_take(struct cargo_strings *list, char *text);
/* Adds a copy; returns it. */
char *cargo_strings_add(struct cargo_strings *list, const char *text);
/* An empty list ends in NULL from then on, too. */
void cargo_strings_end(struct cargo_strings *list);
bool cargo_strings_have(const struct cargo_strings *list, const char *text);
void cargo_strings_clear(struct cargo_strings *list);

/* The value of NAME in "NAME=value" strings that end in NULL; NULL when it is
 * not there. */
const char *cargo_strings_value(char *const *environment, const char *name);

#endif
