/* SPDX-License-Identifier: Apache-2.0 */
/* Batches of changes become transactions. */
#include "frontend/history_store.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/records.h"
#include "executor/history.h"

#define PREFIX "history/"
/* A number, big-endian: in the order of numbers, hence side by side what came
 * together. */
#define KEY_SIZE 8
/* Changes of one transaction. */
#define SAVE_BATCH 512
/* More than the history holds was not written by us. */
#define LOAD_MAX 200000
/* Further than any server comes. */
#define NUMBER_MAX (UINT64_MAX >> 1)

static void
write_key(uint64_t number, uint8_t key[static KEY_SIZE])
{
	for (size_t i = KEY_SIZE; i > 0; i--) {
		key[i - 1] = (uint8_t)number;
		number >>= 8;
	}
}

/* 0: it is none of ours. */
static uint64_t
read_key(struct str key)
{
	uint64_t number = 0;

	if (key.len != KEY_SIZE)
		return 0;
	for (size_t i = 0; i < KEY_SIZE; i++)
		number = number << 8 | (uint8_t)key.data[i];
	return number <= NUMBER_MAX ? number : 0;
}

struct loading {
	struct history_record *records; /* with values that are owned */
	size_t count;
	size_t capacity;
	size_t strange;
};

static int
load_one(void *cookie, const struct record *record, struct error *err)
{
	struct loading *loading = cookie;
	uint64_t number = read_key(record->key);

	(void)err;
	if (number == 0 || loading->count == LOAD_MAX) {
		loading->strange++;
		return 0;
	}
	if (loading->count == loading->capacity) {
		loading->capacity =
		    loading->capacity > 0 ? 2 * loading->capacity : 1024;
		loading->records = xreallocarray(loading->records,
		    loading->capacity, sizeof(*loading->records));
	}
	loading->records[loading->count++] = (struct history_record){
	    number, {xstrndup(record->value.data, record->value.len),
			record->value.len}};
	return 0;
}

int
history_store_load(
    struct store *store, struct history *history, struct error *err)
{
	struct loading loading = {.count = 0};
	size_t restored = 0, total;
	int rc = records_each(store, PREFIX, load_one, &loading, err);

	total = loading.count + loading.strange;
	if (rc == 0)
		restored =
		    history_restore(history, loading.records, loading.count);
	if (rc == 0 && restored < total)
		log_warn("history_malformed", "records=%zu restored=%zu", total,
		    restored);
	for (size_t i = 0; i < loading.count; i++)
		free((char *)(uintptr_t)loading.records[i].value.data);
	free(loading.records);
	return rc;
}

/* One transaction. */
static int
save_some(struct store *store, const struct history_record *changes,
    size_t count, struct error *err)
{
	struct record *records = xcalloc(count, sizeof(*records));
	uint8_t(*keys)[KEY_SIZE] = xcalloc(count, sizeof(*keys));
	int rc;

	for (size_t i = 0; i < count; i++) {
		write_key(changes[i].number, keys[i]);
		records[i] =
		    (struct record){.key = {(const char *)keys[i], KEY_SIZE},
			.value = changes[i].value};
	}
	rc = records_write(store, PREFIX, records, count, err);
	free(records);
	free(keys);
	return rc;
}

int
history_store_save(
    struct store *store, struct history *history, struct error *err)
{
	struct history_record *changes = xcalloc(SAVE_BATCH, sizeof(*changes));
	size_t count;
	int rc = 0;

	do {
		count = history_take_changes(history, changes, SAVE_BATCH);
		if (count > 0)
			rc = save_some(store, changes, count, err);
		history_settle_changes(history, rc == 0);
		for (size_t i = 0; i < count; i++)
			free((char *)(uintptr_t)changes[i].value.data);
	} while (rc == 0 && count == SAVE_BATCH);
	free(changes);
	return rc;
}
