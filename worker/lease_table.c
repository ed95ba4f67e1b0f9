/* SPDX-License-Identifier: Apache-2.0 */
/* Slots and their threads. */
#include "worker/lease_table.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/directory.h"

struct slot {
	struct lease_table *table;
	pthread_t thread;
	/* Under the table's lock. */
	struct held_lease *lease; /* NULL: free */
	struct held_lease *next;  /* comes after one that is answered */
};

struct lease_table {
	struct lease_table_options options;
	struct slot *slots;
	/* Guards which slot has which lease, and all below. A lease in a slot
	 * is freed by the slot's thread alone, after it was taken out. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t busy;   /* leases in slots */
	size_t active; /* and those that still tell of the last one's end */
	bool ending;
};

struct held_lease *
held_lease_new(const struct arena *arena, const Workerapi__Lease *message,
    const struct lease_readers *readers)
{
	struct held_lease *lease = xcalloc(1, sizeof(*lease));

	lease->arena = *arena;
	lease->message = message;
	lease->received_wall_ns = clock_wall_ns();
	lease->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	atomic_init(&lease->stage, WORKERAPI__LEASE_STATE__STAGE__FETCHING);
	atomic_init(&lease->answered, false);
	atomic_init(&lease->cancelled, false);
	live_output_init(&lease->output, readers->answer, readers->cookie);
	return lease;
}

void
held_lease_free(struct held_lease *lease)
{
	file_close(&lease->cancel_fd);
	live_output_clear(&lease->output);
	arena_clear(&lease->arena);
	free(lease);
}

struct str
held_lease_id(const struct held_lease *lease)
{
	return directory_str(lease->message->lease_id);
}

static void
cancel(struct held_lease *lease)
{
	const uint64_t one = 1;

	atomic_store(&lease->cancelled, true);
	/* A counter that is set already serves as well. */
	(void)!write(lease->cancel_fd, &one, sizeof(one));
}

static void
run_lease(struct slot *slot, struct held_lease *lease)
{
	struct lease_table *table = slot->table;

	table->options.run(table->options.cookie, lease);
	pthread_mutex_lock(&table->lock);
	slot->lease = slot->next;
	slot->next = NULL;
	table->busy--;
	pthread_mutex_unlock(&table->lock);
	held_lease_free(lease);
	table->options.idle(table->options.cookie);
	pthread_mutex_lock(&table->lock);
	table->active--;
	pthread_cond_broadcast(&table->changed);
	pthread_mutex_unlock(&table->lock);
}

static void *
slot_main(void *cookie)
{
	struct slot *slot = cookie;
	struct lease_table *table = slot->table;
	struct held_lease *lease;

	for (;;) {
		pthread_mutex_lock(&table->lock);
		while (slot->lease == NULL && !table->ending)
			pthread_cond_wait(&table->changed, &table->lock);
		lease = slot->lease;
		pthread_mutex_unlock(&table->lock);
		if (lease == NULL)
			return NULL;
		run_lease(slot, lease);
	}
}

struct lease_table *
lease_table_new(const struct lease_table_options *options)
{
	struct lease_table *table = xcalloc(1, sizeof(*table));

	table->options = *options;
	table->slots = xcalloc(options->slots, sizeof(*table->slots));
	pthread_mutex_init(&table->lock, NULL);
	pthread_cond_init(&table->changed, NULL);
	for (size_t i = 0; i < options->slots; i++) {
		table->slots[i].table = table;
		/* Without threads there is no worker: as with memory. */
		if (pthread_create(&table->slots[i].thread, NULL, slot_main,
			&table->slots[i]) != 0)
			abort();
	}
	return table;
}

void
lease_table_free(struct lease_table *table)
{
	if (table == NULL)
		return;
	pthread_mutex_lock(&table->lock);
	table->ending = true;
	pthread_cond_broadcast(&table->changed);
	pthread_mutex_unlock(&table->lock);
	for (size_t i = 0; i < table->options.slots; i++)
		pthread_join(table->slots[i].thread, NULL);
	pthread_cond_destroy(&table->changed);
	pthread_mutex_destroy(&table->lock);
	free(table->slots);
	free(table);
}

/* Where the lease can go: a free slot, or behind an answer; NULL: nowhere.
 * Under the lock. */
static struct held_lease **
find_place(struct lease_table *table, size_t *slot)
{
	struct held_lease **behind = NULL;

	for (size_t i = 0; i < table->options.slots; i++) {
		struct slot *candidate = &table->slots[i];

		if (candidate->lease == NULL) {
			*slot = i;
			return &candidate->lease;
		}
		if (behind == NULL && candidate->next == NULL &&
		    atomic_load(&candidate->lease->answered)) {
			*slot = i;
			behind = &candidate->next;
		}
	}
	return behind;
}

bool
lease_table_offer(struct lease_table *table, struct held_lease *lease)
{
	struct held_lease **place;

	pthread_mutex_lock(&table->lock);
	place = find_place(table, &lease->slot);
	if (place != NULL) {
		*place = lease;
		table->busy++;
		table->active++;
		pthread_cond_broadcast(&table->changed);
	}
	pthread_mutex_unlock(&table->lock);
	return place != NULL;
}

/* The nth of all leases, two places a slot; NULL where none is. Under the
 * lock. */
static struct held_lease *
lease_at(const struct lease_table *table, size_t n)
{
	const struct slot *slot = &table->slots[n / 2];

	return n % 2 == 0 ? slot->lease : slot->next;
}

bool
lease_table_cancel(struct lease_table *table, struct str id)
{
	bool found = false;

	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < 2 * table->options.slots; i++) {
		struct held_lease *lease = lease_at(table, i);

		if (lease == NULL || !str_equal(held_lease_id(lease), id))
			continue;
		cancel(lease);
		found = true;
	}
	pthread_mutex_unlock(&table->lock);
	return found;
}

void
lease_table_cancel_all(struct lease_table *table)
{
	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < 2 * table->options.slots; i++) {
		struct held_lease *lease = lease_at(table, i);

		if (lease != NULL)
			cancel(lease);
	}
	pthread_mutex_unlock(&table->lock);
}

/* The table's lock keeps the lease; the output's is taken inside it. */
bool
lease_table_read_output(struct lease_table *table, struct str id,
    const struct output_read *read, struct str *data)
{
	bool known = true;

	*data = (struct str){NULL, 0};
	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < 2 * table->options.slots; i++) {
		struct held_lease *lease = lease_at(table, i);

		if (lease == NULL || !str_equal(held_lease_id(lease), id))
			continue;
		known = live_output_read(&lease->output, read, data);
		break;
	}
	pthread_mutex_unlock(&table->lock);
	return known;
}

void
lease_table_withdraw_read(struct lease_table *table, uint64_t read_id)
{
	bool found = false;

	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < 2 * table->options.slots && !found; i++) {
		struct held_lease *lease = lease_at(table, i);

		found = lease != NULL &&
			live_output_withdraw(&lease->output, read_id);
	}
	pthread_mutex_unlock(&table->lock);
}

size_t
lease_table_count(struct lease_table *table)
{
	size_t count;

	pthread_mutex_lock(&table->lock);
	count = table->busy;
	pthread_mutex_unlock(&table->lock);
	return count;
}

void
lease_table_wait_idle(struct lease_table *table)
{
	pthread_mutex_lock(&table->lock);
	while (table->active > 0)
		pthread_cond_wait(&table->changed, &table->lock);
	pthread_mutex_unlock(&table->lock);
}

static Workerapi__LeaseState *
state_of(const struct held_lease *lease, struct arena *arena)
{
	Workerapi__LeaseState *state = arena_alloc(arena, sizeof(*state));
	struct str id = held_lease_id(lease);
	char *copy = arena_copy(arena, id);

	if (state == NULL || copy == NULL)
		return NULL;
	workerapi__lease_state__init(state);
	state->lease_id =
	    (ProtobufCBinaryData){.len = id.len, .data = (uint8_t *)copy};
	state->stage = (Workerapi__LeaseState__Stage)atomic_load(&lease->stage);
	return state;
}

Workerapi__LeaseState **
lease_table_states(
    struct lease_table *table, struct arena *arena, size_t *count)
{
	Workerapi__LeaseState **states =
	    arena_zalloc(arena, 2 * table->options.slots, sizeof(*states));

	*count = 0;
	if (states == NULL)
		return NULL;
	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < 2 * table->options.slots && states != NULL;
	     i++) {
		const struct held_lease *lease = lease_at(table, i);

		if (lease == NULL)
			continue;
		states[*count] = state_of(lease, arena);
		if (states[(*count)++] == NULL)
			states = NULL;
	}
	pthread_mutex_unlock(&table->lock);
	return states;
}
