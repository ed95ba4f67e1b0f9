/* SPDX-License-Identifier: Apache-2.0 */
/* A batch of small blobs that is waited for, as a client does. */
#ifndef TOOLROOT_TESTS_BENCH_PUT_AND_WAIT_H
#define TOOLROOT_TESTS_BENCH_PUT_AND_WAIT_H

#include <semaphore.h>

#include "cas/store.h"

struct put_and_wait {
	struct store_batch batch;
	sem_t done;
};

static void
put_and_wait_done(struct store_batch *batch)
{
	sem_post(&((struct put_and_wait *)batch)->done);
}

/* Returns when the blobs are durable; puts have the errors of those that are
 * not. */
static void
put_and_wait(struct store *store, struct store_put *puts, size_t count)
{
	struct put_and_wait wait = {.batch = {
					.puts = puts,
					.count = count,
					.done = put_and_wait_done,
				    }};

	sem_init(&wait.done, 0, 0);
	store_put_batch(store, &wait.batch);
	/* A signal may end it early. */
	while (sem_wait(&wait.done) == -1)
		continue;
	sem_destroy(&wait.done);
}

#endif
