/* SPDX-License-Identifier: Apache-2.0 */
/* `toolroot toolchain diff A B`: two sorted lists side by side. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "client/command.h"
#include "client/toolchain_commands.h"
#include "client/toolchain_files.h"

struct diff_options {
	struct client_options client;
	bool json;
};

static const struct setting table[] = {
    {"json", SETTING_FLAG, offsetof(struct diff_options, json), "", "no",
	"Print JSON."},
    CLIENT_OPTIONS_TABLE(struct diff_options),
};

static const struct settings diff_settings = {
    .command = "toolchain diff",
    .section = "client",
    .synopsis = "A B [options]",
    .about = "Prints the paths that were added (+), removed (-) or changed (!) "
	     "from\ntoolchain A to toolchain B, with their sizes.",
    .table = table,
    .count = sizeof(table) / sizeof(table[0]),
};

struct diff {
	json_t *list; /* NULL: print */
	size_t added;
	size_t removed;
	size_t changed;
};

/* "file 12", "exec 12", "link -> x", "directory". */
static char *
describe(const struct capture_entry *entry)
{
	if (entry->kind == CAPTURE_DIRECTORY)
		return xstrdup("directory");
	if (entry->kind == CAPTURE_SYMLINK)
		return xasprintf("link -> %s", entry->target);
	return xasprintf("%s %" PRIu64 " bytes",
	    entry->executable ? "executable" : "file", entry->size);
}

static bool
is_equal(const struct capture_entry *a, const struct capture_entry *b)
{
	if (a->kind != b->kind || a->executable != b->executable)
		return false;
	if (a->kind == CAPTURE_SYMLINK)
		return strcmp(a->target, b->target) == 0;
	return a->kind == CAPTURE_DIRECTORY ||
	       digest_equal(&a->digest, &b->digest);
}

static void
tell_json(
    struct diff *diff, const char *path, const char *before, const char *after)
{
	const char *change = "changed";

	if (before == NULL)
		change = "added";
	else if (after == NULL)
		change = "removed";
	json_array_append_new(diff->list,
	    json_pack("{s:s, s:s, s:s*, s:s*}", "path", path, "change", change,
		"before", before, "after", after));
}

static void
tell_text(const char *path, char *before, char *after)
{
	if (before != NULL)
		toolchain_commands_clean(before);
	if (after != NULL)
		toolchain_commands_clean(after);
	if (before == NULL)
		printf("+ /%s (%s)\n", path, after);
	else if (after == NULL)
		printf("- /%s (%s)\n", path, before);
	else if (strcmp(before, after) == 0)
		printf("! /%s (%s, other content)\n", path, before);
	else
		printf("! /%s (%s, now %s)\n", path, before, after);
}

/* Either entry may be NULL, not both. */
static void
tell(struct diff *diff, const char *path, const struct capture_entry *a,
    const struct capture_entry *b)
{
	char *before = a != NULL ? describe(a) : NULL;
	char *after = b != NULL ? describe(b) : NULL;
	char *shown = xstrdup(path);

	if (diff->list != NULL) {
		tell_json(diff, path, before, after);
	} else {
		toolchain_commands_clean(shown);
		tell_text(shown, before, after);
	}
	diff->added += a == NULL;
	diff->removed += b == NULL;
	diff->changed += a != NULL && b != NULL;
	free(shown);
	free(before);
	free(after);
}

static void
compare(struct diff *diff, const struct capture_tree *left,
    const struct capture_tree *right)
{
	size_t left_count, right_count, i = 0, j = 0;
	struct capture_entry **a = capture_tree_list(left, &left_count);
	struct capture_entry **b = capture_tree_list(right, &right_count);

	while (i < left_count || j < right_count) {
		int order;

		if (i == left_count)
			order = 1;
		else if (j == right_count)
			order = -1;
		else
			order = strcmp(a[i]->path, b[j]->path);
		if (order < 0)
			tell(diff, a[i]->path, a[i], NULL);
		else if (order > 0)
			tell(diff, b[j]->path, NULL, b[j]);
		else if (!is_equal(a[i], b[j]))
			tell(diff, a[i]->path, a[i], b[j]);
		i += order <= 0;
		j += order >= 0;
	}
	free(a);
	free(b);
}

static void
print_end(struct diff *diff)
{
	if (diff->list != NULL) {
		toolchain_commands_print_json(diff->list);
		diff->list = NULL;
		return;
	}
	if (diff->added + diff->removed + diff->changed == 0)
		printf("They are the same.\n");
	else
		printf("%zu added, %zu removed, %zu changed\n", diff->added,
		    diff->removed, diff->changed);
}

/* NULL on error. */
static struct capture_tree *
read_named(struct toolchain_server *server, const char *name, struct error *err)
{
	struct digest root;
	struct capture_tree *tree = NULL;

	if (toolchain_commands_get(server, name, &root, err) != NULL)
		tree = toolchain_files_read(server->cas, &root, err);
	if (tree == NULL)
		error_prefix(err, "%s", name);
	return tree;
}

static int
diff_run(void *cookie, char **names, int *status, struct error *err)
{
	const struct diff_options *options = cookie;
	struct toolchain_server server = {.cas = NULL};
	struct diff diff = {.list = options->json ? json_array() : NULL};
	struct capture_tree *left = NULL, *right = NULL;
	int rc = toolchain_commands_open(&server, &options->client, true, err);

	(void)status;
	if (rc == 0)
		left = read_named(&server, names[0], err);
	if (left != NULL)
		right = read_named(&server, names[1], err);
	rc = right != NULL ? 0 : -1;
	if (rc == 0) {
		compare(&diff, left, right);
		print_end(&diff);
	}
	json_decref(diff.list);
	capture_tree_free(left);
	capture_tree_free(right);
	toolchain_commands_close(&server);
	return rc;
}

int
toolchain_commands_diff(char **argv)
{
	struct diff_options options = {.json = false};
	const struct command command = {.settings = &diff_settings,
	    .options = &options,
	    .arguments = 2,
	    .rpc = true,
	    .run = diff_run};

	return command_run(&command, argv);
}
