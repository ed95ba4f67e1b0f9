/* SPDX-License-Identifier: Apache-2.0 */
/* Many threads on one store: puts, uploads, finds, reads, drops, action
 * results. Meant for the thread sanitizer; the checks are those of content. */
#include "store_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"

#define THREADS 6
#define ROUNDS 60
#define NAMES 24

static size_t
size_of(uint64_t seed)
{
	return seed % 6 == 5 ? 70000 : 200 + seed * 31;
}

struct worker {
	struct store *store;
	uint64_t number;
	atomic_int failures;
};

static void
worker_check(struct worker *worker, bool good)
{
	if (!good)
		atomic_fetch_add(&worker->failures, 1);
}

static void
worker_read(struct worker *worker, uint64_t seed)
{
	struct digest digest = digest_of(seed, size_of(seed));
	char *data = make_content(seed, size_of(seed));
	struct buffer content;
	struct error err;
	int rc;

	buffer_init(&content, size_of(seed));
	rc = store_read(worker->store, &digest, &content, &err);
	worker_check(worker, rc >= 0);
	if (rc == 1)
		worker_check(
		    worker, content.len == size_of(seed) &&
				memcmp(content.data, data, content.len) == 0);
	buffer_clear(&content);
	free(data);
}

static void
uploaded(void *cookie, const struct error *err)
{
	struct worker *worker = cookie;

	worker_check(worker, err == NULL);
}

static void
worker_upload(struct worker *worker, uint64_t seed)
{
	struct digest digest = digest_of(seed, size_of(seed));
	char *data = make_content(seed, size_of(seed));
	struct blob_writer *writer;
	struct error err;

	writer =
	    blob_writer_new(worker->store, &digest, ENCODING_IDENTITY, 0, &err);
	worker_check(worker, writer != NULL && blob_writer_append(writer, data,
						   size_of(seed), &err) == 0);
	if (writer != NULL)
		blob_writer_commit(writer, uploaded, worker);
	free(data);
}

static void
worker_act(struct worker *worker, uint64_t round)
{
	uint64_t seed = (worker->number * 7 + round * 5) % NAMES;
	struct digest digest = digest_of(seed, size_of(seed));
	struct action_key key = {STR("i"), digest};
	struct arena arena;
	struct error err;
	struct str result;
	bool missing;

	switch ((worker->number + round) % 6) {
	case 0:
		put_numbered(worker->store, seed, size_of(seed));
		break;
	case 1:
		worker_upload(worker, seed);
		break;
	case 2:
		worker_check(worker, store_find_missing(worker->store, &digest,
					 1, &missing, &err) == 0);
		break;
	case 3:
		worker_read(worker, seed);
		break;
	case 4:
		arena_init(&arena, 1 << 16);
		worker_check(worker, store_put_action(worker->store, &key,
					 STR(""), NULL, &err) == 0);
		worker_check(worker, store_get_action(worker->store, &key,
					 &arena, &result, &err) >= 0);
		arena_clear(&arena);
		break;
	default:
		if (round % 4 == 0)
			worker_check(worker,
			    store_drop_blob(worker->store, &digest, &err) == 0);
	}
}

static void *
worker_run(void *cookie)
{
	struct worker *worker = cookie;

	for (uint64_t round = 0; round < ROUNDS; round++)
		worker_act(worker, round);
	return NULL;
}

static void
threads_share_a_store(void **state)
{
	struct fixture *fixture = *state;
	struct worker workers[THREADS];
	pthread_t threads[THREADS];

	for (size_t i = 0; i < THREADS; i++) {
		workers[i].store = fixture->store;
		workers[i].number = i;
		atomic_init(&workers[i].failures, 0);
		assert_int_equal(
		    pthread_create(&threads[i], NULL, worker_run, &workers[i]),
		    0);
	}
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	fixture_reopen(fixture);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(atomic_load(&workers[i].failures), 0);
	for (uint64_t seed = 0; seed < NAMES; seed++) {
		put_numbered(fixture->store, seed, size_of(seed));
		assert_content(fixture->store, seed, size_of(seed));
	}
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {TEST(threads_share_a_store)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
