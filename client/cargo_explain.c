/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of the record, each with what the server knows of its action. */
#include "client/cargo_explain.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "client/explain_command.h"

char *
cargo_explain_record(const char *target)
{
	return xasprintf("%s/.toolroot/last-build.json", target);
}

/* "" when there is none. */
static const char *
text(const json_t *row, const char *key)
{
	const char *value = json_string_value(json_object_get(row, key));

	return value != NULL ? value : "";
}

/* A package may be named with "-" where its crate has "_". */
static bool
is_named(const char *name, const char *wanted)
{
	while (*name != '\0' &&
	       (*name == *wanted || (*name == '-' && *wanted == '_') ||
		   (*name == '_' && *wanted == '-'))) {
		name++;
		wanted++;
	}
	return *name == '\0' && *wanted == '\0';
}

static void
explain_row(const struct client_options *client, const json_t *row)
{
	const char *outcome = text(row, "outcome");
	const char *action = text(row, "action");
	struct error err;

	printf("%s (%s): %s, %.1f s\n", text(row, "package"), text(row, "type"),
	    outcome,
	    (double)json_integer_value(json_object_get(row, "wall_ms")) / 1000);
	if (text(row, "cause")[0] != '\0')
		printf("  why       %s\n", text(row, "cause"));
	if (strcmp(outcome, "remote") != 0) {
		if (action[0] != '\0')
			printf("  action    %s\n", action);
		putchar('\n');
		return;
	}
	/* Its text follows ours. */
	fflush(stdout);
	if (explain_action(client, action, &err) < 0)
		printf("  action    %s\n  %s\n\n", action, err.text);
}

int
cargo_explain(const struct client_options *client, const char *target,
    const char *crate, struct error *err)
{
	char *path = cargo_explain_record(target);
	json_t *record = json_load_file(path, 0, NULL);
	json_t *rows = json_object_get(record, "crates");
	size_t found = 0;
	int rc = 0;

	for (size_t i = 0; i < json_array_size(rows); i++) {
		const json_t *row = json_array_get(rows, i);

		if (!is_named(text(row, "crate"), crate) &&
		    !is_named(text(row, "package"), crate))
			continue;
		explain_row(client, row);
		found++;
	}
	if (record == NULL)
		rc = error_set(err, ERROR_NOT_FOUND,
		    "%s is not there or cannot be read: no build was made here "
		    "with `cargo toolroot`",
		    path);
	else if (found == 0)
		rc = error_set(err, ERROR_NOT_FOUND,
		    "%s is none of the %zu crates that were compiled in the "
		    "last build that compiled any (%s)",
		    crate, json_array_size(rows), path);
	json_decref(record);
	free(path);
	return rc;
}
