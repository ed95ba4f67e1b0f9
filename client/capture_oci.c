/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image itself is captured first, as a tree of its own by SHA-256: so a
 * layout in a directory and one in an archive are read alike, and every blob's
 * digest is known.
 */
#include "client/capture_oci.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/capture_archive.h"
#include "client/capture_directory.h"
#include "client/capture_hash.h"
#include "client/capture_notes.h"
#include "client/capture_spool.h"
#include "client/capture_tree.h"

#define JSON_BYTES_MAX (8u << 20)
#define LAYERS_MAX 1000u
/* An index may point to an index. */
#define INDEX_DEPTH_MAX 4
#define ENTRIES_MAX 100000u
#define BYTES_MAX (UINT64_C(1) << 40)

struct image {
	const struct capture_oci_options *options;
	struct capture_tree *files; /* of the layout */
	struct capture_spool *spool;
};

/* --- the layout ----------------------------------------------------------- */

static int
open_image(struct image *image, struct error *err)
{
	const struct capture_limits limits = {ENTRIES_MAX, BYTES_MAX};
	const char *path = image->options->path;
	const struct capture_directory_options directory = {
	    .path = path, .notes = image->options->notes};
	struct capture_archive_options archive = {.path = path};
	struct stat status;

	image->files = capture_tree_new(DIGEST_SHA256, &limits);
	image->spool = capture_spool_new(DIGEST_SHA256, err);
	if (image->spool == NULL)
		return -1;
	if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
		return capture_directory(image->files, &directory, err) < 0
			   ? -1
			   : capture_hash(image->files, NULL, err);
	archive.tree = image->files;
	archive.spool = image->spool;
	return capture_archive(&archive, err);
}

static void
close_image(struct image *image)
{
	capture_tree_free(image->files);
	capture_spool_free(image->spool);
}

/* A file of the layout; older docker links equal layers. */
static const struct capture_entry *
find_file(const struct image *image, const char *path)
{
	const struct capture_entry *entry =
	    capture_tree_find(image->files, str_from(path));
	const struct capture_entry *target = NULL;

	if (entry != NULL && entry->kind == CAPTURE_SYMLINK) {
		const char *slash = strrchr(path, '/');
		char *joined = slash != NULL
				   ? xasprintf("%.*s/%s", (int)(slash - path),
					 path, entry->target)
				   : xstrdup(entry->target);
		struct error ignored;
		/* A name behind it makes the last link be followed, too. */
		char *below = xasprintf("%s/.", joined);
		char *resolved = capture_tree_resolve(
		    image->files, str_from(below), &ignored);

		if (resolved != NULL)
			target =
			    capture_tree_find(image->files, str_from(resolved));
		free(resolved);
		free(below);
		free(joined);
		entry = target;
	}
	return entry != NULL && entry->kind == CAPTURE_FILE ? entry : NULL;
}

static int
read_file(const struct image *image, const struct capture_entry *entry,
    struct buffer *content, struct error *err)
{
	struct str bytes;

	if (entry->source != NULL)
		return file_read_all(entry->source, content, err);
	bytes =
	    capture_spool_bytes(image->spool, entry->offset, entry->size, err);
	if (bytes.data == NULL)
		return -1;
	if (buffer_append(content, bytes.data, bytes.len) < 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "%s has more than %u bytes", entry->path, JSON_BYTES_MAX);
	return 0;
}

static json_t *
read_json(const struct image *image, const char *path, struct error *err)
{
	const struct capture_entry *entry = find_file(image, path);
	json_t *json = NULL;
	struct buffer content;
	json_error_t why;

	if (entry == NULL) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "the image has no file %s", path);
		return NULL;
	}
	buffer_init(&content, JSON_BYTES_MAX);
	if (read_file(image, entry, &content, err) == 0) {
		json = json_loadb(buffer_str(&content).data, content.len,
		    JSON_REJECT_DUPLICATES, &why);
		if (json == NULL)
			error_set(err, ERROR_INVALID_ARGUMENT,
			    "%s: line %d: %s", path, why.line, why.text);
	}
	buffer_clear(&content);
	return json;
}

/* --- blobs by descriptor -------------------------------------------------- */

/* The path of the blob that a descriptor names, which has the digest that it
 * says; the caller frees it. */
static char *
blob_path(
    const struct image *image, const json_t *descriptor, struct error *err)
{
	const char *name =
	    json_string_value(json_object_get(descriptor, "digest"));
	const struct capture_entry *entry;
	char actual[DIGEST_TEXT_MAX];
	char *path;

	if (name == NULL || strncmp(name, "sha256:", 7) != 0 ||
	    strlen(name) != 7 + 64) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "a descriptor has no SHA-256 digest");
		return NULL;
	}
	path = xasprintf("blobs/sha256/%s", name + 7);
	entry = find_file(image, path);
	if (entry == NULL)
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "the image lacks its blob %s", name);
	else if (strcmp(digest_format_hash(&entry->digest, actual), name + 7) !=
		 0)
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "the image is damaged: the blob %s has the SHA-256 %s",
		    name, actual);
	else
		return path;
	free(path);
	return NULL;
}

/* --- layers --------------------------------------------------------------- */

static int
apply_layer(const struct image *image, const char *path, struct error *err)
{
	const struct capture_entry *entry = find_file(image, path);
	struct capture_archive_options archive = {
	    .path = path,
	    .layer = true,
	    .tree = image->options->tree,
	    .spool = image->options->spool,
	};

	if (entry == NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the image lacks its layer %s", path);
	if (entry->source != NULL) {
		archive.path = entry->source;
	} else {
		archive.bytes = capture_spool_bytes(
		    image->spool, entry->offset, entry->size, err);
		if (archive.bytes.data == NULL)
			return -1;
	}
	return capture_archive(&archive, err);
}

static int
check_layers(const json_t *layers, struct error *err)
{
	if (!json_is_array(layers) || json_array_size(layers) == 0)
		return error_set(
		    err, ERROR_INVALID_ARGUMENT, "the manifest has no layers");
	if (json_array_size(layers) > LAYERS_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the manifest has more than %u layers", LAYERS_MAX);
	return 0;
}

static int
apply_manifest(
    const struct image *image, const json_t *manifest, struct error *err)
{
	const json_t *layers = json_object_get(manifest, "layers");
	int rc = check_layers(layers, err);

	for (size_t i = 0; rc == 0 && i < json_array_size(layers); i++) {
		char *path = blob_path(image, json_array_get(layers, i), err);

		rc = path != NULL ? apply_layer(image, path, err) : -1;
		free(path);
	}
	return rc;
}

/* --- OCI: index to manifest ----------------------------------------------- */

/* As Go names it. */
static const char *
our_architecture(void)
{
	static struct utsname name;

	if (uname(&name) != 0)
		return "";
	if (strcmp(name.machine, "x86_64") == 0)
		return "amd64";
	if (strcmp(name.machine, "aarch64") == 0)
		return "arm64";
	return name.machine;
}

static bool
is_ours(const json_t *descriptor)
{
	const json_t *platform = json_object_get(descriptor, "platform");
	const char *os = json_string_value(json_object_get(platform, "os"));
	const char *architecture =
	    json_string_value(json_object_get(platform, "architecture"));

	if (platform == NULL)
		return true;
	return os != NULL && architecture != NULL && strcmp(os, "linux") == 0 &&
	       strcmp(architecture, our_architecture()) == 0;
}

/* The one manifest to take from an index. NULL on error. */
static const json_t *
choose(const json_t *manifests, struct error *err)
{
	const json_t *chosen = NULL;
	size_t fitting = 0;

	for (size_t i = 0; i < json_array_size(manifests); i++) {
		const json_t *descriptor = json_array_get(manifests, i);

		if (!is_ours(descriptor))
			continue;
		chosen = descriptor;
		fitting++;
	}
	if (fitting == 1)
		return chosen;
	error_set(err, ERROR_INVALID_ARGUMENT,
	    "the index has %zu manifests, of which %zu are for linux/%s; one "
	    "is needed",
	    json_array_size(manifests), fitting, our_architecture());
	return NULL;
}

static int
apply_index(const struct image *image, const char *path, unsigned depth,
    struct error *err)
{
	json_t *json = read_json(image, path, err);
	const json_t *manifests, *descriptor;
	char *next = NULL;
	int rc = -1;

	if (json == NULL)
		return -1;
	manifests = json_object_get(json, "manifests");
	if (!json_is_array(manifests)) {
		rc = apply_manifest(image, json, err);
		goto out;
	}
	if (depth == INDEX_DEPTH_MAX) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "indexes are nested more than %d deep", INDEX_DEPTH_MAX);
		goto out;
	}
	descriptor = choose(manifests, err);
	if (descriptor != NULL)
		next = blob_path(image, descriptor, err);
	if (next != NULL)
		rc = apply_index(image, next, depth + 1, err);
out:
	free(next);
	json_decref(json);
	return rc;
}

/* --- docker save ---------------------------------------------------------- */

static int
apply_docker(const struct image *image, struct error *err)
{
	json_t *json = read_json(image, "manifest.json", err);
	const json_t *layers;
	int rc = -1;

	if (json == NULL)
		return -1;
	if (json_array_size(json) != 1) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "manifest.json has %zu images; save one alone",
		    json_array_size(json));
		goto out;
	}
	layers = json_object_get(json_array_get(json, 0), "Layers");
	rc = check_layers(layers, err);
	for (size_t i = 0; rc == 0 && i < json_array_size(layers); i++) {
		const char *path = json_string_value(json_array_get(layers, i));

		rc = path != NULL ? apply_layer(image, path, err)
				  : error_set(err, ERROR_INVALID_ARGUMENT,
					"manifest.json: a layer is no text");
	}
out:
	json_decref(json);
	return rc;
}

/* --- the whole ------------------------------------------------------------ */

int
capture_oci(const struct capture_oci_options *options, struct error *err)
{
	struct image image = {.options = options};
	int rc = open_image(&image, err);

	if (rc == 0 && find_file(&image, "index.json") != NULL)
		rc = apply_index(&image, "index.json", 0, err);
	else if (rc == 0 && find_file(&image, "manifest.json") != NULL)
		rc = apply_docker(&image, err);
	else if (rc == 0)
		rc = error_set(err, ERROR_INVALID_ARGUMENT,
		    "it has neither index.json (OCI image layout) nor "
		    "manifest.json (docker save)");
	close_image(&image);
	if (rc < 0)
		error_prefix(err, "image %s", options->path);
	return rc;
}
