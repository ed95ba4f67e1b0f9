/* SPDX-License-Identifier: Apache-2.0 */
/* Asks for all at once, to know how much there is to do; then sends pieces. */
#include "client/toolchain_upload.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"
#include "cas/digest_list.h"
#include "cas/merkle_builder.h"
#include "client/capture_spool.h"
#include "client/capture_tree.h"
#include "client/cas_client.h"
#include "client/toolchain_progress.h"

/* One piece: what may have to be sent again after a break. */
#define PIECE_BLOBS 1000
#define PIECE_BYTES (UINT64_C(64) << 20)

struct uploading {
	const struct toolchain_upload *upload;
	struct cas_upload *items; /* each digest once */
	size_t count;
	struct map known; /* digest -> struct cas_upload */
};

static struct cas_upload *
add_item(struct uploading *uploading, const struct digest *digest)
{
	struct cas_upload *item = &uploading->items[uploading->count];

	item->digest = *digest;
	if (digest_is_empty(digest) ||
	    map_get(&uploading->known, digest_key(&item->digest)) != NULL)
		return NULL;
	map_put(&uploading->known, digest_key(&item->digest), item);
	uploading->count++;
	return item;
}

static int
add_file(struct uploading *uploading, const struct capture_entry *entry,
    struct error *err)
{
	struct cas_upload *item = add_item(uploading, &entry->digest);

	if (item == NULL)
		return 0;
	if (entry->source != NULL) {
		item->from = CAS_UPLOAD_FILE;
		item->path = entry->source;
		return 0;
	}
	item->from = CAS_UPLOAD_CONTENT;
	item->content = capture_spool_bytes(
	    uploading->upload->spool, entry->offset, entry->size, err);
	return item->content.data != NULL ? 0 : -1;
}

static int
collect(struct uploading *uploading, struct error *err)
{
	const struct toolchain_upload *upload = uploading->upload;
	size_t files, directories;
	struct capture_entry **list = capture_tree_list(upload->tree, &files);
	const struct merkle_directory *directory =
	    merkle_builder_directories(upload->builder, &directories);
	int rc = 0;

	/* One more: add_item looks before it keeps. */
	uploading->items =
	    xcalloc(files + directories + 1, sizeof(*uploading->items));
	for (size_t i = 0; i < files && rc == 0; i++) {
		if (list[i]->kind == CAPTURE_FILE)
			rc = add_file(uploading, list[i], err);
	}
	for (size_t i = 0; i < directories && rc == 0; i++) {
		struct cas_upload *item =
		    add_item(uploading, &directory[i].digest);

		if (item == NULL)
			continue;
		item->from = CAS_UPLOAD_CONTENT;
		item->content = directory[i].bytes;
	}
	free(list);
	return rc;
}

static int
find_missing(struct uploading *uploading, struct digest_list *missing,
    struct toolchain_upload_stats *stats, struct error *err)
{
	struct digest_list digests;
	int rc = 0;

	digest_list_init(&digests, uploading->count);
	for (size_t i = 0; i < uploading->count; i++) {
		stats->bytes += uploading->items[i].digest.size;
		if (digest_list_add(&digests, &uploading->items[i].digest) < 0)
			abort(); /* the limit is count */
	}
	stats->blobs = uploading->count;
	rc = cas_client_find_missing(
	    uploading->upload->client, NULL, &digests, missing, err);
	stats->present_blobs = stats->blobs - missing->count;
	stats->present_bytes = stats->bytes;
	for (size_t i = 0; i < missing->count; i++)
		stats->present_bytes -= missing->items[i].size;
	digest_list_clear(&digests);
	return rc;
}

static int
send_piece(const struct uploading *uploading, const struct cas_upload *piece,
    size_t count, struct capture_progress *progress, struct error *err)
{
	if (cas_client_upload(
		uploading->upload->client, NULL, piece, count, NULL, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++)
		atomic_fetch_add(&progress->bytes, piece[i].digest.size);
	atomic_fetch_add(&progress->files, count);
	return 0;
}

static int
send_missing(struct uploading *uploading, const struct digest_list *missing,
    struct capture_progress *progress, struct error *err)
{
	struct cas_upload *piece = xcalloc(PIECE_BLOBS, sizeof(*piece));
	uint64_t bytes = 0;
	size_t count = 0;
	int rc = 0;

	for (size_t i = 0; i < missing->count && rc == 0; i++) {
		const struct cas_upload *item =
		    map_get(&uploading->known, digest_key(&missing->items[i]));

		/* A digest that we did not ask about is not ours to send. */
		if (item == NULL)
			continue;
		piece[count++] = *item;
		bytes += item->digest.size;
		if (count < PIECE_BLOBS && bytes < PIECE_BYTES)
			continue;
		rc = send_piece(uploading, piece, count, progress, err);
		count = 0;
		bytes = 0;
	}
	if (rc == 0 && count > 0)
		rc = send_piece(uploading, piece, count, progress, err);
	free(piece);
	return rc;
}

int
toolchain_upload(const struct toolchain_upload *upload,
    struct toolchain_upload_stats *stats, struct error *err)
{
	struct uploading uploading = {.upload = upload};
	struct capture_progress *progress;
	struct digest_list missing;
	int rc;

	*stats = (struct toolchain_upload_stats){0};
	map_init(&uploading.known);
	rc = collect(&uploading, err);
	digest_list_init(&missing, uploading.count);
	if (rc == 0)
		rc = find_missing(&uploading, &missing, stats, err);
	if (rc == 0) {
		progress = toolchain_progress_phase(
		    upload->progress, "uploading", stats->present_bytes);
		atomic_store(&progress->files_total, missing.count);
		atomic_store(&progress->bytes_total,
		    stats->bytes - stats->present_bytes);
		rc = send_missing(&uploading, &missing, progress, err);
	}
	if (rc < 0)
		error_prefix(err, "upload");
	digest_list_clear(&missing);
	map_clear(&uploading.known);
	free(uploading.items);
	return rc;
}
