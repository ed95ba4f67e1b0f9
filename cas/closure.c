/* SPDX-License-Identifier: Apache-2.0 */
/* Collects the digests of input roots and action results on a walk over their
 * trees. Any thread; no state between calls. */
#include "cas/closure.h"

#include "base/buffer.h"
#include "base/error.h"
#include "cas/digest_list.h"
#include "cas/digest_message.h"
#include "cas/directory.h"
#include "cas/merkle_walk.h"
#include "cas/store.h"
#include "cas/tree.h"

static int
closure_read_store(void *cookie, const struct digest *digest,
    struct buffer *content, struct error *err)
{
	return store_read(cookie, digest, content, err);
}

struct closure_source
closure_source_of_store(struct store *store, enum digest_function function)
{
	return (struct closure_source){closure_read_store, store, function};
}

/* Files and directories may be the same list. */
struct collector {
	const struct closure_source *source;
	struct buffer content; /* of the blob read last */
	struct digest_list *files;
	struct digest_list *directories; /* NULL = not wanted */
	struct digest_list *missing;     /* NULL = an error */
	uint64_t entries_max; /* of a tree laid out; 0 = any number */
};

/* Duplicates are squeezed out when the list is full, and at the end. */
static int
collector_add(
    struct digest_list *list, const struct digest *digest, struct error *err)
{
	size_t before = list->count;

	if (digest_list_add(list, digest) == 0)
		return 0;
	digest_list_unique(list);
	/* Where next to nothing was gained, sorting again and again would be
	 * quadratic. */
	if (list->count > before - before / 8 ||
	    digest_list_add(list, digest) < 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "more than %zu blobs hang together here, which is the "
		    "limit",
		    list->limit);
	return 0;
}

static int
collector_add_message(struct collector *collector, struct digest_list *list,
    const Reapi__Digest *message, struct error *err)
{
	struct digest digest;

	if (digest_from_message(
		collector->source->function, message, &digest, err) < 0)
		return -1;
	return collector_add(list, &digest, err);
}

/* Reads a Directory or Tree. 1, 0 when absent, -1. */
static int
collector_load(void *cookie, const struct digest *digest, struct str *bytes,
    struct error *err)
{
	struct collector *collector = cookie;
	const struct closure_source *source = collector->source;
	char text[DIGEST_TEXT_MAX];
	int found;

	if (digest->size > CLOSURE_MESSAGE_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "%s is too large for a Directory or Tree (the limit is %u "
		    "bytes)",
		    digest_format(digest, text), CLOSURE_MESSAGE_MAX);
	buffer_reset(&collector->content);
	*bytes = (struct str){"", 0};
	if (digest_is_empty(digest))
		return 1;
	found = source->read(source->cookie, digest, &collector->content, err);
	if (found != 1) {
		if (found < 0)
			error_prefix(
			    err, "read %s", digest_format(digest, text));
		return found;
	}
	if (collector->content.len != digest->size)
		return error_set(err, ERROR_DATA_LOSS,
		    "%s was read back with %zu bytes",
		    digest_format(digest, text), collector->content.len);
	*bytes = buffer_str(&collector->content);
	return 1;
}

static int
collector_visit(void *cookie, const struct digest *digest,
    const Reapi__Directory *directory, struct error *err)
{
	struct collector *collector = cookie;
	char text[DIGEST_TEXT_MAX];

	if (collector->directories != NULL &&
	    collector_add(collector->directories, digest, err) < 0)
		return -1;
	if (directory == NULL && collector->missing == NULL)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "the directory %s is not in the store",
		    digest_format(digest, text));
	if (directory == NULL)
		return collector_add(collector->missing, digest, err);
	for (size_t i = 0; i < directory->n_files; i++) {
		if (collector_add_message(collector, collector->files,
			directory->files[i]->digest, err) < 0)
			return -1;
	}
	return 0;
}

static struct merkle_walk *
collector_walk(struct collector *collector)
{
	struct merkle_walk_options options = {collector->source->function,
	    collector_load, collector_visit, collector, collector->entries_max};

	return merkle_walk_new(&options);
}

int
closure_of_directory(const struct closure_source *source,
    const struct digest *root, const struct closure *closure, struct error *err)
{
	struct collector collector = {.source = source,
	    .files = closure->files,
	    .directories = closure->directories,
	    .missing = closure->missing,
	    .entries_max = closure->entries_max};
	struct merkle_walk *walk = collector_walk(&collector);
	int rc;

	buffer_init(&collector.content, CLOSURE_MESSAGE_MAX);
	rc = merkle_walk_run(walk, root, err);
	digest_list_unique(closure->files);
	digest_list_unique(closure->directories);
	digest_list_unique(closure->missing);
	merkle_walk_free(walk);
	buffer_clear(&collector.content);
	return rc;
}

/* --- action results ------------------------------------------------------- */

static int
result_tree(struct collector *collector, const Reapi__OutputDirectory *output,
    struct digest *root, struct error *err)
{
	struct collector tree = {
	    .source = collector->source, .files = collector->files};
	struct tree_options options = {collector->source->function,
	    output->is_topologically_sorted, collector_visit, &tree};
	struct digest digest;
	struct str bytes = {"", 0};
	char text[DIGEST_TEXT_MAX];
	int found;

	if (digest_from_message(collector->source->function,
		output->tree_digest, &digest, err) < 0 ||
	    collector_add(collector->files, &digest, err) < 0)
		return -1;
	found = collector_load(collector, &digest, &bytes, err);
	if (found == 0)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "the Tree %s is not in the store",
		    digest_format(&digest, text));
	if (found < 0)
		return -1;
	return tree_walk(bytes, &options, root, err);
}

static int
result_directory(struct collector *collector, struct merkle_walk *walk,
    const Reapi__OutputDirectory *output, struct error *err)
{
	struct digest tree_root;
	struct digest root;

	if (output->tree_digest == NULL &&
	    output->root_directory_digest == NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "it has neither tree_digest nor root_directory_digest");
	if (output->tree_digest != NULL &&
	    result_tree(collector, output, &tree_root, err) < 0)
		return -1;
	if (output->root_directory_digest == NULL)
		return 0;
	if (digest_from_message(collector->source->function,
		output->root_directory_digest, &root, err) < 0)
		return -1;
	if (output->tree_digest != NULL && !digest_equal(&tree_root, &root))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "root_directory_digest is not the root of tree_digest");
	return merkle_walk_run(walk, &root, err);
}

static int
result_files(struct collector *collector, const Reapi__ActionResult *result,
    struct error *err)
{
	char printable[DIRECTORY_PRINTABLE_MAX];

	for (size_t i = 0; i < result->n_output_files; i++) {
		const Reapi__OutputFile *file = result->output_files[i];

		if (collector_add_message(
			collector, collector->files, file->digest, err) == 0)
			continue;
		error_prefix(err, "output file \"%s\"",
		    directory_printable(directory_str(file->path), printable));
		return -1;
	}
	if (result->stdout_digest != NULL &&
	    collector_add_message(
		collector, collector->files, result->stdout_digest, err) < 0) {
		error_prefix(err, "stdout_digest");
		return -1;
	}
	if (result->stderr_digest != NULL &&
	    collector_add_message(
		collector, collector->files, result->stderr_digest, err) < 0) {
		error_prefix(err, "stderr_digest");
		return -1;
	}
	return 0;
}

int
closure_of_action_result(const struct closure_source *source,
    const Reapi__ActionResult *result, struct digest_list *blobs,
    struct error *err)
{
	struct collector collector = {
	    .source = source, .files = blobs, .directories = blobs};
	struct merkle_walk *walk = collector_walk(&collector);
	char printable[DIRECTORY_PRINTABLE_MAX];
	int rc;

	buffer_init(&collector.content, CLOSURE_MESSAGE_MAX);
	rc = result_files(&collector, result, err);
	for (size_t i = 0; i < result->n_output_directories && rc == 0; i++) {
		const Reapi__OutputDirectory *output =
		    result->output_directories[i];

		rc = result_directory(&collector, walk, output, err);
		if (rc < 0)
			error_prefix(err, "output directory \"%s\"",
			    directory_printable(
				directory_str(output->path), printable));
	}
	digest_list_unique(blobs);
	merkle_walk_free(walk);
	buffer_clear(&collector.content);
	return rc;
}
