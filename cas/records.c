/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of the table meta. */
#include "cas/records.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "cas/index_job.h"
#include "cas/store_internal.h"

#define RECORD "record/"
/* Records that one transaction reads. */
#define WALK_BATCH 256

struct records_write {
	const char *prefix;
	const struct record *records;
	size_t count;
};

static int
records_apply(void *cookie, struct store *store, struct index_write *write,
    struct error *err)
{
	const struct records_write *job = cookie;
	char key[sizeof(RECORD) + RECORD_KEY_MAX];
	size_t prefix =
	    (size_t)snprintf(key, sizeof(key), "%s%s", RECORD, job->prefix);

	(void)store;
	for (size_t i = 0; i < job->count; i++) {
		const struct record *record = &job->records[i];

		memcpy(key + prefix, record->key.data, record->key.len);
		if (index_set_meta(write,
			(struct str){key, prefix + record->key.len},
			record->value, err) < 0)
			return -1;
	}
	return 0;
}

int
records_write(struct store *store, const char *prefix,
    const struct record *records, size_t count, struct error *err)
{
	struct records_write write = {prefix, records, count};
	const struct index_job job = {.apply = records_apply, .cookie = &write};

	for (size_t i = 0; i < count; i++) {
		if (records[i].key.len > RECORD_KEY_MAX - strlen(prefix))
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "the key of a record has %zu bytes; at most %d fit",
			    records[i].key.len, RECORD_KEY_MAX);
	}
	return index_job_run(store, &job, err);
}

bool
records_entry_is_one(struct str key)
{
	return str_starts_with(key, STR(RECORD));
}

struct records_walk {
	struct str prefix;
	record_visit_fn *visit;
	void *cookie;
	bool past; /* the keys with our prefix are behind us */
};

static int
records_visit(void *cookie, struct str key, struct str value, struct error *err)
{
	struct records_walk *walk = cookie;
	struct record record = {.value = value};

	if (walk->past || !str_starts_with(key, walk->prefix)) {
		walk->past = true;
		return 0;
	}
	record.key = (struct str){
	    key.data + walk->prefix.len, key.len - walk->prefix.len};
	return walk->visit(walk->cookie, &record, err);
}

int
records_each(struct store *store, const char *prefix, record_visit_fn *visit,
    void *cookie, struct error *err)
{
	char whole[sizeof(RECORD) + RECORD_KEY_MAX];
	struct records_walk walk = {.visit = visit, .cookie = cookie};
	struct index_position position;
	int rc = 1;

	snprintf(whole, sizeof(whole), "%s%s", RECORD, prefix);
	walk.prefix = str_from(whole);
	position.length = walk.prefix.len;
	memcpy(position.key, whole, walk.prefix.len);
	while (rc == 1 && !walk.past) {
		MDB_txn *txn;

		if (index_read_begin(store->index, &txn, err) < 0)
			return -1;
		rc = index_walk(store->index, txn, INDEX_META, &position,
		    WALK_BATCH, records_visit, &walk, err);
		index_read_end(store->index, txn);
	}
	return rc < 0 ? -1 : 0;
}
