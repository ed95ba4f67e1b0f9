/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs between log and index, looked for while others come. */
#include "cas/store_pending.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"

/* So many that adding them takes a while. */
#define COUNT 20000
#define ROUNDS 20

static struct digest
numbered(uint32_t number)
{
	struct digest digest = {.size = 1, .function = DIGEST_SHA256};

	memcpy(digest.hash, &number, sizeof(number));
	return digest;
}

struct adder {
	struct pending *pending;
	struct pending_list list;
	uint64_t before; /* the generation */
	pthread_t thread;
};

static void *
add(void *argument)
{
	struct adder *adder = argument;

	pending_add(adder->pending, &adder->list);
	return NULL;
}

static void
adder_start(struct adder *adder)
{
	adder->pending = pending_new();
	adder->before = pending_generation(adder->pending);
	STAILQ_INIT(&adder->list);
	for (uint32_t i = 0; i < COUNT; i++) {
		struct pending_blob *blob = xcalloc(1, sizeof(*blob));

		blob->digest = numbered(i);
		STAILQ_INSERT_TAIL(&adder->list, blob, link);
	}
	assert_int_equal(pthread_create(&adder->thread, NULL, add, adder), 0);
}

/* Who looks for it in vain finds another generation afterwards, and asks
 * again. */
static void
who_missed_something_finds_another_generation(void **state)
{
	(void)state;
	for (int round = 0; round < ROUNDS; round++) {
		const struct digest wanted = numbered(COUNT / 2);
		struct adder adder;
		struct place place;
		uint64_t looked_at;
		bool found;

		adder_start(&adder);
		/* As soon as it tells that something was added. */
		do {
			looked_at = pending_generation(adder.pending);
			found = pending_find(adder.pending, &wanted, &place);
		} while (looked_at == adder.before);
		assert_int_equal(pthread_join(adder.thread, NULL), 0);
		assert_true(
		    found || pending_generation(adder.pending) != looked_at);
		assert_int_equal(pending_count(adder.pending), COUNT);
		pending_free(adder.pending);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(who_missed_something_finds_another_generation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
