/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries of the index's table meta, by the byte in docs/store-format.md: their
 * keys begin with "name/", so that one range of it holds all names, and the
 * hash of the instance follows, so that the key fits LMDB whatever the instance
 * is called. Changes go through the committer.
 */
#include "cas/names.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/memory.h"
#include "cas/digest_list.h"
#include "cas/little_endian.h"
#include "cas/store_internal.h"
#include "cas/waiter.h"

#define PREFIX "name/"
#define PREFIX_LENGTH (sizeof(PREFIX) - 1)
#define INSTANCE_LENGTH NAMES_INSTANCE_LENGTH
#define KEY_MAX (PREFIX_LENGTH + INSTANCE_LENGTH + NAMES_NAME_MAX)
/* Function, size, hash, time. */
#define HEADER_SIZE (1 + 8 + DIGEST_HASH_MAX + 8)

int
names_check(struct str name, struct error *err)
{
	static const char others[] = "._-+";

	for (size_t i = 0; i < name.len; i++) {
		char c = name.data[i];
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			     (c >= '0' && c <= '9');

		if (!plain &&
		    (i == 0 || c == '\0' || strchr(others, c) == NULL))
			name.len = 0;
	}
	if (name.len == 0 || name.len > NAMES_NAME_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "a name has 1 to %u letters, digits, \".\", \"_\", \"-\" "
		    "or \"+\", and begins with a letter or digit",
		    NAMES_NAME_MAX);
	return 0;
}

/* --- keys and values ------------------------------------------------------ */

struct key_bytes {
	uint8_t bytes[KEY_MAX];
	size_t len;
};

static struct str
key_str(const struct key_bytes *key)
{
	return (struct str){(const char *)key->bytes, key->len};
}

static int
key_encode(
    const struct name_key *name, struct key_bytes *key, struct error *err)
{
	struct digest instance;

	if (name->name.len > 0 && names_check(name->name, err) < 0)
		return -1;
	digest_compute(
	    DIGEST_SHA256, name->instance.data, name->instance.len, &instance);
	memcpy(key->bytes, PREFIX, PREFIX_LENGTH);
	memcpy(key->bytes + PREFIX_LENGTH, instance.hash, INSTANCE_LENGTH);
	key->len = PREFIX_LENGTH + INSTANCE_LENGTH;
	if (name->name.len > 0)
		memcpy(key->bytes + key->len, name->name.data, name->name.len);
	key->len += name->name.len;
	return 0;
}

static void
value_encode(const struct name_entry *entry, uint8_t *value)
{
	value[0] = (uint8_t)entry->root.function;
	little_endian_put64(value + 1, entry->root.size);
	memcpy(value + 9, entry->root.hash, DIGEST_HASH_MAX);
	little_endian_put64(
	    value + 9 + DIGEST_HASH_MAX, (uint64_t)entry->created_ns);
	if (entry->details.len > 0)
		memcpy(value + HEADER_SIZE, entry->details.data,
		    entry->details.len);
}

static int
value_decode(struct str value, struct name_entry *entry, struct error *err)
{
	const uint8_t *in = (const uint8_t *)value.data;

	memset(entry, 0, sizeof(*entry));
	if (value.len >= HEADER_SIZE)
		entry->root.function = (enum digest_function)in[0];
	if (digest_hash_length(entry->root.function) == 0)
		return error_set(err, ERROR_DATA_LOSS,
		    "store index: the entry of a name is malformed");
	entry->root.size = little_endian_get64(in + 1);
	memcpy(entry->root.hash, in + 9, DIGEST_HASH_MAX);
	entry->created_ns =
	    (int64_t)little_endian_get64(in + 9 + DIGEST_HASH_MAX);
	entry->details =
	    (struct str){value.data + HEADER_SIZE, value.len - HEADER_SIZE};
	return 0;
}

bool
names_entry_is_sound(struct str key, struct str value)
{
	const size_t least = PREFIX_LENGTH + INSTANCE_LENGTH;
	struct name_entry entry;
	struct error ignored;

	return str_starts_with(key, STR(PREFIX)) && key.len > least &&
	       names_check((struct str){key.data + least, key.len - least},
		   &ignored) == 0 &&
	       value_decode(value, &entry, &ignored) == 0;
}

/* --- reading -------------------------------------------------------------- */

int
names_get(struct store *store, const struct name_key *key, struct arena *arena,
    struct name_entry *entry, struct error *err)
{
	struct key_bytes bytes;
	struct str value;
	MDB_txn *txn;
	int rc;

	if (key_encode(key, &bytes, err) < 0 ||
	    index_read_begin(store->index, &txn, err) < 0)
		return -1;
	rc = index_find_meta(store->index, txn, key_str(&bytes), &value, err);
	if (rc == 1 && value_decode(value, entry, err) < 0)
		rc = -1;
	if (rc == 1) {
		entry->details.data = arena_copy(arena, entry->details);
		if (entry->details.data == NULL)
			rc = error_set(err, ERROR_RESOURCE_EXHAUSTED,
			    "the details of a name do not fit the memory of "
			    "the request");
	}
	index_read_end(store->index, txn);
	return rc;
}

struct listing {
	struct str prefix; /* keys beyond it end the walk */
	names_visit_fn *visit;
	void *cookie;
	size_t left; /* entries that may still be shown */
	bool more;   /* there was one beyond them */
	bool ended;
};

static int
listing_visit(void *cookie, struct str key, struct str value, struct error *err)
{
	struct listing *listing = cookie;
	size_t fixed = PREFIX_LENGTH + INSTANCE_LENGTH;
	struct name_entry entry;

	if (listing->ended)
		return 0;
	if (!str_starts_with(key, listing->prefix) || key.len <= fixed) {
		listing->ended = true;
		return 0;
	}
	if (listing->left == 0) {
		listing->more = listing->ended = true;
		return 0;
	}
	listing->left--;
	if (value_decode(value, &entry, err) < 0)
		return -1;
	entry.instance = (const uint8_t *)key.data + PREFIX_LENGTH;
	return listing->visit(listing->cookie,
	    (struct str){key.data + fixed, key.len - fixed}, &entry, err);
}

/* From the first key past start. */
static int
walk_names(struct store *store, struct str start, struct listing *listing,
    struct error *err)
{
	struct index_position position = {.length = start.len};
	MDB_txn *txn;
	int rc;

	memcpy(position.key, start.data, start.len);
	if (index_read_begin(store->index, &txn, err) < 0)
		return -1;
	do {
		rc = index_walk(store->index, txn, INDEX_META, &position, 256,
		    listing_visit, listing, err);
	} while (rc == 1 && !listing->ended);
	index_read_end(store->index, txn);
	if (rc < 0)
		return -1;
	return listing->more ? 1 : 0;
}

int
names_list(struct store *store, const struct name_key *after, size_t count,
    names_visit_fn *visit, void *cookie, struct error *err)
{
	struct listing listing = {
	    .visit = visit, .cookie = cookie, .left = count};
	struct key_bytes start;

	if (key_encode(after, &start, err) < 0)
		return -1;
	listing.prefix = (struct str){
	    (const char *)start.bytes, PREFIX_LENGTH + INSTANCE_LENGTH};
	return walk_names(store, key_str(&start), &listing, err);
}

int
names_each(
    struct store *store, names_visit_fn *visit, void *cookie, struct error *err)
{
	struct listing listing = {.prefix = STR(PREFIX),
	    .visit = visit,
	    .cookie = cookie,
	    .left = SIZE_MAX};

	return walk_names(store, listing.prefix, &listing, err);
}

/* --- changing ------------------------------------------------------------- */

struct name_job {
	struct commit_job job; /* first */
	struct store *store;
	struct key_bytes key;
	struct str value;                /* data NULL: remove */
	const struct digest_list *blobs; /* of a put */
	const struct name_entry *seen;   /* of a drop: what is to go */
	struct digest *previous;
	int result;
	/* Failures of this job alone are told to the waiter. */
	bool failed;
	struct error own;
	struct error *error; /* the waiting thread's */
	struct waiter waiter;
};

static void
name_job_finish(struct commit_job *base, const struct error *err)
{
	struct name_job *job = (struct name_job *)base;

	if (err == NULL && job->failed)
		err = &job->own;
	if (err != NULL) {
		*job->error = *err;
		job->result = -1;
	}
	waiter_finish(&job->waiter);
}

/* 0 when all are there, 1 when the job has failed, -1. */
static int
check_blobs(struct name_job *job, struct commit_group *group, struct error *err)
{
	char text[DIGEST_TEXT_MAX];
	struct place place;

	for (size_t i = 0; i < job->blobs->count; i++) {
		const struct digest *digest = &job->blobs->items[i];
		int found;

		if (digest_is_empty(digest))
			continue;
		found = index_find(
		    group->store->index, group->write.txn, digest, &place, err);
		if (found < 0)
			return -1;
		/* A collection that saw the names before does not know of this
		 * one. */
		if (found == 1 && store_touch(group->store, digest, &place))
			continue;
		job->failed = true;
		error_set(&job->own, ERROR_FAILED_PRECONDITION,
		    "the tree needs the blob %s, which is not in the store",
		    digest_format(digest, text));
		return 1;
	}
	return 0;
}

static int
count_name(void *cookie, struct str key, struct str value, struct error *err)
{
	size_t *count = cookie;

	(void)value;
	(void)err;
	*count += str_starts_with(key, STR(PREFIX));
	return 0;
}

/* 0, 1 when the job has failed, -1. */
static int
check_count(struct name_job *job, struct commit_group *group, struct error *err)
{
	struct index_position position = {.length = PREFIX_LENGTH};
	size_t count = 0;

	memcpy(position.key, PREFIX, PREFIX_LENGTH);
	if (index_walk(group->store->index, group->write.txn, INDEX_META,
		&position, NAMES_MAX, count_name, &count, err) < 0)
		return -1;
	if (count < NAMES_MAX)
		return 0;
	job->failed = true;
	error_set(&job->own, ERROR_RESOURCE_EXHAUSTED,
	    "the store has %u names already; remove some", NAMES_MAX);
	return 1;
}

static int
put_apply(
    struct commit_job *base, struct commit_group *group, struct error *err)
{
	struct name_job *job = (struct name_job *)base;
	struct str key = key_str(&job->key);
	struct name_entry before;
	struct str value;
	int rc = check_blobs(job, group, err);

	if (rc != 0)
		return rc < 0 ? -1 : 0;
	rc = index_find_meta(
	    group->store->index, group->write.txn, key, &value, err);
	if (rc < 0)
		return -1;
	if (rc == 1 && value_decode(value, &before, err) < 0)
		return -1;
	if (rc == 1)
		*job->previous = before.root;
	job->result = rc;
	if (rc == 0) {
		rc = check_count(job, group, err);
		if (rc != 0)
			return rc < 0 ? -1 : 0;
	}
	return index_set_meta(&group->write, key, job->value, err) < 0 ? -1 : 0;
}

static int
drop_apply(
    struct commit_job *base, struct commit_group *group, struct error *err)
{
	struct name_job *job = (struct name_job *)base;
	struct name_entry there;
	struct str key = key_str(&job->key), value;
	int rc = index_find_meta(
	    group->store->index, group->write.txn, key, &value, err);

	if (rc == 1 && value_decode(value, &there, err) < 0)
		rc = -1;
	if (rc == 1 && (there.created_ns != job->seen->created_ns ||
			   !digest_equal(&there.root, &job->seen->root)))
		rc = 0;
	if (rc == 1)
		rc = index_set_meta(&group->write, key, job->value, err);
	job->result = rc;
	return rc < 0 ? -1 : 0;
}

static int
remove_apply(
    struct commit_job *base, struct commit_group *group, struct error *err)
{
	struct name_job *job = (struct name_job *)base;

	job->result =
	    index_set_meta(&group->write, key_str(&job->key), job->value, err);
	return job->result < 0 ? -1 : 0;
}

/* The result of the job, which lives on the caller's stack. */
static int
name_job_run(struct name_job *job, struct error *err)
{
	job->error = err;
	job->job.finish = name_job_finish;
	waiter_init(&job->waiter);
	committer_submit(job->store->committer, &job->job);
	waiter_wait(&job->waiter);
	return job->result;
}

int
names_put(struct store *store, const struct name_key *key,
    const struct name_entry *entry, const struct digest_list *blobs,
    struct digest *previous, struct error *err)
{
	struct name_job job = {
	    .store = store, .blobs = blobs, .previous = previous};
	size_t size = HEADER_SIZE + entry->details.len;
	uint8_t *value;
	int rc;

	if (store_check_writable(store, err) < 0 ||
	    names_check(key->name, err) < 0 ||
	    key_encode(key, &job.key, err) < 0)
		return -1;
	if (entry->details.len > NAMES_DETAILS_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the details of %.*s have %zu bytes; %u are the limit",
		    STR_ARG(key->name), entry->details.len, NAMES_DETAILS_MAX);
	if (store_reserve(store, 0, store_action_cost(size), err) < 0)
		return -1;
	value = xmalloc(size);
	value_encode(entry, value);
	job.value = (struct str){(char *)value, size};
	job.job.weight = size;
	job.job.apply = put_apply;
	/* So that all blobs acknowledged before are in the index. */
	job.job.ends_group = true;
	rc = name_job_run(&job, err);
	free(value);
	store_release(store, 0, store_action_cost(size));
	return rc;
}

/* What its tree kept may go. */
static int
name_job_let_go(struct name_job *job, struct error *err)
{
	int rc = name_job_run(job, err);

	if (rc >= 0)
		atomic_fetch_add(&job->store->let_go, 1);
	return rc;
}

int
names_drop(struct store *store, struct str name, const struct name_entry *seen,
    struct error *err)
{
	struct name_job job = {.store = store,
	    .job.apply = drop_apply,
	    .value = {NULL, 0},
	    .seen = seen};

	if (store_check_writable(store, err) < 0 || names_check(name, err) < 0)
		return -1;
	memcpy(job.key.bytes, PREFIX, PREFIX_LENGTH);
	memcpy(job.key.bytes + PREFIX_LENGTH, seen->instance, INSTANCE_LENGTH);
	memcpy(job.key.bytes + PREFIX_LENGTH + INSTANCE_LENGTH, name.data,
	    name.len);
	job.key.len = PREFIX_LENGTH + INSTANCE_LENGTH + name.len;
	return name_job_let_go(&job, err);
}

int
names_remove(struct store *store, const struct name_key *key, struct error *err)
{
	struct name_job job = {
	    .store = store, .job.apply = remove_apply, .value = {NULL, 0}};

	if (store_check_writable(store, err) < 0 ||
	    names_check(key->name, err) < 0 ||
	    key_encode(key, &job.key, err) < 0)
		return -1;
	return name_job_let_go(&job, err);
}
