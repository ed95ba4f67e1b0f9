/* SPDX-License-Identifier: Apache-2.0 */
/*
 * age_store DIR HOURS: makes everything in a store that nobody has open so much
 * older, as if nobody had used it meanwhile. For system tests, which cannot
 * wait.
 */
#include <stdio.h>
#include <stdlib.h>

#include <toolroot/explain/v1/explain.pb-c.h>

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "cas/index_job.h"
#include "cas/little_endian.h"
#include "cas/records.h"
#include "cas/store_internal.h"

struct aged {
	struct digest digest;
	struct place place;
};

struct aging {
	uint32_t minutes;
	struct aged *blobs;
	size_t count;
	size_t capacity;
	struct index_write *write;
};

static int
take_blob(void *cookie, struct str key, struct str value, struct error *err)
{
	struct aging *aging = cookie;
	struct aged *blob;

	if (aging->count == aging->capacity) {
		aging->capacity = 2 * aging->capacity + 64;
		aging->blobs = xreallocarray(
		    aging->blobs, aging->capacity, sizeof(*aging->blobs));
	}
	blob = &aging->blobs[aging->count++];
	return index_decode_blob(key, value, &blob->digest, &blob->place, err);
}

static int
age_blob(struct aging *aging, struct aged *blob, struct error *err)
{
	struct segment_usage usage = {.number = blob->place.segment,
	    .used = RECORD_HEADER_SIZE + blob->place.stored_size};
	struct place place = blob->place, ignored;

	if (index_remove(aging->write, &blob->digest, &ignored, err) < 0)
		return -1;
	place.epoch -= aging->minutes;
	if (index_add(aging->write, &blob->digest, &place, &ignored, err) < 0)
		return -1;
	if (place.kind == PLACE_FILE)
		return 0;
	return index_add_segment(aging->write, &usage, err);
}

static int
age_apply(void *cookie, struct store *store, struct index_write *write,
    struct error *err)
{
	struct aging *aging = cookie;
	struct index_position position = {.length = 0};
	int rc;

	aging->write = write;
	aging->count = 0;
	do {
		rc = index_walk(store->index, write->txn, INDEX_BLOBS,
		    &position, 1000, take_blob, aging, err);
	} while (rc == 1);
	for (size_t i = 0; rc == 0 && i < aging->count; i++)
		rc = age_blob(aging, &aging->blobs[i], err);
	return rc;
}

#define HISTORY "history/"
#define HISTORY_MAX 1000

struct history_aging {
	int64_t ns;
	struct record records[HISTORY_MAX];
	size_t count;
};

/* A RememberedAction that was used earlier. */
static int
age_remembered(void *cookie, const struct record *record, struct error *err)
{
	struct history_aging *aging = cookie;
	Explainapi__RememberedAction *message;
	struct record *aged = &aging->records[aging->count];
	char *key, *value;

	message = explainapi__remembered_action__unpack(
	    NULL, record->value.len, (const uint8_t *)record->value.data);
	if (message == NULL || aging->count == HISTORY_MAX)
		return error_set(err, ERROR_INTERNAL, "the history is odd");
	message->used_ns -= aging->ns;
	key = xstrndup(record->key.data, record->key.len);
	value =
	    xmalloc(explainapi__remembered_action__get_packed_size(message));
	aged->key = (struct str){key, record->key.len};
	aged->value.len =
	    explainapi__remembered_action__pack(message, (uint8_t *)value);
	aged->value.data = value;
	aging->count++;
	explainapi__remembered_action__free_unpacked(message, NULL);
	return 0;
}

static int
age_history(struct store *store, uint32_t minutes, struct error *err)
{
	struct history_aging *aging = xcalloc(1, sizeof(*aging));
	int rc;

	aging->ns = (int64_t)minutes * 60 * 1000000000;
	rc = records_each(store, HISTORY, age_remembered, aging, err);
	if (rc == 0)
		rc = records_write(
		    store, HISTORY, aging->records, aging->count, err);
	for (size_t i = 0; i < aging->count; i++) {
		free((char *)(uintptr_t)aging->records[i].key.data);
		free((char *)(uintptr_t)aging->records[i].value.data);
	}
	free(aging);
	return rc;
}

int
main(int argc, char **argv)
{
	struct aging aging = {.count = 0};
	const struct index_job job = {.apply = age_apply, .cookie = &aging};
	struct store_options options = {0};
	struct store *store;
	struct error err;
	int rc = -1;

	if (argc != 3) {
		fprintf(stderr, "usage: age_store DIR HOURS\n");
		return 2;
	}
	log_set_level(LOG_WARN);
	options.path = argv[1];
	aging.minutes = (uint32_t)(60 * strtoul(argv[2], NULL, 10));
	store = store_open(&options, &err);
	if (store != NULL)
		rc = index_job_run(store, &job, &err);
	if (rc == 0)
		rc = age_history(store, aging.minutes, &err);
	store_close(store);
	if (rc < 0)
		fprintf(stderr, "age_store: %s\n", err.text);
	free(aging.blobs);
	return rc < 0 ? 1 : 0;
}
