/* SPDX-License-Identifier: Apache-2.0 */
/* Look-ups, reads and writes of many threads while everything ages and is
 * collected: what one of them was promised is there. */
#include "collector_fixture.h"

#include <pthread.h>

#include "base/clock.h"

#define THREADS 4
#define BLOBS 200
#define MIN_AGE (30 * MINUTE_MS)
#define ROUNDS 4000

struct race {
	struct store *store;
	struct digest digests[BLOBS];
	char *contents[BLOBS];
	/* As given by a call that has returned, from the time it began. */
	atomic_int_least64_t until[BLOBS];
	atomic_bool ended;
	atomic_uint violations;
	atomic_uint missing;
	atomic_uint present;
};

static uint64_t
race_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*state = x;
	return x >> 11;
}

static int64_t
now_ms(void)
{
	return clock_wall_ns() / 1000000;
}

static size_t
race_length(size_t blob)
{
	return blob % 10 == 0 ? 70 << 10 : 2000 + blob;
}

/* Another thread may have promised longer already. */
static void
race_promise(struct race *race, size_t blob, int64_t begun)
{
	int_least64_t now = atomic_load(&race->until[blob]);

	while (now < begun + MIN_AGE &&
	       !atomic_compare_exchange_weak(
		   &race->until[blob], &now, begun + MIN_AGE))
		;
}

static bool
race_look(struct race *race, size_t blob, bool read)
{
	int64_t due = atomic_load(&race->until[blob]);
	int64_t begun = now_ms();
	struct buffer content;
	struct error err;
	bool missing;
	int rc;

	buffer_init(&content, race_length(blob));
	if (read) {
		rc = store_read(
		    race->store, &race->digests[blob], &content, &err);
		missing = rc == 0;
		if (rc == 1 && memcmp(content.data, race->contents[blob],
				   content.len) != 0)
			rc = -1;
	} else {
		rc = store_find_missing(
		    race->store, &race->digests[blob], 1, &missing, &err);
	}
	buffer_clear(&content);
	if (rc < 0 || (missing && now_ms() < due))
		atomic_fetch_add(&race->violations, 1);
	if (!missing)
		race_promise(race, blob, begun);
	atomic_fetch_add(missing ? &race->missing : &race->present, 1);
	return !missing;
}

static void *
race_thread(void *cookie)
{
	struct race *race = cookie;
	uint64_t dice = (uint64_t)(uintptr_t)&dice | 1;

	for (int i = 0; i < ROUNDS; i++) {
		size_t blob = (size_t)(race_random(&dice) % BLOBS);
		int64_t begun;
		struct error err;

		if (race_look(race, blob, i % 2 == 0) || i % 3 != 0)
			continue;
		begun = now_ms();
		if (put_content(race->store, &race->digests[blob],
			race->contents[blob], race_length(blob),
			&err) == ERROR_OK)
			race_promise(race, blob, begun);
		else
			atomic_fetch_add(&race->violations, 1);
	}
	return NULL;
}

static void *
race_clock(void *cookie)
{
	struct race *race = cookie;

	while (!atomic_load(&race->ended)) {
		atomic_fetch_add(&clock_offset_ms, MINUTE_MS);
		usleep(300);
	}
	return NULL;
}

static void *
race_collect(void *cookie)
{
	struct race *race = cookie;
	const struct collector_options options = {
	    .store = race->store, .min_age_ms = MIN_AGE};
	const struct collection_wish wish = {.run = true, .sized = true};
	struct collector *collector;
	struct collection_report report;
	struct error err;

	collector = collector_new(&options, &err);
	while (!atomic_load(&race->ended)) {
		if (collector_collect(collector, &wish, &report, &err) < 0)
			atomic_fetch_add(&race->violations, 1);
	}
	collector_free(collector);
	return NULL;
}

static void
look_ups_and_collections_agree(void **state)
{
	struct fixture *fixture = *state;
	struct race *race = xcalloc(1, sizeof(*race));
	pthread_t threads[THREADS], clock, collector;

	race->store = fixture->store;
	for (size_t i = 0; i < BLOBS; i++) {
		race->contents[i] = make_content(i, race_length(i));
		digest_compute(DIGEST_SHA256, race->contents[i], race_length(i),
		    &race->digests[i]);
	}
	pthread_create(&clock, NULL, race_clock, race);
	pthread_create(&collector, NULL, race_collect, race);
	for (size_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, race_thread, race);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&race->ended, true);
	pthread_join(clock, NULL);
	pthread_join(collector, NULL);
	printf("# %u found, %u missing\n", atomic_load(&race->present),
	    atomic_load(&race->missing));
	assert_int_equal(atomic_load(&race->violations), 0);
	assert_true(atomic_load(&race->missing) > 0);
	assert_true(atomic_load(&race->present) > 0);
	for (size_t i = 0; i < BLOBS; i++)
		free(race->contents[i]);
	free(race);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(look_ups_and_collections_agree,
		fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
