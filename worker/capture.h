/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream of an action, standard output or error: a pipe whose reading end is
 * drained into a buffer with a bound. What exceeds it is read and dropped, so
 * that the action goes on, and a line at the end says so. One thread; others
 * may look at the content under the guard.
 */
#ifndef TOOLROOT_WORKER_CAPTURE_H
#define TOOLROOT_WORKER_CAPTURE_H

#include <pthread.h>
#include <stdbool.h>

#include "base/buffer.h"

struct error;

struct capture {
	int read_fd;  /* does not block; -1 once it ended */
	int write_fd; /* for the action; -1 once handed over */
	size_t limit;
	uint64_t dropped;
	struct buffer content;
	pthread_mutex_t *guard; /* content changes under it; or NULL */
};

/* guard may be NULL, else it outlives the capture. */
int capture_open(struct capture *capture, size_t limit, pthread_mutex_t *guard,
    struct error *err);
/* Takes what is there, about as much as a pipe holds at most; at the end of the
 * stream closes read_fd. */
void capture_drain(struct capture *capture);
/* Drains a last time and adds the line where something was dropped. */
void capture_finish(struct capture *capture);
/* A capture that is all zero may be closed, too. */
void capture_close(struct capture *capture);

#endif
