/* SPDX-License-Identifier: Apache-2.0 */
/* `toolroot store export` and `import`. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/archive.h"
#include "cas/closure.h"
#include "cas/store.h"
#include "client/admin_command.h"
#include "client/admin_json.h"
#include "client/command.h"
#include "client/store_commands.h"

struct archive_command {
	char *config;
	char *store;
	char *instance;
	char *digest_function;
	struct setting_list toolchains;
	struct setting_list pins;
	struct setting_list trees;
	struct setting_list blobs;
	struct setting_list actions;
	char *target;
	bool all_results;
	bool inputs;
	bool json;
	uint64_t max_size;
};

#define FIELD(name) offsetof(struct archive_command, name)

static void
show_progress(void *cookie, uint64_t done, uint64_t total)
{
	char one[ADMIN_SIZE_MAX], two[ADMIN_SIZE_MAX];

	(void)cookie;
	admin_progress("%s of %s", admin_format_size(done, one),
	    admin_format_size(total, two));
}

static int
need_store(const struct archive_command *command, struct error *err)
{
	if (command->store != NULL)
		return 0;
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "--store is missing: the directory of the store");
}

static int
print_report(const struct archive_command *command, const char *verb,
    const struct archive_report *report, struct error *err)
{
	char bytes[ADMIN_SIZE_MAX], size[ADMIN_SIZE_MAX];

	if (command->json)
		return admin_json_print(
		    json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			"blobs", (json_int_t)report->blobs, "blob_bytes",
			(json_int_t)report->blob_bytes, "action_results",
			(json_int_t)report->results, "incomplete",
			(json_int_t)report->incomplete_results,
			"without_inputs", (json_int_t)report->without_inputs,
			"toolchains", (json_int_t)report->names, "pins",
			(json_int_t)report->pins, "archive_bytes",
			(json_int_t)report->archive_bytes),
		    err);
	printf("%s %llu blobs (%s), %llu action results, %llu toolchains, "
	       "%llu pins; the archive has %s\n",
	    verb, (unsigned long long)report->blobs,
	    admin_format_size(report->blob_bytes, bytes),
	    (unsigned long long)report->results,
	    (unsigned long long)report->names, (unsigned long long)report->pins,
	    admin_format_size(report->archive_bytes, size));
	if (report->incomplete_results > 0)
		printf("%llu results were left out: a blob of theirs is gone\n",
		    (unsigned long long)report->incomplete_results);
	if (report->without_inputs > 0)
		printf("of %llu results the inputs are not all there\n",
		    (unsigned long long)report->without_inputs);
	return 0;
}

/* --- export --------------------------------------------------------------- */

static const struct setting export_table[] = {
    {"config", SETTING_TEXT, FIELD(config), "FILE", NULL,
	"Read settings from this file."},
    {"store", SETTING_TEXT, FIELD(store), "DIR", NULL,
	"The directory of the store; a server may have it open."},
    {"toolchain", SETTING_LIST, FIELD(toolchains), "NAME", NULL,
	"This toolchain, with its name; may be repeated."},
    {"pin", SETTING_LIST, FIELD(pins), "NAME", NULL,
	"What this pin names, and the pin; may be repeated."},
    {"tree", SETTING_LIST, FIELD(trees), "HASH/SIZE", NULL,
	"This Directory and all below it; may be repeated."},
    {"blob", SETTING_LIST, FIELD(blobs), "HASH/SIZE", NULL,
	"This blob; may be repeated."},
    {"action", SETTING_LIST, FIELD(actions), "HASH/SIZE", NULL,
	"The result of this action, and its outputs; may be repeated."},
    {"target", SETTING_TEXT, FIELD(target), "PATTERN", NULL,
	"The results of this target, and their outputs: //app/... is all in\n"
	"and below //app."},
    {"all-results", SETTING_FLAG, FIELD(all_results), "", "no",
	"All results, and their outputs."},
    {"inputs", SETTING_FLAG, FIELD(inputs), "", "no",
	"With results: also what their actions need, so that they can run\n"
	"there."},
    {"instance", SETTING_TEXT, FIELD(instance), "NAME", NULL,
	"Of toolchains, \"\" unless set, and of results, all unless set."},
    {"digest-function", SETTING_TEXT, FIELD(digest_function), "NAME", "sha256",
	"Of the digests given: sha256, sha384, sha512 or sha1."},
    {"json", SETTING_FLAG, FIELD(json), "", "no", "Print JSON."},
};

static const struct settings export_settings = {
    .command = "store export",
    .section = "store",
    .synopsis = "--store DIR [options] FILE",
    .about = "Writes a part of a store to one file, for a site without "
	     "connection: what the\noptions name and all that it needs. "
	     "`toolroot store import` takes it in there.",
    .table = export_table,
    .count = sizeof(export_table) / sizeof(export_table[0]),
    .epilogue = "Examples:\n"
		"  toolroot store export --store /var/lib/toolroot \\\n"
		"      --toolchain gcc-13 gcc-13.trar\n"
		"  toolroot store export --store /var/lib/toolroot \\\n"
		"      --target //app/... --inputs app.trar",
};

static int
take_digests(const struct archive_command *command,
    const struct setting_list *texts, struct digest_list *list,
    struct error *err)
{
	enum digest_function function =
	    digest_function_parse(str_from(command->digest_function));

	if (function == DIGEST_UNKNOWN)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--digest-function \"%s\" is none of sha256, sha384, "
		    "sha512, sha1",
		    command->digest_function);
	for (size_t i = 0; i < texts->count; i++) {
		struct digest digest;

		if (digest_parse_text(
			function, str_from(texts->items[i]), &digest, err) < 0)
			return -1;
		if (digest_list_add(list, &digest) < 0)
			return error_set(
			    err, ERROR_INVALID_ARGUMENT, "too many digests");
	}
	digest_list_unique(list);
	return 0;
}

static int
fill_roots(const struct archive_command *command, struct archive_roots *roots,
    struct error *err)
{
	roots->instance = str_from(command->instance);
	roots->toolchains = command->toolchains.items;
	roots->toolchain_count = command->toolchains.count;
	roots->pins = command->pins.items;
	roots->pin_count = command->pins.count;
	roots->inputs = command->inputs;
	roots->progress = show_progress;
	roots->filter.target = command->target;
	if (command->instance != NULL)
		roots->filter.instance = roots->instance;
	roots->results = command->all_results || command->target != NULL ||
			 command->actions.count > 0;
	if (take_digests(command, &command->trees, &roots->trees, err) < 0 ||
	    take_digests(command, &command->blobs, &roots->blobs, err) < 0 ||
	    take_digests(
		command, &command->actions, &roots->filter.actions, err) < 0)
		return -1;
	if (roots->results || roots->toolchain_count > 0 ||
	    roots->pin_count > 0 || roots->trees.count > 0 ||
	    roots->blobs.count > 0)
		return 0;
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "nothing to export: --toolchain, --pin, --tree, --blob, --action, "
	    "--target or --all-results says what");
}

/* A file on its way to its name. */
struct export_file {
	const char *path;
	char *partial; /* PATH.partial */
	int fd;
	bool named; /* it has that name */
};

/* Without a name until it is whole, so that an interrupted export leaves
 * nothing; as PATH.partial where the file system has no such files. */
static int
export_create(struct export_file *file, struct error *err)
{
	char *copy = xstrdup(file->path);

	file->fd = open(dirname(copy), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0644);
	free(copy);
	if (file->fd != -1)
		return 0;
	file->fd =
	    open(file->partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (file->fd == -1)
		return error_set_errno(err, errno, "create %s", file->partial);
	file->named = true;
	return 0;
}

/* Replaces what has the name already. */
static int
export_publish(struct export_file *file, struct error *err)
{
	char self[32];

	if (!file->named) {
		snprintf(self, sizeof(self), "/proc/self/fd/%d", file->fd);
		if (unlink(file->partial) == -1 && errno != ENOENT)
			return error_set_errno(
			    err, errno, "remove %s", file->partial);
		if (linkat(AT_FDCWD, self, AT_FDCWD, file->partial,
			AT_SYMLINK_FOLLOW) == -1)
			return error_set_errno(
			    err, errno, "name %s", file->partial);
		file->named = true;
	}
	if (rename(file->partial, file->path) == -1)
		return error_set_errno(
		    err, errno, "rename %s to %s", file->partial, file->path);
	return 0;
}

static int
export_to(const struct archive_command *command,
    const struct archive_roots *roots, const char *path,
    struct archive_report *report, struct error *err)
{
	const struct store_options options = {
	    .path = command->store, .read_only = true};
	struct export_file file = {.path = path, .fd = -1};
	struct store *store = store_open(&options, err);
	int rc = -1;

	file.partial = xasprintf("%s.partial", path);
	if (store == NULL || export_create(&file, err) < 0)
		goto out;
	rc = archive_export(store, roots, file.fd, report, err);
	if (rc == 0)
		rc = export_publish(&file, err);
	if (rc < 0 && file.named)
		(void)unlink(file.partial);
out:
	file_close(&file.fd);
	store_close(store);
	free(file.partial);
	return rc;
}

static int
export_run(void *cookie, char **arguments, int *status, struct error *err)
{
	const struct archive_command *command = cookie;
	struct archive_roots roots = {.results = false};
	struct archive_report report;
	int rc = -1;

	(void)status;
	log_set_level(LOG_WARN);
	digest_list_init(&roots.trees, CLOSURE_DIRECTORIES_MAX);
	digest_list_init(&roots.blobs, CLOSURE_DIRECTORIES_MAX);
	digest_list_init(&roots.filter.actions, CLOSURE_DIRECTORIES_MAX);
	if (need_store(command, err) == 0 &&
	    fill_roots(command, &roots, err) == 0)
		rc = export_to(command, &roots, arguments[0], &report, err);
	admin_progress_end();
	digest_list_clear(&roots.trees);
	digest_list_clear(&roots.blobs);
	digest_list_clear(&roots.filter.actions);
	return rc < 0 ? -1 : print_report(command, "exported", &report, err);
}

int
store_commands_export(char **argv)
{
	struct archive_command options = {0};
	const struct command command = {.settings = &export_settings,
	    .options = &options,
	    .arguments = 1,
	    .run = export_run};

	return command_run(&command, argv);
}

/* --- import --------------------------------------------------------------- */

static const struct setting import_table[] = {
    {"config", SETTING_TEXT, FIELD(config), "FILE", NULL,
	"Read settings from this file."},
    {"store", SETTING_TEXT, FIELD(store), "DIR", NULL,
	"The directory of the store, which no server has open; made when it\n"
	"is not there."},
    {"max-size", SETTING_SIZE, FIELD(max_size), "SIZE", "0",
	"Bytes that the store may take, as the server's setting."},
    {"json", SETTING_FLAG, FIELD(json), "", "no", "Print JSON."},
};

static const struct settings import_settings = {
    .command = "store import",
    .section = "store",
    .synopsis = "--store DIR FILE",
    .about =
	"Takes an archive of `toolroot store export` into a store. Every blob "
	"is compared with\nits digest, and results, toolchains and pins are "
	"taken only if all that they name is\nthere. What an archive says of "
	"results has to be believed: take one from whom you\ntrust. "
	"`toolroot store rm --writer 'archive:*'` removes the results again.",
    .table = import_table,
    .count = sizeof(import_table) / sizeof(import_table[0]),
    .epilogue = "Example:\n"
		"  toolroot store import --store /var/lib/toolroot app.trar",
};

static int
import_from(const struct archive_command *command, const char *path,
    struct archive_report *report, struct error *err)
{
	const struct store_options options = {
	    .path = command->store, .max_size = command->max_size};
	struct archive_import_options import = {.progress = show_progress};
	struct store *store = NULL;
	struct stat status;
	int rc = -1;

	import.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (import.fd == -1 || fstat(import.fd, &status) == -1) {
		error_set_errno(err, errno, "open %s", path);
		goto out;
	}
	import.size = (uint64_t)status.st_size;
	store = store_open(&options, err);
	if (store != NULL)
		rc = archive_import(store, &import, report, err);
	if (store != NULL && rc < 0)
		error_prefix(err, "%s", path);
	/* It is the archive that is wrong, not the call. */
	if (rc < 0 && err->code == ERROR_INVALID_ARGUMENT)
		err->code = ERROR_FAILED_PRECONDITION;
	store_close(store);
out:
	file_close(&import.fd);
	return rc;
}

static int
import_run(void *cookie, char **arguments, int *status, struct error *err)
{
	const struct archive_command *command = cookie;
	struct archive_report report;
	int rc;

	(void)status;
	log_set_level(LOG_WARN);
	if (need_store(command, err) < 0)
		return -1;
	rc = import_from(command, arguments[0], &report, err);
	admin_progress_end();
	return rc < 0 ? -1 : print_report(command, "imported", &report, err);
}

int
store_commands_import(char **argv)
{
	struct archive_command options = {0};
	const struct command command = {.settings = &import_settings,
	    .options = &options,
	    .arguments = 1,
	    .run = import_run};

	return command_run(&command, argv);
}
