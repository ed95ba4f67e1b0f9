/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of owners in memory, by number and by name, and its changes in the
 * index. What an owner has is changed by store_usage.c.
 */
#include "cas/owners.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cas/index_job.h"
#include "cas/store_internal.h"

#define OWNERS_MAX UINT16_MAX

/* --- the table, under the lock -------------------------------------------- */

void
owners_init(struct owners *owners)
{
	memset(owners, 0, sizeof(*owners));
	map_init(&owners->by_name);
}

void
owners_clear(struct owners *owners)
{
	for (size_t i = 0; i < owners->count; i++) {
		if (owners->items[i] != NULL)
			free(owners->items[i]->name);
		free(owners->items[i]);
	}
	free(owners->items);
	map_clear(&owners->by_name);
	owners_init(owners);
}

struct owner *
owners_at(struct owners *owners, uint16_t number)
{
	struct owner *owner;

	if (number >= owners->count) {
		size_t count = (size_t)number + 1;

		owners->items =
		    xreallocarray(owners->items, count, sizeof(struct owner *));
		memset(owners->items + owners->count, 0,
		    (count - owners->count) * sizeof(struct owner *));
		owners->count = count;
	}
	owner = owners->items[number];
	if (owner == NULL) {
		owner = xcalloc(1, sizeof(*owner));
		owner->number = number;
		owner->shortage.min_age_ms = -1;
		owners->items[number] = owner;
	}
	return owner;
}

static struct str
owner_name(const struct owner *owner)
{
	return (struct str){owner->name, owner->name_length};
}

static void
owners_name(struct owners *owners, struct owner *owner, struct str name)
{
	if (owner->name != NULL) {
		if (str_equal(owner_name(owner), name))
			return;
		map_remove(&owners->by_name, owner_name(owner));
		free(owner->name);
		owner->shortage.min_age_ms = -1;
		owner->refused = 0;
		owners->renamed = owner->number;
	}
	owner->name = xmalloc(name.len + 1);
	memcpy(owner->name, name.data, name.len);
	owner->name[name.len] = '\0';
	owner->name_length = name.len;
	map_put(&owners->by_name, owner_name(owner), owner);
}

static int
owners_load_one(void *cookie, uint16_t number, const struct index_owner *entry,
    struct error *err)
{
	struct owners *owners = cookie;
	struct owner *owner = owners_at(owners, number);

	(void)err;
	if (entry->named)
		owners_name(owners, owner, entry->name);
	owner->use = entry->use;
	owner->quota = entry->quota;
	owner->floor = entry->floor;
	return 0;
}

int
owners_load(struct store *store, struct error *err)
{
	struct owners fresh, old;
	int rc;

	owners_init(&fresh);
	rc = index_each_owner(store->index, owners_load_one, &fresh, err);
	if (rc < 0) {
		owners_clear(&fresh);
		return -1;
	}
	pthread_mutex_lock(&store->usage_lock);
	old = store->owners;
	store->owners = fresh;
	pthread_mutex_unlock(&store->usage_lock);
	owners_clear(&old);
	return 0;
}

/* Also false where no instance has the number. */
static bool
owner_has_limits(const struct owner *owner)
{
	return owner != NULL && owner->name != NULL &&
	       (owner->quota > 0 || owner->floor > 0);
}

/* --- numbers -------------------------------------------------------------- */

/* Nothing in the store has its number. */
static bool
owner_is_idle(const struct owner *owner)
{
	return owner->name != NULL && !owner_has_limits(owner) &&
	       owner_used(owner) == 0 &&
	       owner->use.blobs + owner->use.results == 0;
}

/* Under the lock. Whose number a new name may have in a full table, or NULL.
 * From the last on: those that were met a moment ago, and have nothing yet,
 * come after all others. */
static const struct owner *
owners_find_idle(const struct owners *owners)
{
	for (size_t i = 1; i <= owners->count; i++) {
		const struct owner *owner =
		    owners->items[(owners->renamed + i) % owners->count];

		if (owner != NULL && owner_is_idle(owner))
			return owner;
	}
	return NULL;
}

static bool
owners_are_full(const struct owners *owners)
{
	return owners->by_name.count >= OWNERS_MET_MAX;
}

bool
store_owner_known(struct store *store, struct str instance, uint16_t *owner)
{
	const struct owner *known;
	bool none;

	*owner = 0;
	if (store->read_only || instance.len > OWNER_NAME_MAX)
		return true;
	pthread_mutex_lock(&store->usage_lock);
	known = map_get(&store->owners.by_name, instance);
	none = known == NULL && owners_are_full(&store->owners) &&
	       owners_find_idle(&store->owners) == NULL;
	if (known != NULL)
		*owner = known->number;
	pthread_mutex_unlock(&store->usage_lock);
	return known != NULL || none;
}

/* The number that the name has (then true), or one for it; above OWNERS_MAX:
 * none is left. */
static bool
owners_choose(
    struct store *store, struct str instance, bool limiting, size_t *number)
{
	const struct owners *owners = &store->owners;
	const struct owner *known, *idle;

	pthread_mutex_lock(&store->usage_lock);
	known = map_get(&owners->by_name, instance);
	*number = owners->count > 0 ? owners->count : 1;
	if (known != NULL) {
		*number = known->number;
	} else if (!limiting && owners_are_full(owners)) {
		idle = owners_find_idle(owners);
		*number = idle != NULL ? idle->number : OWNERS_MAX + 1;
	}
	pthread_mutex_unlock(&store->usage_lock);
	return known != NULL;
}

/* A name, or limits, on their way into the index. */
struct owner_change {
	uint16_t number;
	struct index_owner entry;
};

/* Several names in one transaction; chosen numbers count up. */
struct owners_job {
	const struct owner_limits *limits;
	size_t count;
	/* Limits are set, and all others lose theirs; else names are met. */
	bool limiting;
	struct owner_change *changes;
	size_t change_count;
};

static void
owners_job_add(
    struct owners_job *job, uint16_t number, const struct owner_limits *limits)
{
	job->changes = xreallocarray(
	    job->changes, job->change_count + 1, sizeof(*job->changes));
	job->changes[job->change_count++] =
	    (struct owner_change){number, {.named = true,
					      .name = limits->instance,
					      .quota = limits->quota,
					      .floor = limits->floor}};
}

static bool
owners_job_names(const struct owners_job *job, struct str instance)
{
	for (size_t i = 0; i < job->count; i++) {
		if (str_equal(job->limits[i].instance, instance))
			return true;
	}
	return false;
}

/* Names are of the table: no other job forgets one meanwhile. */
static void
owners_job_add_others(struct owners_job *job, struct store *store)
{
	pthread_mutex_lock(&store->usage_lock);
	for (size_t i = 0; i < store->owners.count; i++) {
		const struct owner *owner = store->owners.items[i];
		struct owner_limits none = {.quota = 0};

		if (!owner_has_limits(owner))
			continue;
		none.instance = owner_name(owner);
		if (!owners_job_names(job, none.instance))
			owners_job_add(job, owner->number, &none);
	}
	pthread_mutex_unlock(&store->usage_lock);
}

static int
owners_job_apply(void *cookie, struct store *store, struct index_write *write,
    struct error *err)
{
	struct owners_job *job = cookie;
	size_t fresh = 0;

	job->change_count = 0;
	for (size_t i = 0; i < job->count; i++) {
		const struct owner_limits *limits = &job->limits[i];
		size_t number;

		/* Met by another thread meanwhile. */
		if (owners_choose(
			store, limits->instance, job->limiting, &number)) {
			if (!job->limiting)
				continue;
		} else {
			/* Those chosen before are not in the table yet. */
			number += fresh++;
		}
		if (number <= OWNERS_MAX)
			owners_job_add(job, (uint16_t)number, limits);
	}
	if (job->limiting)
		owners_job_add_others(job, store);
	for (size_t i = 0; i < job->change_count; i++) {
		if (index_put_owner(write, job->changes[i].number,
			&job->changes[i].entry, err) < 0)
			return -1;
	}
	return 0;
}

static void
owners_job_finish(void *cookie, struct store *store, bool done)
{
	struct owners_job *job = cookie;

	pthread_mutex_lock(&store->usage_lock);
	for (size_t i = 0; done && i < job->change_count; i++) {
		const struct owner_change *change = &job->changes[i];
		struct owner *owner = owners_at(&store->owners, change->number);

		owners_name(&store->owners, owner, change->entry.name);
		owner->quota = change->entry.quota;
		owner->floor = change->entry.floor;
	}
	pthread_mutex_unlock(&store->usage_lock);
}

static int
owners_job_run(struct store *store, struct owners_job *work, struct error *err)
{
	const struct index_job job = {
	    owners_job_apply, owners_job_finish, work};
	int rc = index_job_run(store, &job, err);

	free(work->changes);
	return rc;
}

int
store_owner(struct store *store, struct str instance, uint16_t *owner,
    struct error *err)
{
	const struct owner_limits limits = {.instance = instance};
	struct owners_job job = {.limits = &limits, .count = 1};

	if (store_owner_known(store, instance, owner))
		return 0;
	if (owners_job_run(store, &job, err) < 0) {
		/* The log may have room where the index has none. */
		if (err->code == ERROR_RESOURCE_EXHAUSTED)
			return 0;
		error_prefix(err, "note the instance \"%.*s\"",
		    (int)instance.len, instance.data);
		return -1;
	}
	(void)store_owner_known(store, instance, owner);
	return 0;
}

/* Under the lock: the limits are what the index has, and nobody has others. */
static bool
owners_job_is_done(const struct owners_job *job, const struct owners *owners)
{
	for (size_t i = 0; i < job->count; i++) {
		const struct owner_limits *limits = &job->limits[i];
		const struct owner *owner =
		    map_get(&owners->by_name, limits->instance);

		if (owner == NULL || owner->quota != limits->quota ||
		    owner->floor != limits->floor)
			return false;
	}
	for (size_t i = 0; i < owners->count; i++) {
		const struct owner *owner = owners->items[i];

		if (owner_has_limits(owner) &&
		    !owners_job_names(job, owner_name(owner)))
			return false;
	}
	return true;
}

int
store_set_owner_limits(struct store *store, const struct owner_limits *limits,
    size_t count, struct error *err)
{
	struct owners_job job = {
	    .limits = limits, .count = count, .limiting = true};
	bool done;

	for (size_t i = 0; i < count; i++) {
		if (limits[i].instance.len > OWNER_NAME_MAX)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "the name of an instance with limits has %zu "
			    "bytes; at most %u are counted",
			    limits[i].instance.len, OWNER_NAME_MAX);
	}
	/* A server with its old limits starts on a full disk, too. */
	pthread_mutex_lock(&store->usage_lock);
	done = owners_job_is_done(&job, &store->owners);
	pthread_mutex_unlock(&store->usage_lock);
	return done ? 0 : owners_job_run(store, &job, err);
}

bool
store_has_quotas(struct store *store)
{
	bool any = false;

	pthread_mutex_lock(&store->usage_lock);
	for (size_t i = 0; i < store->owners.count && !any; i++)
		any = store->owners.items[i] != NULL &&
		      store->owners.items[i]->quota > 0;
	pthread_mutex_unlock(&store->usage_lock);
	return any;
}

/* --- telling -------------------------------------------------------------- */

static void
owner_list_add(struct owner_list *list, const struct owner *owner)
{
	struct owner_report *report;
	char *name = xmalloc(owner->name_length + 1);

	if (owner->name_length > 0)
		memcpy(name, owner->name, owner->name_length);
	name[owner->name_length] = '\0';
	report = &list->items[list->count++];
	*report = (struct owner_report){.number = owner->number,
	    .named = owner->name != NULL,
	    .instance = {name, owner->name_length},
	    .bytes = owner_used(owner),
	    .uploading = owner->uploading,
	    .stored = owner->use.blob_bytes + owner->use.result_bytes,
	    .blobs = owner->use.blobs,
	    .results = owner->use.results,
	    .quota = owner->quota,
	    .floor = owner->floor};
}

int
store_owners(struct store *store, struct owner_list *list, struct error *err)
{
	*list = (struct owner_list){NULL, 0};
	if (store->read_only && owners_load(store, err) < 0)
		return -1;
	pthread_mutex_lock(&store->usage_lock);
	list->items = xcalloc(store->owners.count + 1, sizeof(*list->items));
	for (size_t i = 0; i < store->owners.count; i++) {
		const struct owner *owner = store->owners.items[i];

		if (owner != NULL && (owner_used(owner) > 0 ||
					 owner->quota > 0 || owner->floor > 0))
			owner_list_add(list, owner);
	}
	pthread_mutex_unlock(&store->usage_lock);
	return 0;
}

void
owner_list_clear(struct owner_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free((char *)(uintptr_t)list->items[i].instance.data);
	free(list->items);
	*list = (struct owner_list){NULL, 0};
}

const struct owner_report *
owner_list_find(const struct owner_list *list, struct str instance)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->items[i].named &&
		    str_equal(list->items[i].instance, instance))
			return &list->items[i];
	}
	return NULL;
}
