/* SPDX-License-Identifier: Apache-2.0 */
/* Bounded retries with pauses. No state but the caller's. */
#include "client/retry.h"

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "base/error.h"

#define PAUSE_FIRST_MS 100
#define PAUSE_LAST_MS 5000
/* A server's wish is honoured up to this; beyond it, failing is kinder. */
#define PAUSE_ASKED_MAX_MS 60000
/* How soon a cancellation is noticed. */
#define PAUSE_STEP_MS 100

void
retry_init(struct retry *retry, unsigned limit, const atomic_bool *cancelled)
{
	*retry = (struct retry){limit, limit, cancelled};
}

bool
retry_worth(const struct error *err)
{
	switch (err->code) {
	case ERROR_UNAVAILABLE:
	case ERROR_RESOURCE_EXHAUSTED:
	case ERROR_ABORTED:
		return true;
	default:
		return false;
	}
}

static int64_t
retry_pause_ms(const struct retry *retry, const struct error *err)
{
	unsigned tried = retry->limit - retry->left;
	int64_t pause = PAUSE_FIRST_MS;

	if (err->retry_delay_ms > 0)
		return err->retry_delay_ms +
		       arc4random_uniform(err->retry_delay_ms / 4 + 1);
	while (tried-- > 0 && pause < PAUSE_LAST_MS)
		pause *= 2;
	return pause / 2 + arc4random_uniform((uint32_t)(pause / 2 + 1));
}

bool
retry_again(struct retry *retry, const struct error *err)
{
	int64_t pause;

	if (retry->left == 0 || !retry_worth(err) ||
	    err->retry_delay_ms > PAUSE_ASKED_MAX_MS)
		return false;
	pause = retry_pause_ms(retry, err);
	retry->left--;
	while (pause > 0) {
		int64_t step = pause < PAUSE_STEP_MS ? pause : PAUSE_STEP_MS;
		struct timespec time = {.tv_nsec = step * 1000000};

		if (retry->cancelled != NULL && atomic_load(retry->cancelled))
			return false;
		nanosleep(&time, NULL);
		pause -= step;
	}
	return true;
}

void
retry_progress(struct retry *retry)
{
	retry->left = retry->limit;
}
