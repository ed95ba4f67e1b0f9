/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree is walked in the store (cas/closure.h) until no directory is
 * missing; between two walks the missing ones are fetched with what is missing
 * below them. Blobs on their way are in a map, so that whoever needs one waits
 * for it instead of fetching it too.
 */
#include "worker/input_fetch.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/condition.h"
#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"
#include "cas/closure.h"
#include "cas/digest_list.h"
#include "cas/digest_message.h"
#include "cas/directory.h"
#include "cas/store.h"
#include "client/cas_client.h"

/* How soon somebody who waits notices that it need not any more. */
#define WAIT_STEP_MS 100

struct input_fetch {
	struct store *store;
	struct cas_client *client;
	/* Guards flights and waiters. Each flight is owned by the thread that
	 * put it there; it takes it out when the blob has landed, or when it
	 * gives up. */
	pthread_mutex_t lock;
	pthread_cond_t landed; /* some flight was taken out */
	struct map flights;    /* digest -> itself */
	unsigned waiters;
};

struct input_fetch *
input_fetch_new(struct store *store, struct cas_client *client)
{
	struct input_fetch *fetch = xcalloc(1, sizeof(*fetch));

	fetch->store = store;
	fetch->client = client;
	pthread_mutex_init(&fetch->lock, NULL);
	condition_init(&fetch->landed);
	map_init(&fetch->flights);
	return fetch;
}

void
input_fetch_free(struct input_fetch *fetch)
{
	if (fetch == NULL)
		return;
	map_clear(&fetch->flights);
	pthread_cond_destroy(&fetch->landed);
	pthread_mutex_destroy(&fetch->lock);
	free(fetch);
}

/* What does not fit is left out: the list is for a message to a person. */
static void
note_missing(struct digest_list *missing, const struct digest *digest)
{
	if (digest_list_add(missing, digest) < 0)
		return;
}

static void
add_digest(struct digest_list *list, const struct digest *digest)
{
	if (digest_list_add(list, digest) < 0)
		abort(); /* the limit is what the source list holds */
}

/* Moves those that the store lacks to the front of the list, and sets *absent
 * to their number, 0 on failure; the others follow. */
static int
sort_absent(struct input_fetch *fetch, struct digest_list *list, size_t *absent,
    struct error *err)
{
	bool *missing = xcalloc(list->count + 1, sizeof(*missing));
	size_t kept = 0;
	int rc = store_find_missing(
	    fetch->store, list->items, list->count, missing, err);

	for (size_t i = 0; i < list->count && rc == 0; i++) {
		struct digest digest = list->items[i];

		if (!missing[i])
			continue;
		list->items[i] = list->items[kept];
		list->items[kept++] = digest;
	}
	*absent = kept;
	free(missing);
	return rc;
}

/* Replaces list by those of it that the store lacks. */
static int
keep_absent(
    struct input_fetch *fetch, struct digest_list *list, struct error *err)
{
	size_t absent;

	if (sort_absent(fetch, list, &absent, err) < 0)
		return -1;
	list->count = absent;
	return 0;
}

/* --- flights -------------------------------------------------------------- */

/* Splits what is wanted into what we are to fetch and what others do. */
static void
flights_begin(struct input_fetch *fetch, const struct digest_list *wanted,
    struct digest_list *ours, struct digest_list *others)
{
	pthread_mutex_lock(&fetch->lock);
	for (size_t i = 0; i < wanted->count; i++) {
		const struct digest *digest = &wanted->items[i];
		struct digest *flight;

		if (map_get(&fetch->flights, digest_key(digest)) != NULL) {
			add_digest(others, digest);
			continue;
		}
		flight = xmalloc(sizeof(*flight));
		*flight = *digest;
		map_put(&fetch->flights, digest_key(flight), flight);
		add_digest(ours, digest);
	}
	pthread_mutex_unlock(&fetch->lock);
}

/* With the lock. A flight that has landed already is no more there. */
static void
flight_end(struct input_fetch *fetch, const struct digest *digest)
{
	free(map_remove(&fetch->flights, digest_key(digest)));
	if (fetch->waiters > 0)
		pthread_cond_broadcast(&fetch->landed);
}

/* Others may have landed some between our look at the store and our beginning.
 */
static int
flights_end_landed(
    struct input_fetch *fetch, struct digest_list *ours, struct error *err)
{
	size_t absent;
	int rc = sort_absent(fetch, ours, &absent, err);

	pthread_mutex_lock(&fetch->lock);
	for (size_t i = absent; i < ours->count; i++)
		flight_end(fetch, &ours->items[i]);
	pthread_mutex_unlock(&fetch->lock);
	ours->count = absent;
	return rc;
}

/* One download and those of its flights that have not landed. */
struct landing {
	struct input_fetch *fetch;
	struct map open; /* digest -> itself; guarded by fetch->lock */
};

static void
flight_landed(void *cookie, const struct digest *digest)
{
	struct landing *landing = cookie;
	struct input_fetch *fetch = landing->fetch;

	pthread_mutex_lock(&fetch->lock);
	if (map_remove(&landing->open, digest_key(digest)) != NULL)
		flight_end(fetch, digest);
	pthread_mutex_unlock(&fetch->lock);
}

static int
flights_fetch(struct input_fetch *fetch, struct digest_list *ours,
    const struct cas_transfer *transfer, struct digest_list *absent,
    struct error *err)
{
	struct landing landing = {.fetch = fetch};
	struct cas_download download = {
	    fetch->store, ours, absent, flight_landed, &landing};
	const struct digest *digest;
	size_t position = 0;
	int rc;

	map_init(&landing.open);
	for (size_t i = 0; i < ours->count; i++)
		map_put(&landing.open, digest_key(&ours->items[i]),
		    &ours->items[i]);
	rc = cas_client_download(fetch->client, transfer, &download, err);
	/* No job of ours runs any more: what is open did not land. */
	pthread_mutex_lock(&fetch->lock);
	while ((digest = map_next(&landing.open, &position)) != NULL)
		flight_end(fetch, digest);
	pthread_mutex_unlock(&fetch->lock);
	map_clear(&landing.open);
	return rc;
}

/* Waits until nobody fetches the digest. */
static int
flight_wait(struct input_fetch *fetch, const struct digest *digest,
    const struct cas_transfer *transfer, struct error *err)
{
	const atomic_bool *cancelled =
	    transfer != NULL ? transfer->cancelled : NULL;
	bool gone = false;

	pthread_mutex_lock(&fetch->lock);
	fetch->waiters++;
	while (!gone && map_get(&fetch->flights, digest_key(digest)) != NULL) {
		condition_wait_for(&fetch->landed, &fetch->lock, WAIT_STEP_MS);
		gone = cancelled != NULL && atomic_load(cancelled);
	}
	fetch->waiters--;
	pthread_mutex_unlock(&fetch->lock);
	if (gone)
		return error_set(
		    err, ERROR_CANCELLED, "the inputs are no longer wanted");
	return 0;
}

/* Fetches what the store lacks, or waits for it. What the others did not get
 * is ours the next time round. wanted is used up. */
static int
fetch_wanted(struct input_fetch *fetch, struct digest_list *wanted,
    const struct cas_transfer *transfer, struct digest_list *missing,
    struct error *err)
{
	struct digest_list ours;
	struct digest_list others;
	struct digest_list absent;
	int rc = 0;

	digest_list_init(&ours, wanted->count);
	digest_list_init(&others, wanted->count);
	digest_list_init(&absent, wanted->count);
	while (wanted->count > 0 && rc == 0) {
		ours.count = 0;
		others.count = 0;
		flights_begin(fetch, wanted, &ours, &others);
		rc = flights_end_landed(fetch, &ours, err);
		if (rc == 0 && ours.count > 0)
			rc =
			    flights_fetch(fetch, &ours, transfer, &absent, err);
		for (size_t i = 0; i < others.count && rc == 0; i++)
			rc =
			    flight_wait(fetch, &others.items[i], transfer, err);
		if (rc == 0)
			rc = keep_absent(fetch, &others, err);
		wanted->count = 0;
		for (size_t i = 0; i < others.count; i++)
			add_digest(wanted, &others.items[i]);
	}
	for (size_t i = 0; i < absent.count; i++)
		note_missing(missing, &absent.items[i]);
	digest_list_clear(&ours);
	digest_list_clear(&others);
	digest_list_clear(&absent);
	return rc;
}

/* Fetches what is absent of list, or says that it is missing. */
static int
fetch_list(struct input_fetch *fetch, struct digest_list *list,
    const struct cas_transfer *transfer, struct digest_list *missing,
    struct error *err)
{
	if (keep_absent(fetch, list, err) < 0)
		return -1;
	if (fetch->client != NULL)
		return fetch_wanted(fetch, list, transfer, missing, err);
	for (size_t i = 0; i < list->count; i++)
		note_missing(missing, &list->items[i]);
	return 0;
}

/* --- directories ---------------------------------------------------------- */

/* Adds the children of a directory in the store that were not seen. What
 * cannot be read or understood is left to the walk, which names its path. */
static void
add_children(struct input_fetch *fetch, const struct digest *digest,
    struct map *seen, struct arena *memory, struct digest_list *children)
{
	struct buffer content;
	struct arena arena;
	Reapi__Directory *directory = NULL;
	struct error ignored;

	buffer_init(&content, CLOSURE_MESSAGE_MAX);
	arena_init(&arena, directory_memory((size_t)digest->size));
	if (store_read(fetch->store, digest, &content, &ignored) == 1)
		directory = directory_decode(
		    &arena, buffer_str(&content), digest->function, &ignored);
	for (size_t i = 0; directory != NULL && i < directory->n_directories;
	     i++) {
		struct digest child;
		struct digest *copy;

		if (digest_from_message(digest->function,
			directory->directories[i]->digest, &child,
			&ignored) < 0)
			break;
		if (child.size > CLOSURE_MESSAGE_MAX ||
		    map_get(seen, digest_key(&child)) != NULL)
			continue;
		copy = arena_alloc(memory, sizeof(*copy));
		if (copy == NULL || digest_list_add(children, &child) < 0)
			break;
		*copy = child;
		map_put(seen, digest_key(copy), copy);
	}
	arena_clear(&arena);
	buffer_clear(&content);
}

/* Fetches directories and, level by level, what is missing below them. */
static int
fetch_directories(struct input_fetch *fetch, struct digest_list *level,
    const struct cas_transfer *transfer, struct digest_list *missing,
    struct error *err)
{
	struct digest_list next;
	struct arena memory;
	struct map seen;
	int rc = 0;

	map_init(&seen);
	arena_init(&memory, (size_t)CLOSURE_DIRECTORIES_MAX * 128);
	digest_list_init(&next, CLOSURE_DIRECTORIES_MAX);
	for (unsigned depth = 0; level->count > 0 && rc == 0; depth++) {
		struct digest_list parents;

		if (depth == CLOSURE_DEPTH_MAX)
			break; /* the walk says so, with the path */
		digest_list_init(&parents, level->count);
		for (size_t i = 0; i < level->count; i++)
			add_digest(&parents, &level->items[i]);
		rc = fetch_list(fetch, level, transfer, missing, err);
		next.count = 0;
		for (size_t i = 0; i < parents.count && rc == 0; i++)
			add_children(
			    fetch, &parents.items[i], &seen, &memory, &next);
		if (rc == 0)
			rc = keep_absent(fetch, &next, err);
		digest_list_clear(&parents);
		parents = *level;
		*level = next;
		next = parents;
	}
	digest_list_clear(&next);
	map_clear(&seen);
	arena_clear(&memory);
	return rc;
}

static int
read_store(void *cookie, const struct digest *digest, struct buffer *content,
    struct error *err)
{
	return store_read(cookie, digest, content, err);
}

/* Until the store has every directory, or some are nowhere. Leaves the files
 * of what could be walked. */
static int
complete_directories(struct input_fetch *fetch, const struct digest *root,
    const struct cas_transfer *transfer, struct digest_list *files,
    struct digest_list *missing, struct error *err)
{
	struct closure_source source = {
	    read_store, fetch->store, root->function};
	struct digest_list directories;
	struct digest_list absent;
	struct closure closure = {
	    files, &directories, &absent, CLOSURE_ENTRIES_MAX};
	int rc = 0;

	digest_list_init(&directories, CLOSURE_DIGESTS_MAX);
	digest_list_init(&absent, CLOSURE_DIGESTS_MAX);
	/* Each round completes at least one more level. */
	for (unsigned round = 0; rc == 0; round++) {
		files->count = 0;
		directories.count = 0;
		absent.count = 0;
		rc = closure_of_directory(&source, root, &closure, err);
		if (rc < 0 || absent.count == 0)
			break;
		/* What is nowhere was asked for; the rest is walked. */
		if (missing->count > 0)
			break;
		if (round > CLOSURE_DEPTH_MAX)
			rc = error_set(err, ERROR_RESOURCE_EXHAUSTED,
			    "the local store drops inputs faster than they "
			    "can be fetched; give it more --max-size");
		else
			rc = fetch_directories(
			    fetch, &absent, transfer, missing, err);
	}
	digest_list_clear(&directories);
	digest_list_clear(&absent);
	return rc;
}

/* --- the whole ------------------------------------------------------------ */

static int
report_missing(const char *what, const struct digest *digest,
    struct digest_list *missing, struct error *err)
{
	char of[DIGEST_TEXT_MAX];
	char first[DIGEST_TEXT_MAX];

	if (missing->count == 0)
		return 0;
	digest_list_unique(missing);
	return error_set(err, ERROR_FAILED_PRECONDITION,
	    "%zu blobs of the %s %s are not in the storage, among them %s",
	    missing->count, what, digest_format(digest, of),
	    digest_format(&missing->items[0], first));
}

int
input_fetch_tree(struct input_fetch *fetch, const struct digest *root,
    const struct cas_transfer *transfer, struct digest_list *missing,
    struct error *err)
{
	struct digest_list files;
	char text[DIGEST_TEXT_MAX];
	int rc;

	missing->count = 0;
	digest_list_init(&files, CLOSURE_DIGESTS_MAX);
	rc = complete_directories(fetch, root, transfer, &files, missing, err);
	if (rc == 0)
		rc = fetch_list(fetch, &files, transfer, missing, err);
	digest_list_clear(&files);
	if (rc == 0)
		return report_missing("input root", root, missing, err);
	missing->count = 0;
	error_prefix(err, "input root %s", digest_format(root, text));
	return -1;
}

int
input_fetch_blobs(struct input_fetch *fetch, const struct digest_list *blobs,
    const struct cas_transfer *transfer, struct digest_list *missing,
    struct error *err)
{
	struct digest_list wanted;
	int rc;

	missing->count = 0;
	digest_list_init(&wanted, blobs->count);
	for (size_t i = 0; i < blobs->count; i++)
		add_digest(&wanted, &blobs->items[i]);
	digest_list_unique(&wanted);
	rc = fetch_list(fetch, &wanted, transfer, missing, err);
	digest_list_clear(&wanted);
	if (rc == 0 && blobs->count > 0)
		return report_missing("action", &blobs->items[0], missing, err);
	if (rc < 0)
		missing->count = 0;
	return rc;
}
