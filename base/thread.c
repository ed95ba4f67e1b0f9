/* SPDX-License-Identifier: Apache-2.0 */
/* No state. */
#include "base/thread.h"

#include <signal.h>
#include <stdlib.h>

#include "base/log.h"

void
thread_start(pthread_t *thread, void *(*run)(void *argument), void *argument)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(thread, NULL, run, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc != 0) {
		log_error("thread_create_failed", "errno=%d", rc);
		abort();
	}
}
