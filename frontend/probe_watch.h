/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether the disk answers. A disk that hangs gives no error: the probe of it
 * (cas/store.h), or what waits for a thread before it, does not come back.
 * Times are those of the monotonic clock, passed in. Any thread.
 */
#ifndef TOOLROOT_FRONTEND_PROBE_WATCH_H
#define TOOLROOT_FRONTEND_PROBE_WATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A disk that is merely busy answers in less. */
#define PROBE_LATE_MS 20000
#define PROBE_LATE_TEXT "the disk of the store has not answered for 20 s"

struct probe_watch {
	atomic_int_least64_t begun_ms; /* 0: no probe is under way */
	atomic_bool told;              /* that it is late */
};

/* A probe is handed to the thread that makes it; it has come back. True: that
 * it was late had been told. */
void probe_watch_begin(struct probe_watch *watch, int64_t now_ms);
bool probe_watch_end(struct probe_watch *watch);

bool probe_watch_late(const struct probe_watch *watch, int64_t now_ms);
/* The same, but only the first time of a probe. */
bool probe_watch_tell(struct probe_watch *watch, int64_t now_ms);

#endif
