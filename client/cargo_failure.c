/* SPDX-License-Identifier: Apache-2.0 */
/* Linkers name each library once or twice, as text or within JSON. */
#include "client/cargo_failure.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "client/cargo_strings.h"

/* lld's words, and those of GNU's linkers and mold. */
static const char *const signs[] = {
    "unable to find library -l", "cannot find -l", "library not found: "};

#define NAME_CHARACTERS \
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+."

static void
take_name(struct str text, struct cargo_strings *names)
{
	size_t length = 0;
	char *name;

	while (length < text.len && text.data[length] != '\0' &&
	       strchr(NAME_CHARACTERS, text.data[length]) != NULL)
		length++;
	name = xstrndup(text.data, length);
	if (length > 0 && !cargo_strings_have(names, name))
		cargo_strings_add(names, name);
	free(name);
}

static void
take_names(struct str rest, const char *sign, struct cargo_strings *names)
{
	size_t length = strlen(sign);
	const char *at;

	while (rest.len > 0 &&
	       (at = memmem(rest.data, rest.len, sign, length)) != NULL) {
		rest.len -= (size_t)(at - rest.data) + length;
		rest.data = at + length;
		take_name(rest, names);
	}
}

static char *
join(const struct cargo_strings *names)
{
	char *all = xstrndup("", 0);

	for (size_t i = 0; i < names->count; i++) {
		char *longer =
		    xasprintf("%s --library %s", all, names->items[i]);

		free(all);
		all = longer;
	}
	return all;
}

int
cargo_failure_set(int status, struct str messages, struct error *err)
{
	struct cargo_strings names = {.count = 0};
	char *options;

	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
		take_names(messages, signs[i], &names);
	options = join(&names);
	if (names.count > 0)
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "the linker lacks libraries on the worker; try%s", options);
	else
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "the compiler failed on the worker with status %d", status);
	free(options);
	cargo_strings_clear(&names);
	return -1;
}
