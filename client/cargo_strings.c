/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of owned strings. No other state. */
#include "client/cargo_strings.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void
cargo_strings_end(struct cargo_strings *list)
{
	if (list->count + 1 >= list->capacity) {
		list->capacity = 2 * list->capacity + 16;
		list->items = xreallocarray(
		    list->items, list->capacity, sizeof(*list->items));
	}
	list->items[list->count] = NULL;
}

char *
cargo_strings_take(struct cargo_strings *list, char *text)
{
	cargo_strings_end(list);
	list->items[list->count++] = text;
	list->items[list->count] = NULL;
	return text;
}

char *
cargo_strings_add(struct cargo_strings *list, const char *text)
{
	return cargo_strings_take(list, xstrdup(text));
}

bool
cargo_strings_have(const struct cargo_strings *list, const char *text)
{
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->items[i], text) == 0)
			return true;
	}
	return false;
}

void
cargo_strings_clear(struct cargo_strings *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct cargo_strings){NULL, 0, 0};
}

const char *
cargo_strings_value(char *const *environment, const char *name)
{
	size_t length = strlen(name);

	for (; *environment != NULL; environment++) {
		if (strncmp(*environment, name, length) == 0 &&
		    (*environment)[length] == '=')
			return *environment + length + 1;
	}
	return NULL;
}
