/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The set of touches that wait for the indexer. Any thread adds, under
 * touches.lock; the indexer takes.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/memory.h"
#include "cas/store_internal.h"

/* Beyond it the floor is raised, which makes every blob young. */
#define TOUCHES_MAX 524288
/* The indexer is woken for so many. */
#define TOUCHES_MANY 32768

struct touch {
	size_t length;
	uint8_t key[];
};

struct touches {
	pthread_mutex_t lock; /* guards waiting, condemned and overflow */
	struct map waiting;   /* key -> struct touch, owned */
	struct map condemned; /* likewise: what a collection removes now */
	atomic_bool any;      /* a hint, so that idle checks take no lock */
	/* Many wait, and whether the indexer was told. */
	atomic_bool pressing;
	atomic_bool told;
	bool overflow;
};

uint32_t
store_epoch(void)
{
	uint64_t minutes = (uint64_t)clock_wall_ns() / 60000000000u;

	return (uint32_t)(minutes - minutes % 10);
}

struct touches *
touches_new(void)
{
	struct touches *touches = xcalloc(1, sizeof(*touches));

	pthread_mutex_init(&touches->lock, NULL);
	map_init(&touches->waiting);
	map_init(&touches->condemned);
	return touches;
}

static void
touches_free_map(struct map *map)
{
	size_t position = 0;
	struct touch *touch;

	while ((touch = map_next(map, &position)) != NULL)
		free(touch);
	map_clear(map);
}

void
touches_free(struct touches *touches)
{
	if (touches == NULL)
		return;
	touches_free_map(&touches->waiting);
	touches_free_map(&touches->condemned);
	pthread_mutex_destroy(&touches->lock);
	free(touches);
}

size_t
touches_waiting(struct touches *touches)
{
	size_t count;

	if (!atomic_load_explicit(&touches->any, memory_order_relaxed))
		return 0;
	pthread_mutex_lock(&touches->lock);
	count = touches->waiting.count + (touches->overflow ? 1 : 0);
	pthread_mutex_unlock(&touches->lock);
	return count;
}

void
touches_lost(struct touches *touches)
{
	pthread_mutex_lock(&touches->lock);
	touches->overflow = true;
	atomic_store(&touches->any, true);
	pthread_mutex_unlock(&touches->lock);
}

static struct touch *
touch_new(struct str name)
{
	struct touch *touch = xmalloc(sizeof(*touch) + name.len);

	touch->length = name.len;
	memcpy(touch->key, name.data, name.len);
	return touch;
}

static struct str
touch_key(const struct touch *touch)
{
	return (struct str){(const char *)touch->key, touch->length};
}

bool
touches_pressing(const struct touches *touches)
{
	return atomic_load_explicit(&touches->pressing, memory_order_relaxed);
}

/* A large request may bring more than can wait until the indexer looks by
 * itself. */
static void
store_press_touches(struct store *store)
{
	struct touches *touches = store->touches;

	if (touches_pressing(touches) && !atomic_exchange(&touches->told, true))
		indexer_wake(store->indexer);
}

/* False when it is condemned. */
static bool
touches_add(struct store *store, struct str name)
{
	struct touches *touches = store->touches;
	struct touch *touch;
	bool spared = true;

	pthread_mutex_lock(&touches->lock);
	if (map_get(&touches->condemned, name) != NULL) {
		spared = false;
	} else if (touches->waiting.count >= TOUCHES_MAX) {
		touches->overflow = true;
	} else if (map_get(&touches->waiting, name) == NULL) {
		touch = touch_new(name);
		map_put(&touches->waiting, touch_key(touch), touch);
	}
	atomic_store(&touches->any, true);
	if (touches->waiting.count >= TOUCHES_MANY)
		atomic_store(&touches->pressing, true);
	pthread_mutex_unlock(&touches->lock);
	store_press_touches(store);
	return spared;
}

bool
store_touch(
    struct store *store, const struct digest *digest, const struct place *place)
{
	uint8_t key[INDEX_KEY_MAX];

	if (store->touches == NULL || place->epoch >= store_epoch())
		return true;
	return touches_add(
	    store, (struct str){(char *)key, index_key(digest, key)});
}

bool
store_touch_action(
    struct store *store, const struct digest *name, uint32_t epoch)
{
	uint8_t key[INDEX_KEY_MAX];

	if (store->touches == NULL || epoch >= store_epoch())
		return true;
	/* No blob has the function 0. */
	key[0] = DIGEST_UNKNOWN;
	memcpy(key + 1, name->hash, 32);
	return touches_add(store, (struct str){(char *)key, 33});
}

/* --- collecting ----------------------------------------------------------- */

bool
touches_condemn(struct touches *touches, struct str key)
{
	struct touch *touch;
	bool condemned = false;

	pthread_mutex_lock(&touches->lock);
	if (!touches->overflow && map_get(&touches->waiting, key) == NULL) {
		touch = touch_new(key);
		free(map_put(&touches->condemned, touch_key(touch), touch));
		condemned = true;
	}
	pthread_mutex_unlock(&touches->lock);
	return condemned;
}

void
touches_acquit(struct touches *touches)
{
	struct map condemned;

	pthread_mutex_lock(&touches->lock);
	condemned = touches->condemned;
	map_init(&touches->condemned);
	pthread_mutex_unlock(&touches->lock);
	touches_free_map(&condemned);
}

bool
store_snapshot_stale(struct store *store, MDB_txn *txn)
{
	return mdb_txn_id(txn) < atomic_load(&store->collected);
}

/* Takes up to count of them out. */
static size_t
touches_take(
    struct touches *touches, struct touch **taken, size_t count, bool *overflow)
{
	size_t position = 0, used = 0;

	pthread_mutex_lock(&touches->lock);
	while (used < count) {
		struct touch *touch = map_next(&touches->waiting, &position);

		if (touch == NULL)
			break;
		taken[used++] = touch;
	}
	for (size_t i = 0; i < used; i++)
		map_remove(&touches->waiting,
		    (struct str){(char *)taken[i]->key, taken[i]->length});
	*overflow = touches->overflow;
	touches->overflow = false;
	atomic_store(&touches->any, touches->waiting.count > 0);
	atomic_store(
	    &touches->pressing, touches->waiting.count >= TOUCHES_MANY);
	atomic_store(&touches->told, false);
	pthread_mutex_unlock(&touches->lock);
	return used;
}

int
touches_apply(struct touches *touches, size_t count, struct index_write *write,
    struct error *err)
{
	struct touch **taken = xcalloc(count, sizeof(struct touch *));
	uint32_t epoch;
	bool overflow;
	int rc = 0;

	count = touches_take(touches, taken, count, &overflow);
	/* Not before: none of them may get an epoch older than itself. */
	epoch = store_epoch();
	if (overflow)
		write->state.touch_floor = epoch;
	for (size_t i = 0; i < count; i++) {
		struct str key = {(char *)taken[i]->key, taken[i]->length};

		if (rc == 0 && key.data[0] == DIGEST_UNKNOWN)
			rc = index_touch_action(write,
			    (struct str){key.data + 1, key.len - 1}, epoch,
			    err);
		else if (rc == 0)
			rc = index_touch(write, key, epoch, err);
		free(taken[i]);
	}
	free(taken);
	return rc;
}
