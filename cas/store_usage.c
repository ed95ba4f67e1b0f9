/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Space: what is stored and what is promised stay below max_size, and what an
 * instance has below its quota. Any thread, under store.usage_lock.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#include "cas/store_internal.h"

/* A leaf entry of the index, with the free part of its page and the pages
 * above it: 148 bytes measured with 250,000 blobs (tests/bench). */
#define INDEX_ENTRY_COST 160
#define FILE_BLOCK 4096
/* A collection that the refusal starts may have made room by then. */
#define RETRY_MS 1000
/* What the collector makes room for by itself: for one write, and for all open
 * uploads in sum. Who only declares sizes must not empty the store. */
#define ROOM_MAX(max_size) ((max_size) / 3)

uint64_t
store_file_bytes(uint64_t stored_size)
{
	return (stored_size + FILE_BLOCK - 1) / FILE_BLOCK * FILE_BLOCK;
}

uint64_t
store_record_cost(uint64_t stored_size)
{
	return INDEX_ENTRY_COST + RECORD_HEADER_SIZE + stored_size;
}

uint64_t
store_blob_cost(const struct store *store, uint64_t stored_size)
{
	if (stored_size <= store->small_limit)
		return store_record_cost(stored_size);
	return INDEX_ENTRY_COST + store_file_bytes(stored_size);
}

uint64_t
store_action_cost(uint64_t value_size)
{
	return INDEX_ENTRY_COST + value_size;
}

uint64_t
store_place_cost(const struct place *place)
{
	if (place->kind == PLACE_FILE)
		return INDEX_ENTRY_COST + store_file_bytes(place->stored_size);
	return store_record_cost(place->stored_size);
}

/* Under the lock. */
static uint64_t
store_used(const struct store *store)
{
	const struct index_state *state = &store->state;

	return state->segment_bytes + state->file_bytes + state->action_bytes +
	       (state->blobs + state->actions) * INDEX_ENTRY_COST +
	       store->reserved;
}

uint64_t
owner_used(const struct owner *owner)
{
	return owner->use.blob_bytes + owner->use.result_bytes +
	       owner->reserved;
}

static uint64_t
smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t
store_collected_use(uint64_t used, uint64_t uploading, uint64_t limit)
{
	return used - uploading + smaller(uploading, ROOM_MAX(limit));
}

/* --- refusals ------------------------------------------------------------- */

/* What a write asks for. */
struct demand {
	uint16_t owner;
	bool upload; /* only declared */
	uint64_t bytes;
	uint64_t limit; /* of the store, for it */
};

/* What does not fit: the store, or an instance's quota. */
struct refusal {
	char what[128];
	const char *setting; /* what raises the limit */
	const char *option;  /* of a collection by hand */
	uint64_t limit;
	uint64_t used;
	uint64_t uploading;
	uint64_t needed;
	bool upload;
	struct shortage shortage;
};

/* With the open uploads it is more than the collector makes room for. */
static bool
uploads_ask_too_much(uint64_t uploading, uint64_t bytes, uint64_t limit)
{
	return uploading > ROOM_MAX(limit) ||
	       bytes > ROOM_MAX(limit) - uploading;
}

static int
refusal_tell(const struct refusal *refusal, struct error *err)
{
	char figures[320], uploads[64] = "", floors[64] = "";

	if (refusal->uploading > 0)
		snprintf(uploads, sizeof(uploads),
		    " (%" PRIu64 " promised to open uploads)",
		    refusal->uploading);
	snprintf(figures, sizeof(figures),
	    "%s is full: limit %" PRIu64 " bytes, in use %" PRIu64
	    "%s, needed %" PRIu64,
	    refusal->what, refusal->limit, refusal->used, uploads,
	    refusal->needed);
	if (refusal->needed > refusal->limit)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "%s cannot hold this: limit %" PRIu64
		    " bytes, needed %" PRIu64 "; raise %s",
		    refusal->what, refusal->limit, refusal->needed,
		    refusal->setting);
	/* No collection will be asked for room. */
	if (refusal->needed > ROOM_MAX(refusal->limit))
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "%s, and no room is made by itself for more than a third "
		    "of the limit; raise %s or run `toolroot gc --run "
		    "--max-size %" PRIu64 "%s`",
		    figures, refusal->setting, refusal->limit - refusal->needed,
		    refusal->option);
	if (refusal->upload && uploads_ask_too_much(refusal->uploading,
				   refusal->needed, refusal->limit))
		return error_set_retry(err, ERROR_RESOURCE_EXHAUSTED, RETRY_MS,
		    "%s, and no room is made by itself for open uploads of "
		    "more than a third of the limit in sum; try again when "
		    "others have ended, or raise %s",
		    figures, refusal->setting);
	if (refusal->shortage.min_age_ms < 0)
		return error_set_retry(err, ERROR_RESOURCE_EXHAUSTED, RETRY_MS,
		    "%s; raise %s or run `toolroot gc --run%s`", figures,
		    refusal->setting, refusal->option);
	if (refusal->shortage.floor_bytes > 0)
		snprintf(floors, sizeof(floors),
		    "floors of instances keep %" PRIu64 " bytes",
		    refusal->shortage.floor_bytes);
	if (refusal->shortage.oldest_age_ms < 0)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "%s, and %s; raise %s, %sor unpin something", figures,
		    floors[0] != '\0' ? floors : "all of it is pinned",
		    refusal->setting,
		    floors[0] != '\0' ? "lower an instance-floor, " : "");
	return error_set(err, ERROR_RESOURCE_EXHAUSTED,
	    "%s; %s%swhat could go next was used %" PRId64
	    " s ago, and min-age promises %" PRId64
	    " s: raise %s, or lower %s--min-age",
	    figures, floors, floors[0] != '\0' ? "; " : "",
	    refusal->shortage.oldest_age_ms / 1000,
	    refusal->shortage.min_age_ms / 1000, refusal->setting,
	    floors[0] != '\0' ? "an instance-floor or " : "");
}

/* Under the lock: a collection may make room for it. */
static void
note_refused(uint64_t *refused, const struct refusal *refusal)
{
	if (refusal->needed > *refused &&
	    refusal->needed <= ROOM_MAX(refusal->limit))
		*refused = refusal->needed;
}

/* Under the lock. NULL when nothing is known of it. */
static struct owner *
store_find_owner(struct store *store, uint16_t owner)
{
	return owner < store->owners.count ? store->owners.items[owner] : NULL;
}

bool
store_take_refused(struct store *store, uint16_t owner, uint64_t *room)
{
	uint64_t none = 0, *refused = &store->refused, most, promised;
	struct owner *asked;

	pthread_mutex_lock(&store->usage_lock);
	most = ROOM_MAX(store->max_size);
	promised = store->uploading;
	if (owner != 0) {
		asked = store_find_owner(store, owner);
		refused = asked != NULL ? &asked->refused : &none;
		most = asked != NULL ? ROOM_MAX(asked->quota) : 0;
		promised = asked != NULL ? asked->uploading : 0;
	}
	*room = *refused;
	*refused = 0;
	pthread_mutex_unlock(&store->usage_lock);
	if (*room == 0)
		return false;
	/* Open uploads have their part of it already. */
	*room = smaller(*room, most - smaller(most, promised));
	return true;
}

/* Under the lock. */
static void
refuse_store(
    struct store *store, const struct demand *demand, struct refusal *refusal)
{
	*refusal = (struct refusal){.what = "the store",
	    .setting = "--max-size",
	    .option = "",
	    .limit = store->max_size,
	    .used = store_used(store),
	    .uploading = store->uploading,
	    .needed = demand->bytes,
	    .upload = demand->upload,
	    .shortage = store->shortage};
	note_refused(&store->refused, refusal);
}

/* Under the lock. */
static void
refuse_owner(
    struct owner *owner, const struct demand *demand, struct refusal *refusal)
{
	*refusal = (struct refusal){.setting = "its instance-quota",
	    .option = " --instance NAME",
	    .limit = owner->quota,
	    .used = owner_used(owner),
	    .uploading = owner->uploading,
	    .needed = demand->bytes,
	    .upload = demand->upload,
	    .shortage = owner->shortage};
	snprintf(refusal->what, sizeof(refusal->what),
	    "the quota of instance \"%.80s\"",
	    owner->name != NULL ? owner->name : "");
	note_refused(&owner->refused, refusal);
}

/* --- reservations --------------------------------------------------------- */

static bool
fits(uint64_t used, uint64_t bytes, uint64_t limit)
{
	return used <= limit && bytes <= limit - used;
}

static int
store_reserve_demand(
    struct store *store, const struct demand *demand, struct error *err)
{
	const uint64_t uploading = demand->upload ? demand->bytes : 0;
	struct owner *owner = NULL;
	struct refusal refusal;
	bool refused = true;

	pthread_mutex_lock(&store->usage_lock);
	if (demand->owner != 0)
		owner = owners_at(&store->owners, demand->owner);
	if (owner != NULL && owner->quota != 0 &&
	    !fits(owner_used(owner), demand->bytes, owner->quota)) {
		refuse_owner(owner, demand, &refusal);
	} else if (!fits(store_used(store), demand->bytes, demand->limit)) {
		refuse_store(store, demand, &refusal);
	} else {
		refused = false;
		store->reserved += demand->bytes;
		store->uploading += uploading;
		if (owner != NULL) {
			owner->reserved += demand->bytes;
			owner->uploading += uploading;
		}
	}
	pthread_mutex_unlock(&store->usage_lock);
	return refused ? refusal_tell(&refusal, err) : 0;
}

int
store_reserve(
    struct store *store, uint16_t owner, uint64_t bytes, struct error *err)
{
	const struct demand demand = {
	    .owner = owner, .bytes = bytes, .limit = store->max_size};

	return store_reserve_demand(store, &demand, err);
}

int
store_reserve_upload(
    struct store *store, uint16_t owner, uint64_t bytes, struct error *err)
{
	const struct demand demand = {.owner = owner,
	    .upload = true,
	    .bytes = bytes,
	    .limit = store->max_size};

	return store_reserve_demand(store, &demand, err);
}

void
store_end_upload(struct store *store, struct commit_blob *blob)
{
	if (!blob->uploading)
		return;
	blob->uploading = false;
	pthread_mutex_lock(&store->usage_lock);
	store->uploading -= blob->reserved;
	if (blob->owner != 0)
		owners_at(&store->owners, blob->owner)->uploading -=
		    blob->reserved;
	pthread_mutex_unlock(&store->usage_lock);
}

int
store_reserve_move(struct store *store, uint64_t bytes, struct error *err)
{
	const struct demand demand = {
	    .bytes = bytes, .limit = store->max_size + store->segment_size};

	return store_reserve_demand(store, &demand, err);
}

/* Under the lock. */
static void
store_unreserve(struct store *store, uint16_t owner, uint64_t bytes)
{
	store->reserved -= bytes;
	if (owner != 0)
		owners_at(&store->owners, owner)->reserved -= bytes;
}

void
store_release(struct store *store, uint16_t owner, uint64_t bytes)
{
	if (bytes == 0)
		return;
	pthread_mutex_lock(&store->usage_lock);
	store_unreserve(store, owner, bytes);
	pthread_mutex_unlock(&store->usage_lock);
}

void
store_set_shortage(
    struct store *store, uint16_t owner, const struct shortage *shortage)
{
	pthread_mutex_lock(&store->usage_lock);
	if (owner == 0)
		store->shortage = *shortage;
	else
		owners_at(&store->owners, owner)->shortage = *shortage;
	pthread_mutex_unlock(&store->usage_lock);
}

static int
ask_disk(struct store *store, struct statvfs *disk)
{
	if (fstatvfs(store->directory, disk) == -1)
		return -1;
	atomic_store(
	    &store->disk_free, (uint64_t)disk->f_frsize * disk->f_bavail);
	return 0;
}

void
store_measure_disk(struct store *store)
{
	struct statvfs ignored;

	(void)ask_disk(store, &ignored);
}

int
store_disk_error(struct store *store, struct error *err)
{
	struct statvfs disk;

	if (err->code != ERROR_RESOURCE_EXHAUSTED)
		error_prefix(err, "store %s", store->path);
	else if (ask_disk(store, &disk) < 0)
		error_prefix(err, "store %s: the disk is full", store->path);
	else
		error_prefix(err,
		    "store %s: the disk is full, %" PRIu64
		    " bytes free of %" PRIu64
		    "; free some of it, or run `toolroot gc --run`",
		    store->path, (uint64_t)disk.f_frsize * disk.f_bavail,
		    (uint64_t)disk.f_frsize * disk.f_blocks);
	store_note_failure(store, err);
	return -1;
}

/* Whom a pending blob counts for meanwhile: a copy is nobody's. */
static uint16_t
pending_blob_payer(const struct pending_blob *blob)
{
	return blob->moves ? 0 : blob->place.owner;
}

void
store_set_state(struct store *store, const struct index_write *write,
    struct pending_blob *const *indexed, size_t count)
{
	static const struct owner_use none;

	pthread_mutex_lock(&store->usage_lock);
	store->state = write->state;
	store->pending_blobs -= count;
	for (size_t i = 0; i < count; i++)
		store_unreserve(store, pending_blob_payer(indexed[i]),
		    indexed[i]->reserved);
	for (size_t i = 0; i < write->changes.count; i++) {
		const struct owner_use *change = &write->changes.items[i];

		if (memcmp(change, &none, sizeof(none)) != 0)
			owner_use_change(
			    &owners_at(&store->owners, (uint16_t)i)->use,
			    change);
	}
	pthread_mutex_unlock(&store->usage_lock);
}

void
store_count_files(struct store *store, uint64_t files)
{
	pthread_mutex_lock(&store->usage_lock);
	store->commits++;
	store->committed_blobs += files;
	pthread_mutex_unlock(&store->usage_lock);
}

void
store_count_records(struct store *store, uint64_t records, uint32_t log_segment)
{
	pthread_mutex_lock(&store->usage_lock);
	store->commits++;
	store->committed_blobs += records;
	store->pending_blobs += records;
	store->log_segment = log_segment;
	pthread_mutex_unlock(&store->usage_lock);
}

void
store_count_recovered(
    struct store *store, const struct pending_list *found, uint32_t log_segment)
{
	const struct pending_blob *blob;

	pthread_mutex_lock(&store->usage_lock);
	STAILQ_FOREACH(blob, found, link)
	{
		uint16_t owner = pending_blob_payer(blob);

		store->reserved += blob->reserved;
		if (owner != 0)
			owners_at(&store->owners, owner)->reserved +=
			    blob->reserved;
		store->recovered_blobs++;
		store->pending_blobs++;
	}
	store->log_segment = log_segment;
	pthread_mutex_unlock(&store->usage_lock);
}

/* A read-only store's totals are another process's. */
static void
store_refresh_state(struct store *store)
{
	struct index_state state;
	struct error ignored;
	MDB_txn *txn;

	if (index_read_begin(store->index, &txn, &ignored) < 0)
		return;
	if (index_state(store->index, txn, &state, &ignored) == 0) {
		pthread_mutex_lock(&store->usage_lock);
		store->state = state;
		pthread_mutex_unlock(&store->usage_lock);
	}
	index_read_end(store->index, txn);
}

/* What is left of max_size, at most what is left of the disk. */
static uint64_t
store_available(const struct store *store, uint64_t bytes)
{
	uint64_t left = store->max_size > bytes ? store->max_size - bytes : 0;
	uint64_t free_bytes = atomic_load(&store->disk_free);

	return left < free_bytes ? left : free_bytes;
}

void
store_usage(struct store *store, struct store_usage *usage)
{
	if (store->read_only)
		store_refresh_state(store);
	pthread_mutex_lock(&store->usage_lock);
	usage->bytes = store_used(store);
	usage->uploading = store->uploading;
	usage->max_bytes = store->max_size;
	usage->blobs = store->state.blobs + store->pending_blobs;
	usage->action_results = store->state.actions;
	usage->segments = store->state.segments;
	/* Those that the index has not come to. */
	if (store->log_segment > store->state.active_segment)
		usage->segments +=
		    store->log_segment - store->state.active_segment;
	usage->commits = store->commits;
	usage->committed_blobs = store->committed_blobs;
	pthread_mutex_unlock(&store->usage_lock);
	usage->available = store_available(store, usage->bytes);
	usage->dropped = atomic_load(&store->dropped);
	usage->lookups.hits = atomic_load(&store->lookup_hits);
	usage->lookups.misses = atomic_load(&store->lookup_misses);
	usage->lookups.incomplete = atomic_load(&store->lookup_incomplete);
	usage->recovered_blobs = store->recovered_blobs;
	usage->recovery_ns = store->recovery_ns;
}
