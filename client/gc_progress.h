/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far a collection is, on standard error: on a terminal a bar that is drawn
 * over again; elsewhere, where lines are wanted, one for each phase and one
 * every ten seconds. One thread at a time.
 */
#ifndef TOOLROOT_CLIENT_GC_PROGRESS_H
#define TOOLROOT_CLIENT_GC_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct gc_progress {
	bool lines;       /* also where there is no terminal */
	int phase;        /* of the last line, 0 = none */
	int64_t shown_ms; /* when it was written */
};

/* The show of an admin_watcher: message is a CollectionProgress. */
void gc_progress_show(void *cookie, const void *message);
/* The answer has come: clears the bar, or tells in a line what went. */
void gc_progress_end(struct gc_progress *shown, uint64_t dropped_bytes);

#endif
