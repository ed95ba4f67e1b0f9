/* SPDX-License-Identifier: Apache-2.0 */
/* Starting threads that leave signals to the main thread. Any thread. */
#ifndef TOOLROOT_BASE_THREAD_H
#define TOOLROOT_BASE_THREAD_H

#include <pthread.h>

/* The new thread blocks all signals. Aborts when there can be none, as memory
 * that is gone does: nothing works without threads. */
void thread_start(
    pthread_t *thread, void *(*run)(void *argument), void *argument);

#endif
