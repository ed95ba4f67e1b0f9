/* SPDX-License-Identifier: Apache-2.0 */
/* Each path is added once, wherever it was found. */
#include "client/cargo_inputs.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/digest_message.h"
#include "cas/directory.h"
#include "cas/merkle_builder.h"
#include "client/capture_rust.h"
#include "client/cargo_paths.h"
#include "client/cargo_toolchain.h"
#include "client/cas_client.h"
#include "client/stat_ledger.h"

#define FILES_MAX 50000
#define DEPTH_MAX 64
#define SIDECAR_MAX (1u << 20)
#define SIDECARS ".toolroot"

void
cargo_inputs_init(struct cargo_inputs *inputs, enum digest_function function)
{
	inputs->builder = merkle_builder_new(function);
	map_init(&inputs->known);
}

void
cargo_inputs_clear(struct cargo_inputs *inputs)
{
	merkle_builder_free(inputs->builder);
	map_clear(&inputs->known);
	cargo_strings_clear(&inputs->fixed);
	cargo_strings_clear(&inputs->files);
	free(inputs->digests);
}

/* --- the toolchain -------------------------------------------------------- */

static int
add_nodes(struct cargo_inputs *inputs, const Reapi__Directory *directory,
    enum digest_function function, struct error *err)
{
	int rc = 0;

	if (directory->n_files > 0)
		return error_set(
		    err, ERROR_INTERNAL, "the toolchain has files in its root");
	for (size_t i = 0; i < directory->n_directories && rc == 0; i++) {
		const Reapi__DirectoryNode *node = directory->directories[i];
		struct digest digest;

		rc = digest_from_message(function, node->digest, &digest, err);
		if (rc == 0)
			rc = merkle_builder_add_subtree(inputs->builder,
			    directory_str(node->name), &digest, err);
	}
	for (size_t i = 0; i < directory->n_symlinks && rc == 0; i++) {
		const Reapi__SymlinkNode *node = directory->symlinks[i];

		rc = merkle_builder_add_symlink(inputs->builder,
		    directory_str(node->name), directory_str(node->target),
		    err);
	}
	return rc;
}

int
cargo_inputs_add_toolchain(struct cargo_inputs *inputs,
    const struct cargo_toolchain *toolchain, struct error *err)
{
	size_t count;
	const struct merkle_directory *root =
	    merkle_builder_directories(toolchain->builder, &count);
	const Reapi__Directory *directory;
	struct arena arena;
	int rc = -1;

	arena_init(&arena, directory_memory(root->bytes.len));
	directory =
	    directory_decode(&arena, root->bytes, root->digest.function, err);
	if (directory != NULL)
		rc = add_nodes(inputs, directory, root->digest.function, err);
	arena_clear(&arena);
	return rc;
}

/* --- files ---------------------------------------------------------------- */

/* The path in the root; NULL, with rc set, when it is there already (0) or is
 * none that an action can see (-1). */
static const char *
new_path(
    struct cargo_inputs *inputs, const char *path, int *rc, struct error *err)
{
	size_t length = strlen(inputs->root);
	char *fixed;

	*rc = -1;
	if (path[0] != '/' || !cargo_paths_cover(inputs->paths, path) ||
	    strstr(path, "/../") != NULL) {
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "%s is outside of the workspace", path);
		return NULL;
	}
	if (inputs->fixed.count >= FILES_MAX) {
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "more than %d input files", FILES_MAX);
		return NULL;
	}
	fixed = cargo_paths_map_text(inputs->paths, CARGO_PATHS_TO_FIXED, path);
	if (strncmp(fixed, inputs->root, length) != 0 || fixed[length] != '/') {
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "%s is outside of the input root", path);
		free(fixed);
		return NULL;
	}
	*rc = 0;
	if (map_get(&inputs->known, str_from(fixed)) != NULL) {
		free(fixed);
		return NULL;
	}
	cargo_strings_take(&inputs->fixed, fixed);
	map_put(&inputs->known, str_from(fixed), fixed);
	return fixed + length + 1;
}

int
cargo_inputs_add_directory(
    struct cargo_inputs *inputs, const char *path, struct error *err)
{
	int rc;
	const char *fixed = new_path(inputs, path, &rc, err);

	if (fixed == NULL)
		return rc;
	return merkle_builder_add_directory(
	    inputs->builder, str_from(fixed), err);
}

static void
keep_digest(struct cargo_inputs *inputs, const struct digest *digest)
{
	if (inputs->files.count > inputs->digest_capacity) {
		inputs->digest_capacity = 2 * inputs->files.count;
		inputs->digests = xreallocarray(inputs->digests,
		    inputs->digest_capacity, sizeof(*inputs->digests));
	}
	inputs->digests[inputs->files.count - 1] = *digest;
	inputs->bytes += digest->size;
}

int
cargo_inputs_add_file(
    struct cargo_inputs *inputs, const char *path, struct error *err)
{
	struct stat_ledger_file file;
	struct merkle_file node = {.executable = false};
	int rc;
	const char *fixed = new_path(inputs, path, &rc, err);

	if (fixed == NULL)
		return rc;
	if (stat_ledger_digest(inputs->ledger, path, &file, err) < 0)
		return -1;
	node.digest = file.digest;
	node.executable = file.executable;
	cargo_strings_add(&inputs->files, path);
	keep_digest(inputs, &file.digest);
	return merkle_builder_add_file(
	    inputs->builder, str_from(fixed), &node, err);
}

/* --- trees ---------------------------------------------------------------- */

static bool
has(const char *directory, const char *name)
{
	char *path = xasprintf("%s/%s", directory, name);
	bool found = access(path, F_OK) == 0;

	free(path);
	return found;
}

struct walk {
	struct cargo_inputs *inputs;
	bool package; /* it ends where another package begins */
	unsigned depth;
};

static bool
is_wanted(const struct walk *walk, const char *path, const char *name)
{
	if (!walk->package)
		return true;
	return strcmp(name, ".git") != 0 &&
	       strcmp(path, walk->inputs->target) != 0 &&
	       !has(path, "CACHEDIR.TAG") && !has(path, "Cargo.toml");
}

static int add_level(struct walk *walk, const char *path, struct error *err);

/* DT_REG also for a link to a file, DT_DIR, or DT_UNKNOWN for all else: a link
 * that leads nowhere, or away while we look, is nothing that a compiler could
 * read. The directory tells most of it. */
static unsigned char
kind_of(const char *path, const struct dirent *entry)
{
	struct stat link, status;

	if (entry->d_type == DT_REG || entry->d_type == DT_DIR)
		return entry->d_type;
	if (lstat(path, &link) == -1 || stat(path, &status) == -1)
		return DT_UNKNOWN;
	if (S_ISREG(status.st_mode))
		return DT_REG;
	return S_ISDIR(link.st_mode) ? DT_DIR : DT_UNKNOWN;
}

static int
add_entry(struct walk *walk, const char *directory, const struct dirent *entry,
    struct error *err)
{
	char *path = xasprintf("%s/%s", directory, entry->d_name);
	unsigned char kind = kind_of(path, entry);
	int rc = 0;

	if (kind == DT_REG)
		rc = cargo_inputs_add_file(walk->inputs, path, err);
	else if (kind == DT_DIR && is_wanted(walk, path, entry->d_name))
		rc = add_level(walk, path, err);
	free(path);
	return rc;
}

static int
add_level(struct walk *walk, const char *path, struct error *err)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	int rc;

	if (directory == NULL)
		return error_set_errno(err, errno, "%s", path);
	rc = ++walk->depth > DEPTH_MAX
		 ? error_set(
		       err, ERROR_FAILED_PRECONDITION, "%s: too deep", path)
		 : cargo_inputs_add_directory(walk->inputs, path, err);
	while (rc == 0 && (entry = readdir(directory)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			rc = add_entry(walk, path, entry, err);
	}
	walk->depth--;
	closedir(directory);
	return rc;
}

int
cargo_inputs_add_tree(
    struct cargo_inputs *inputs, const char *path, struct error *err)
{
	struct walk walk = {.inputs = inputs};

	return add_level(&walk, path, err);
}

int
cargo_inputs_add_package(
    struct cargo_inputs *inputs, const char *path, struct error *err)
{
	struct walk walk = {.inputs = inputs, .package = true};

	return add_level(&walk, path, err);
}

/* --- crates --------------------------------------------------------------- */

static bool
ends_in(const char *text, const char *end)
{
	size_t length = strlen(text), tail = strlen(end);

	return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* "TARGET/.toolroot/NAME-HASH" for ".../libNAME-HASH.rmeta"; the caller frees
 * it. */
static char *
sidecar_of(const struct cargo_inputs *inputs, const char *crate)
{
	const char *slash = strrchr(crate, '/');
	const char *name = slash != NULL ? slash + 1 : crate;
	const char *dot = strrchr(name, '.');
	size_t length = dot != NULL ? (size_t)(dot - name) : strlen(name);

	if (length > 3 && strncmp(name, "lib", 3) == 0) {
		name += 3;
		length -= 3;
	}
	return xasprintf(
	    "%s/" SIDECARS "/%.*s", inputs->target, (int)length, name);
}

/* What uses metadata alone needs no more of what is below it, and what links
 * needs all: in the form that was asked for above. The caller frees it. */
static char *
in_form(const char *crate, const char *user)
{
	const char *from = ends_in(user, ".rmeta") ? ".rlib" : ".rmeta";
	const char *to = ends_in(user, ".rmeta") ? ".rmeta" : ".rlib";
	size_t stem = strlen(crate) - (ends_in(crate, from) ? strlen(from) : 0);
	char *path;

	if (stem == strlen(crate))
		return xstrdup(crate);
	path = xasprintf("%.*s%s", (int)stem, crate, to);
	if (access(path, F_OK) == 0)
		return path;
	free(path);
	return xstrdup(crate);
}

static int
read_sidecar(const struct cargo_inputs *inputs, const char *crate,
    struct cargo_strings *used, struct error *err)
{
	char *path = sidecar_of(inputs, crate);
	struct buffer text;
	struct str rest;
	int rc;

	buffer_init(&text, SIDECAR_MAX);
	rc = file_read_all(path, &text, err);
	if (rc < 0)
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "%s was built without Toolroot", crate);
	rest = buffer_str(&text);
	while (rc == 0 && rest.len > 0) {
		struct str line = str_cut(&rest, '\n');
		char *plain = xstrndup(line.data, line.len);
		char *real = xasprintf("%s/%s", inputs->target, plain);
		char *formed = in_form(real, crate);

		cargo_strings_take(used, formed);
		free(real);
		free(plain);
	}
	buffer_clear(&text);
	free(path);
	return rc;
}

int
cargo_inputs_add_crates(struct cargo_inputs *inputs,
    const struct cargo_strings *crates, struct error *err)
{
	struct cargo_strings queue = {.count = 0};
	int rc = 0;

	for (size_t i = 0; i < crates->count; i++)
		cargo_strings_add(&queue, crates->items[i]);
	for (size_t i = 0; i < queue.count && rc == 0; i++) {
		size_t before = inputs->fixed.count;

		rc = cargo_inputs_add_file(inputs, queue.items[i], err);
		/* Known already. */
		if (rc < 0 || inputs->fixed.count == before)
			continue;
		if (ends_in(queue.items[i], ".so"))
			inputs->macro = true;
		rc = read_sidecar(inputs, queue.items[i], &queue, err);
	}
	cargo_strings_clear(&queue);
	return rc;
}

bool
cargo_inputs_have(
    const struct cargo_inputs *inputs, const char *directory, const char *path)
{
	static const char toolchain[] = "/" CAPTURE_RUST_SYSROOT "/";
	char *joined = path[0] == '/' ? xstrdup(path)
				      : xasprintf("%s/%s", directory, path);
	char *plain = cargo_paths_plain(joined);
	bool have = map_get(&inputs->known, str_from(plain)) != NULL ||
		    strncmp(plain, toolchain, sizeof(toolchain) - 1) == 0;

	free(joined);
	free(plain);
	return have;
}

int
cargo_inputs_note(const struct cargo_inputs *inputs, const char *name,
    const struct cargo_strings *crates, struct error *err)
{
	char *directory = xasprintf("%s/" SIDECARS, inputs->target);
	char *path = sidecar_of(inputs, name);
	size_t length = strlen(inputs->target);
	struct buffer text;
	int rc = 0;

	buffer_init(&text, SIDECAR_MAX);
	for (size_t i = 0; i < crates->count && rc == 0; i++) {
		const char *crate = crates->items[i];

		if (strncmp(crate, inputs->target, length) != 0 ||
		    crate[length] != '/' || strchr(crate, '\n') != NULL ||
		    buffer_printf(&text, "%s\n", crate + length + 1) < 0)
			rc = error_set(err, ERROR_FAILED_PRECONDITION,
			    "%s is outside of the target directory", crate);
	}
	/* The directory is missing once in a target directory's life. */
	if (rc == 0 && access(directory, F_OK) == -1)
		rc = file_make_directories(directory, err);
	if (rc == 0)
		rc = file_replace(path, text.data, text.len, err);
	buffer_clear(&text);
	free(path);
	free(directory);
	return rc;
}

/* --- the end -------------------------------------------------------------- */

int
cargo_inputs_finish(struct cargo_inputs *inputs, struct error *err)
{
	return merkle_builder_finish(inputs->builder, err);
}

struct cas_upload *
cargo_inputs_uploads(const struct cargo_inputs *inputs, size_t *count)
{
	size_t directories;
	const struct merkle_directory *directory =
	    merkle_builder_directories(inputs->builder, &directories);
	struct cas_upload *uploads;

	*count = inputs->files.count + directories;
	/* Two more, for the caller's own. */
	uploads = xcalloc(*count + 2, sizeof(*uploads));
	for (size_t i = 0; i < inputs->files.count; i++)
		uploads[i] = (struct cas_upload){
		    .digest = inputs->digests[i],
		    .from = CAS_UPLOAD_FILE,
		    .path = inputs->files.items[i],
		};
	for (size_t i = 0; i < directories; i++)
		uploads[inputs->files.count + i] = (struct cas_upload){
		    .digest = directory[i].digest,
		    .from = CAS_UPLOAD_CONTENT,
		    .content = directory[i].bytes,
		};
	return uploads;
}
