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
/* Changes of one transaction. */
#define SAVE_BATCH 512
/* More than the history holds was not written by us. */
#define LOAD_MAX 200000

struct loading {
	struct str *values; /* owned */
	size_t count;
	size_t capacity;
};

static int
load_one(void *cookie, const struct record *record, struct error *err)
{
	struct loading *loading = cookie;

	(void)err;
	if (loading->count == LOAD_MAX)
		return 0;
	if (loading->count == loading->capacity) {
		loading->capacity =
		    loading->capacity > 0 ? 2 * loading->capacity : 1024;
		loading->values = xreallocarray(loading->values,
		    loading->capacity, sizeof(*loading->values));
	}
	loading->values[loading->count++] = (struct str){
	    xstrndup(record->value.data, record->value.len), record->value.len};
	return 0;
}

int
history_store_load(
    struct store *store, struct history *history, struct error *err)
{
	struct loading loading = {.count = 0};
	size_t restored = 0;
	int rc = records_each(store, PREFIX, load_one, &loading, err);

	if (rc == 0)
		restored =
		    history_restore(history, loading.values, loading.count);
	if (restored < loading.count)
		log_warn("history_malformed", "records=%zu restored=%zu",
		    loading.count, restored);
	for (size_t i = 0; i < loading.count; i++)
		free((char *)(uintptr_t)loading.values[i].data);
	free(loading.values);
	return rc;
}

int
history_store_save(
    struct store *store, struct history *history, struct error *err)
{
	struct history_change *changes = xcalloc(SAVE_BATCH, sizeof(*changes));
	struct record *records = xcalloc(SAVE_BATCH, sizeof(*records));
	size_t count;
	int rc = 0;

	do {
		count = history_take_changes(history, changes, SAVE_BATCH);
		for (size_t i = 0; i < count; i++)
			records[i] = (struct record){
			    .key = {(const char *)changes[i].key,
				HISTORY_KEY_SIZE},
			    .value = changes[i].value};
		if (count > 0)
			rc = records_write(store, PREFIX, records, count, err);
		history_settle_changes(history, rc == 0);
		for (size_t i = 0; i < count; i++)
			free((char *)(uintptr_t)changes[i].value.data);
	} while (rc == 0 && count == SAVE_BATCH);
	free(changes);
	free(records);
	return rc;
}
