/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs that an instance writes, and what it has. One thread. */
#ifndef TOOLROOT_TESTS_UNIT_CAS_OWNER_FIXTURE_H
#define TOOLROOT_TESTS_UNIT_CAS_OWNER_FIXTURE_H

#include "store_fixture.h"

#include <sys/uio.h>

#include "cas/action_value.h"
#include "cas/index_job.h"
#include "cas/owners.h"
#include "cas/store_internal.h"
#include "cas/waiter.h"

struct owned_put {
	struct waiter waiter;
	struct error err;
};

static inline void
owned_put_done(void *cookie, const struct error *err)
{
	struct owned_put *put = cookie;

	if (err != NULL)
		put->err = *err;
	waiter_finish(&put->waiter);
}

/* The put's error; code ERROR_OK when it is stored. */
static inline struct error
try_put_by(struct store *store, uint16_t owner, uint64_t seed, size_t len)
{
	struct digest digest = digest_of(seed, len);
	struct owned_put put = {.err = {.code = ERROR_OK}};
	struct blob_writer *writer;
	char *data;

	writer =
	    blob_writer_new(store, &digest, ENCODING_IDENTITY, owner, &put.err);
	if (writer == NULL)
		return put.err;
	data = make_content(seed, len);
	if (blob_writer_append(writer, data, len, &put.err) < 0)
		fail_msg("append: %s", put.err.text);
	free(data);
	waiter_init(&put.waiter);
	blob_writer_commit(writer, owned_put_done, &put);
	waiter_wait(&put.waiter);
	return put.err;
}

struct owned_batch {
	struct store_batch batch; /* first */
	struct waiter waiter;
};

static inline void
owned_batch_done(struct store_batch *batch)
{
	waiter_finish(&((struct owned_batch *)batch)->waiter);
}

/* As put_content, for an owner. */
static inline enum error_code
put_content_by(struct store *store, uint16_t owner, const struct digest *digest,
    const void *data, size_t len, struct error *err)
{
	struct iovec part = {(void *)(uintptr_t)data, len};
	struct store_put put = {
	    .digest = *digest, .parts = &part, .part_count = 1};
	struct owned_batch owned = {.batch = {.puts = &put,
					.count = 1,
					.owner = owner,
					.done = owned_batch_done}};

	*err = (struct error){.code = ERROR_OK};
	waiter_init(&owned.waiter);
	store_put_batch(store, &owned.batch);
	waiter_wait(&owned.waiter);
	if (put.error != NULL)
		*err = *put.error;
	free(put.error);
	return err->code;
}

static inline struct digest
put_numbered_by(struct store *store, uint16_t owner, uint64_t seed, size_t len)
{
	struct error err = try_put_by(store, owner, seed, len);

	if (err.code != ERROR_OK)
		fail_msg("put: %s", err.text);
	return digest_of(seed, len);
}

static inline uint16_t
owner_named(struct store *store, const char *instance)
{
	struct error err;
	uint16_t owner;

	if (store_owner(store, str_from(instance), &owner, &err) < 0)
		fail_msg("owner: %s", err.text);
	return owner;
}

/* Zeroes when the instance has nothing. */
static inline struct owner_report
use_of(struct store *store, const char *instance)
{
	const struct owner_report *found;
	struct owner_report report = {.bytes = 0};
	struct owner_list list;
	struct error err;

	if (store_owners(store, &list, &err) < 0)
		fail_msg("owners: %s", err.text);
	found = owner_list_find(&list, str_from(instance));
	if (found != NULL)
		report = *found;
	report.instance = STR("");
	owner_list_clear(&list);
	return report;
}

struct owner_recount {
	struct owner_use *uses; /* by number */
};

static inline int
recount_blob(void *cookie, struct str key, struct str value, struct error *err)
{
	const struct owner_recount *recount = cookie;
	struct digest digest;
	struct place place;

	if (index_decode_blob(key, value, &digest, &place, err) < 0)
		return -1;
	recount->uses[place.owner].blobs++;
	recount->uses[place.owner].blob_bytes += store_place_cost(&place);
	return 0;
}

static inline int
recount_result(
    void *cookie, struct str key, struct str value, struct error *err)
{
	const struct owner_recount *recount = cookie;
	struct owner_use *use = &recount->uses[action_value_owner(value)];

	(void)err;
	use->results++;
	use->result_bytes += store_action_cost(key.len + value.len);
	return 0;
}

/* Whether what the store says of each owner is what stands in the index; no
 * write is under way. */
static inline bool
owners_add_up(struct store *store, struct error *err)
{
	static struct owner_use uses[UINT16_MAX + 1];
	struct owner_recount recount = {uses};
	struct index_position blobs = {.length = 0}, results = {.length = 0};
	struct owner_list list;
	bool same = true;
	MDB_txn *txn;

	memset(uses, 0, sizeof(uses));
	if (index_job_settle(store, err) < 0 ||
	    index_read_begin(store->index, &txn, err) < 0)
		return false;
	same = index_walk(store->index, txn, INDEX_BLOBS, &blobs, SIZE_MAX,
		   recount_blob, &recount, err) == 0 &&
	       index_walk(store->index, txn, INDEX_ACTIONS, &results, SIZE_MAX,
		   recount_result, &recount, err) == 0;
	index_read_end(store->index, txn);
	if (!same || store_owners(store, &list, err) < 0)
		return false;
	for (size_t i = 0; i < list.count; i++) {
		const struct owner_report *owner = &list.items[i];
		struct owner_use *use = &uses[owner->number];

		same = same && owner->blobs == use->blobs &&
		       owner->results == use->results &&
		       owner->bytes == use->blob_bytes + use->result_bytes;
		*use = (struct owner_use){.blobs = 0};
	}
	owner_list_clear(&list);
	for (size_t i = 1; i <= UINT16_MAX; i++)
		same = same && uses[i].blobs + uses[i].results == 0;
	error_set(err, ERROR_INTERNAL,
	    "what an owner has is not what the "
	    "index holds of it");
	return same;
}

static inline void
set_limits(
    struct store *store, const char *instance, uint64_t quota, uint64_t floor)
{
	const struct owner_limits limits = {str_from(instance), quota, floor};
	struct error err;

	if (store_set_owner_limits(store, &limits, 1, &err) < 0)
		fail_msg("limits: %s", err.text);
}

#endif
