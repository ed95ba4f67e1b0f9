/* SPDX-License-Identifier: Apache-2.0 */
/* What a group of the indexer puts into the index: large blobs, which it names,
 * and what is pending in the log. On the indexer's thread. */
#include <assert.h>
#include <stdlib.h>

#include "base/memory.h"
#include "cas/store_segment.h"

/* --- large blobs ---------------------------------------------------------- */

static int
commit_group_place_file(
    struct commit_group *group, struct commit_blob *blob, struct error *err)
{
	if (blob_file_place(group->store, blob, &group->shard_made, err) < 0)
		return -1;
	blob->placed = true;
	group->directories[blob->digest.function][blob->digest.hash[0]] = true;
	group->directories_any = true;
	return 0;
}

int
commit_group_add(
    struct commit_group *group, struct commit_blob *blob, struct error *err)
{
	struct place place = {.size = blob->digest.size,
	    .stored_size = blob->stored_size,
	    .epoch = group->epoch,
	    .owner = blob->owner,
	    .encoding = blob->encoding,
	    .kind = PLACE_FILE};
	struct place present;
	int added;

	/* Records go through the log. */
	assert(blob->incoming[0] != '\0');
	added = index_add(&group->write, &blob->digest, &place, &present, err);
	if (added == 0 &&
	    !store_place_exists(group->store, &blob->digest, &present)) {
		/* The file was deleted behind our back. */
		if (index_remove(&group->write, &blob->digest, &present, err) <
		    0)
			return -1;
		added = index_add(
		    &group->write, &blob->digest, &place, &present, err);
	}
	if (added != 1)
		return added;
	group->files++;
	return commit_group_place_file(group, blob, err);
}

/* --- pending blobs -------------------------------------------------------- */

/* A record of a blob that the index has: it was written while the other was
 * being dropped, or a moment after. The later one counts, since it is the one
 * that was acknowledged last. */
static int
commit_group_replace(struct commit_group *group, const struct digest *digest,
    const struct place *place, struct error *err)
{
	struct place before, ignored;

	if (index_remove(&group->write, digest, &before, err) < 0)
		return -1;
	if (before.kind == PLACE_FILE)
		group->replaced[group->replaced_count++] =
		    (struct replaced_file){*digest, before.encoding};
	return index_add(&group->write, digest, place, &ignored, err);
}

static int
commit_group_index(struct commit_group *group, const struct pending_blob *blob,
    struct error *err)
{
	struct place place = blob->place, present;
	int rc;

	/* Whoever found it meanwhile has touched nothing. */
	place.epoch = group->epoch;
	if (blob->moves)
		rc = index_move(&group->write, &blob->digest, &blob->from,
		    &blob->place, err);
	else
		rc = index_add(
		    &group->write, &blob->digest, &place, &present, err);
	if (rc == 0 && !blob->moves)
		rc = commit_group_replace(group, &blob->digest, &place, err);
	if (rc < 0)
		return -1;
	/* A copy that is not used. */
	if (rc == 0)
		return index_waste_segment(&group->write, blob->place.segment,
		    pending_blob_length(blob), err);
	return 0;
}

/* By key, since neighbours share pages of the index; the later one last. */
static int
pending_blob_order(const void *a, const void *b)
{
	const struct pending_blob *const *left = a, *const *right = b;
	const struct place *one = &(*left)->place, *other = &(*right)->place;
	int order = digest_compare(&(*left)->digest, &(*right)->digest);

	if (order != 0)
		return order;
	if (one->segment != other->segment)
		return one->segment < other->segment ? -1 : 1;
	return one->offset < other->offset ? -1 : 1;
}

/* The segments have grown by what is taken in. In the order of the log. */
static int
commit_group_grow(struct commit_group *group, struct error *err)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < group->pending_count; i++) {
		const struct pending_blob *blob = group->pending[i];

		bytes += pending_blob_length(blob);
		if (i + 1 < group->pending_count &&
		    group->pending[i + 1]->place.segment == blob->place.segment)
			continue;
		if (index_grow_segment(
			&group->write, blob->place.segment, bytes, err) < 0)
			return -1;
		bytes = 0;
	}
	return 0;
}

int
commit_group_take_pending(
    struct commit_group *group, size_t count, struct error *err)
{
	struct log_position end;

	if (count == 0)
		return 0;
	group->pending = xcalloc(count, sizeof(struct pending_blob *));
	group->replaced = xcalloc(count, sizeof(*group->replaced));
	count = pending_oldest(group->store->pending, group->pending, count);
	group->pending_count = count;
	if (count == 0)
		return 0;
	if (commit_group_grow(group, err) < 0)
		return -1;
	end = pending_blob_end(group->pending[count - 1]);
	group->write.state.active_segment = end.segment;
	group->write.state.active_length = end.offset;
	qsort(group->pending, count, sizeof(struct pending_blob *),
	    pending_blob_order);
	for (size_t i = 0; i < count; i++) {
		if (commit_group_index(group, group->pending[i], err) < 0)
			return -1;
	}
	return 0;
}
