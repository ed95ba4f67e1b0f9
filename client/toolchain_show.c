/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `toolroot toolchain show`: what was recorded, the programs that are in it,
 * its tree with sizes, and the lines to use it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"
#include "client/command.h"
#include "client/toolchain_commands.h"
#include "client/toolchain_files.h"
#include "client/toolchain_progress.h"

struct show_options {
	struct client_options client;
	uint64_t depth;
	bool files;
	bool json;
};

#define FIELD(name) offsetof(struct show_options, name)

static const struct setting table[] = {
    {"depth", SETTING_COUNT, FIELD(depth), "N", "2",
	"How deep directories are shown with their sizes; 0: not at all."},
    {"files", SETTING_FLAG, FIELD(files), "", "no",
	"Every file and link, with its digest, instead of directories."},
    {"json", SETTING_FLAG, FIELD(json), "", "no",
	"Print JSON; with --files the files too."},
    CLIENT_OPTIONS_TABLE(struct show_options),
};

static const struct settings show_settings = {
    .command = "toolchain show",
    .section = "client",
    .synopsis = "NAME [options]",
    .about = "Prints what is in a toolchain and how to use it.",
    .table = table,
    .count = sizeof(table) / sizeof(table[0]),
};

/* --- directories ---------------------------------------------------------- */

struct directory_size {
	struct str path; /* borrowed from the entry */
	uint64_t bytes;
	uint64_t files;
};

static size_t
depth_of(const char *path)
{
	size_t depth = 1;

	for (; *path != '\0'; path++)
		depth += *path == '/';
	return depth;
}

/* Adds a file to all directories above it. */
static void
count_file(struct map *sizes, const struct capture_entry *entry)
{
	for (size_t i = 0; entry->path[i] != '\0'; i++) {
		struct directory_size *size;

		if (entry->path[i] != '/')
			continue;
		size = map_get(sizes, (struct str){entry->path, i});
		if (size == NULL)
			continue;
		size->bytes += entry->size;
		size->files++;
	}
}

static void
print_directories(struct capture_entry **list, size_t count, uint64_t depth)
{
	struct directory_size *sizes = xcalloc(count + 1, sizeof(*sizes));
	char text[TOOLCHAIN_SIZE_MAX];
	struct map by_path;
	size_t used = 0;

	map_init(&by_path);
	for (size_t i = 0; i < count; i++) {
		if (list[i]->kind != CAPTURE_DIRECTORY ||
		    depth_of(list[i]->path) > depth)
			continue;
		sizes[used].path = str_from(list[i]->path);
		map_put(&by_path, sizes[used].path, &sizes[used]);
		used++;
	}
	for (size_t i = 0; i < count; i++) {
		if (list[i]->kind == CAPTURE_FILE)
			count_file(&by_path, list[i]);
	}
	if (used > 0)
		printf("\nDirectories\n");
	for (size_t i = 0; i < used; i++)
		printf("  %10s %7llu files  /%.*s\n",
		    toolchain_progress_size(sizes[i].bytes, text),
		    (unsigned long long)sizes[i].files, STR_ARG(sizes[i].path));
	map_clear(&by_path);
	free(sizes);
}

/* --- files ---------------------------------------------------------------- */

static void
print_file(const struct capture_entry *entry)
{
	char text[DIGEST_TEXT_MAX];

	if (entry->kind == CAPTURE_SYMLINK)
		printf("  link /%s -> %s\n", entry->path, entry->target);
	else if (entry->kind == CAPTURE_FILE)
		printf("  %s /%s %s\n", entry->executable ? "exec" : "file",
		    entry->path, digest_format(&entry->digest, text));
}

static json_t *
file_json(const struct capture_entry *entry)
{
	char text[DIGEST_TEXT_MAX];

	if (entry->kind == CAPTURE_SYMLINK)
		return json_pack("{s:s, s:s, s:s}", "path", entry->path, "kind",
		    "symlink", "target", entry->target);
	if (entry->kind == CAPTURE_DIRECTORY)
		return json_pack(
		    "{s:s, s:s}", "path", entry->path, "kind", "directory");
	return json_pack("{s:s, s:s, s:b, s:I, s:s}", "path", entry->path,
	    "kind", "file", "executable", entry->executable, "size",
	    (json_int_t)entry->size, "digest",
	    digest_format(&entry->digest, text));
}

/* --- programs ------------------------------------------------------------- */

/* What can be run, as far as the place and the executable bit tell. */
static bool
is_program(const struct capture_entry *entry)
{
	const char *slash = strrchr(entry->path, '/');
	struct str directory = {
	    entry->path, slash != NULL ? (size_t)(slash - entry->path) : 0};
	struct str parts[] = {STR("bin"), STR("sbin")};

	if (entry->kind == CAPTURE_FILE && !entry->executable)
		return false;
	if (entry->kind == CAPTURE_DIRECTORY || slash == NULL)
		return false;
	for (size_t i = 0; i < 2; i++) {
		struct str part = parts[i];

		if (directory.len < part.len ||
		    memcmp(directory.data + directory.len - part.len, part.data,
			part.len) != 0)
			continue;
		if (directory.len == part.len ||
		    directory.data[directory.len - part.len - 1] == '/')
			return true;
	}
	return false;
}

static void
print_programs(struct capture_entry **list, size_t count)
{
	struct str before = {NULL, 0};
	size_t column = 0;

	for (size_t i = 0; i < count; i++) {
		const char *name = strrchr(list[i]->path, '/');
		struct str directory;

		if (!is_program(list[i]))
			continue;
		directory =
		    (struct str){list[i]->path, (size_t)(name - list[i]->path)};
		if (before.data == NULL || !str_equal(directory, before)) {
			printf("%s\nPrograms in /%.*s\n ",
			    before.data != NULL ? "\n" : "",
			    STR_ARG(directory));
			column = 1;
		}
		before = directory;
		if (column + strlen(name) > 78) {
			printf("\n ");
			column = 1;
		}
		printf(" %s", name + 1);
		column += strlen(name);
	}
	if (before.data != NULL)
		putchar('\n');
}

/* --- the whole ------------------------------------------------------------ */

static void
print_recorded(
    const Toolchainapi__Toolchain *toolchain, const struct digest *root)
{
	char text[DIGEST_TEXT_MAX], size[TOOLCHAIN_SIZE_MAX];

	printf("toolchain %.*s\n  root      %s\n  files     %llu, in %llu "
	       "directories, with %llu symbolic links\n  size      %s\n",
	    (int)toolchain->name.len, (const char *)toolchain->name.data,
	    digest_format(root, text), (unsigned long long)toolchain->files,
	    (unsigned long long)toolchain->directories,
	    (unsigned long long)toolchain->symlinks,
	    toolchain_progress_size(toolchain->bytes, size));
	toolchain_commands_print_text("  source    ", toolchain->source);
	for (size_t i = 0; i < toolchain->n_programs; i++) {
		printf("\n");
		toolchain_commands_print_text("", toolchain->programs[i]->path);
		toolchain_commands_print_text(
		    "    ", toolchain->programs[i]->version);
	}
}

static void
print_all(const struct show_options *options,
    const Toolchainapi__Toolchain *toolchain, const struct digest *root,
    const struct capture_tree *tree)
{
	size_t count;
	struct capture_entry **list = capture_tree_list(tree, &count);

	/* The tree is not looked into any more. */
	for (size_t i = 0; i < count; i++) {
		toolchain_commands_clean(list[i]->path);
		if (list[i]->target != NULL)
			toolchain_commands_clean(list[i]->target);
	}
	print_recorded(toolchain, root);
	print_programs(list, count);
	if (options->files) {
		printf("\nFiles\n");
		for (size_t i = 0; i < count; i++)
			print_file(list[i]);
	} else {
		print_directories(list, count, options->depth);
	}
	toolchain_commands_print_use(toolchain, root);
	free(list);
}

static void
print_json(const struct show_options *options,
    const Toolchainapi__Toolchain *toolchain, const struct digest *root,
    const struct capture_tree *tree)
{
	json_t *json = toolchain_commands_json(toolchain, root);
	json_t *files = json_array();
	size_t count;
	struct capture_entry **list = capture_tree_list(tree, &count);

	for (size_t i = 0; options->files && i < count; i++)
		json_array_append_new(files, file_json(list[i]));
	if (options->files)
		json_object_set_new(json, "entries", files);
	else
		json_decref(files);
	toolchain_commands_print_json(json);
	free(list);
}

static int
show_run(void *cookie, char **names, int *status, struct error *err)
{
	const struct show_options *options = cookie;
	struct toolchain_server server = {.cas = NULL};
	const Toolchainapi__Toolchain *toolchain = NULL;
	struct capture_tree *tree = NULL;
	struct digest root;
	int rc = toolchain_commands_open(&server, &options->client, true, err);

	(void)status;
	if (rc == 0)
		toolchain =
		    toolchain_commands_get(&server, names[0], &root, err);
	if (toolchain != NULL)
		tree = toolchain_files_read(server.cas, &root, err);
	if (tree != NULL && options->json)
		print_json(options, toolchain, &root, tree);
	else if (tree != NULL)
		print_all(options, toolchain, &root, tree);
	rc = tree != NULL ? 0 : -1;
	capture_tree_free(tree);
	toolchain_commands_close(&server);
	return rc;
}

int
toolchain_commands_show(char **argv)
{
	struct show_options options = {.json = false};
	const struct command command = {.settings = &show_settings,
	    .options = &options,
	    .arguments = 1,
	    .rpc = true,
	    .run = show_run};

	return command_run(&command, argv);
}
