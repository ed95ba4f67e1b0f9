/* SPDX-License-Identifier: Apache-2.0 */
/* One line an item, "kind<TAB>a<TAB>b"; names with such bytes are not kept. */
#include "client/cargo_manifest.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/capture_rust.h"
#include "client/capture_tree.h"
#include "client/cargo_strings.h"
#include "client/cargo_toolchain.h"
#include "client/stat_ledger.h"

#define VERSION "toolroot-toolchain 2"
#define MANIFEST_MAX (64u << 20)

struct cargo_manifest {
	const struct cargo_toolchain_options *options; /* borrowed */
	char *path;
	char *header; /* what it depends on beside the files */
};

struct cargo_manifest *
cargo_manifest_open(
    const struct cargo_toolchain_options *options, const char *rustc)
{
	struct cargo_manifest *manifest = xcalloc(1, sizeof(*manifest));
	const char *path = getenv("PATH");
	char text[DIGEST_TEXT_MAX];
	struct digest name;
	struct buffer header;
	int rc;

	buffer_init(&header, SIZE_MAX);
	rc = buffer_printf(&header,
	    VERSION " " TOOLROOT_VERSION "\t%s\t%s\t%s\t%s\t%s",
	    digest_function_name(options->function), rustc,
	    options->driver != NULL ? options->driver : "",
	    options->linker != NULL ? options->linker : "",
	    path != NULL ? path : "");
	for (size_t i = 0; i < options->libraries->count && rc == 0; i++)
		rc = buffer_printf(
		    &header, "\t%s", options->libraries->items[i]);
	if (rc < 0)
		abort(); /* there is no limit */
	digest_compute(DIGEST_SHA256, header.data, header.len, &name);
	manifest->options = options;
	manifest->header = header.data;
	manifest->path = xasprintf("%s/toolchain-%.16s", options->cache,
	    digest_format_hash(&name, text));
	return manifest;
}

void
cargo_manifest_close(struct cargo_manifest *manifest)
{
	free(manifest->path);
	free(manifest->header);
	free(manifest);
}

/* --- loading -------------------------------------------------------------- */

static int
load_file(struct cargo_toolchain *toolchain, struct str path, struct str source,
    struct error *err)
{
	char *text = xstrndup(source.data, source.len);
	struct capture_file file = {.source = text};
	struct stat status;
	int rc = 0;

	if (stat(text, &status) == -1 || !S_ISREG(status.st_mode)) {
		free(text);
		return 0;
	}
	file.executable = (status.st_mode & 0111) != 0;
	file.size = (uint64_t)status.st_size;
	rc = capture_tree_add_file(toolchain->tree, path, &file, err);
	free(text);
	return rc < 0 ? -1 : 1;
}

static int
same_directory(struct str path, struct str key, struct error *err)
{
	char *text = xstrndup(path.data, path.len);
	char *now = stat_ledger_key(text, err);
	int rc = now != NULL && str_equal(str_from(now), key);

	free(text);
	free(now);
	return rc;
}

static int
load_version(struct cargo_toolchain *toolchain, struct str line)
{
	char *old = toolchain->version;

	toolchain->version =
	    xasprintf("%s%.*s\n", old != NULL ? old : "", STR_ARG(line));
	free(old);
	return 1;
}

/* 1, 0 when the manifest does not hold any more, -1. */
static int
load_line(struct cargo_toolchain *toolchain, struct str line,
    struct digest *root, struct error *err)
{
	struct str kind = str_cut(&line, '\t');
	struct str first = str_cut(&line, '\t');

	if (str_equal(kind, STR("file")))
		return load_file(toolchain, first, line, err);
	if (str_equal(kind, STR("watch")))
		return same_directory(line, first, err);
	if (str_equal(kind, STR("version")))
		return load_version(toolchain, first);
	if (str_equal(kind, STR("link")))
		return capture_tree_add_symlink(
			   toolchain->tree, first, line, err) < 0
			   ? -1
			   : 1;
	if (str_equal(kind, STR("directory")))
		return capture_tree_add_directory(toolchain->tree, first, err) <
			       0
			   ? -1
			   : 1;
	if (str_equal(kind, STR("sysroot")) && toolchain->sysroot == NULL) {
		toolchain->sysroot = xstrndup(first.data, first.len);
		return 1;
	}
	if (str_equal(kind, STR("root")))
		return digest_parse_text(root->function, first, root, err) < 0
			   ? -1
			   : 1;
	return 0;
}

int
cargo_manifest_load(const struct cargo_manifest *manifest,
    struct cargo_toolchain *toolchain, struct digest *root, struct error *err)
{
	struct buffer text;
	struct str rest;
	int rc = 0;

	root->function = manifest->options->function;
	buffer_init(&text, MANIFEST_MAX);
	if (access(manifest->path, F_OK) == -1)
		goto out;
	rc = file_read_all(manifest->path, &text, err);
	if (rc < 0)
		goto out;
	rest = buffer_str(&text);
	rc = str_equal(str_cut(&rest, '\n'), str_from(manifest->header));
	while (rc > 0 && rest.len > 0)
		rc = load_line(toolchain, str_cut(&rest, '\n'), root, err);
	if (toolchain->version == NULL && rc > 0)
		rc = 0; /* cut off */
out:
	buffer_clear(&text);
	return rc;
}

/* --- saving --------------------------------------------------------------- */

static void
watch(struct cargo_strings *watched, const char *path)
{
	if (!cargo_strings_have(watched, path))
		cargo_strings_add(watched, path);
}

/* Of what is in the sysroot, all directories up to it: a target that is added
 * is a new directory. Of the rest the directory itself. */
static void
watch_parents(
    struct cargo_strings *watched, const char *file, const char *sysroot)
{
	char *path = xstrdup(file);
	size_t length = sysroot != NULL ? strlen(sysroot) : 0;
	bool within = length > 0 && strncmp(path, sysroot, length) == 0 &&
		      path[length] == '/';

	do {
		char *slash = strrchr(path, '/');

		if (slash == NULL || slash == path)
			break;
		*slash = '\0';
		watch(watched, path);
	} while (within && strlen(path) > length);
	free(path);
}

/* Where a captured entry is on this machine; the caller frees it. */
static char *
place_of(const struct capture_entry *entry, const char *sysroot)
{
	const char *below = CAPTURE_RUST_SYSROOT "/";

	if (entry->source != NULL)
		return xstrdup(entry->source);
	if (sysroot != NULL && strncmp(entry->path, below, strlen(below)) == 0)
		return xasprintf("%s/%s", sysroot, entry->path + strlen(below));
	return xasprintf("/%s", entry->path);
}

static int
save_entry(struct buffer *out, const struct capture_entry *entry)
{
	switch (entry->kind) {
	case CAPTURE_FILE:
		return buffer_printf(
		    out, "file\t%s\t%s\n", entry->path, entry->source);
	case CAPTURE_SYMLINK:
		return buffer_printf(
		    out, "link\t%s\t%s\n", entry->path, entry->target);
	default:
		return buffer_printf(out, "directory\t%s\n", entry->path);
	}
}

static bool
can_be_kept(const struct capture_entry *entry)
{
	const char *texts[] = {entry->path, entry->source, entry->target};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (texts[i] != NULL && strpbrk(texts[i], "\t\n") != NULL)
			return false;
	}
	return entry->kind != CAPTURE_FILE || entry->source != NULL;
}

static int
save_entries(const struct cargo_toolchain *toolchain, struct buffer *out,
    struct cargo_strings *watched, struct error *err)
{
	size_t count;
	struct capture_entry **list =
	    capture_tree_list(toolchain->tree, &count);
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++) {
		char *place = place_of(list[i], toolchain->sysroot);

		if (!can_be_kept(list[i]))
			rc = error_set(err, ERROR_FAILED_PRECONDITION,
			    "%s: the name cannot be kept", list[i]->path);
		else if (save_entry(out, list[i]) < 0)
			rc = error_set(err, ERROR_RESOURCE_EXHAUSTED,
			    "the toolchain has too many files");
		if (list[i]->kind != CAPTURE_DIRECTORY)
			watch_parents(watched, place, toolchain->sysroot);
		free(place);
	}
	free(list);
	return rc;
}

static int
save_rest(const struct cargo_toolchain *toolchain, struct buffer *out,
    const struct cargo_strings *watched, struct error *err)
{
	struct str version = str_from(toolchain->version);
	char text[DIGEST_TEXT_MAX];
	int rc = 0;

	for (size_t i = 0; i < watched->count && rc == 0; i++) {
		char *key = stat_ledger_key(watched->items[i], err);

		if (key == NULL)
			return -1;
		rc = buffer_printf(
		    out, "watch\t%s\t%s\n", key, watched->items[i]);
		free(key);
	}
	rc |= buffer_printf(
	    out, "root\t%s\n", digest_format(&toolchain->root, text));
	if (toolchain->sysroot != NULL)
		rc |= buffer_printf(out, "sysroot\t%s\n", toolchain->sysroot);
	while (version.len > 0 && rc == 0) {
		struct str line = str_cut(&version, '\n');

		rc |= buffer_printf(out, "version\t%.*s\n", STR_ARG(line));
	}
	if (rc != 0)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the toolchain has too many files");
	return 0;
}

int
cargo_manifest_save(const struct cargo_manifest *manifest,
    const struct cargo_toolchain *toolchain, struct error *err)
{
	struct cargo_strings watched = {.count = 0};
	struct buffer out;
	int rc;

	buffer_init(&out, MANIFEST_MAX);
	rc = buffer_printf(&out, "%s\n", manifest->header);
	if (rc == 0)
		rc = save_entries(toolchain, &out, &watched, err);
	if (rc == 0)
		rc = save_rest(toolchain, &out, &watched, err);
	if (rc == 0)
		rc = file_replace(manifest->path, out.data, out.len, err);
	cargo_strings_clear(&watched);
	buffer_clear(&out);
	return rc;
}
