/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast misses are explained: as fast as it goes while the server has little
 * else to do, and with a hundredth of the processor time of everything else
 * while it is busy. So explaining takes no more than that from anyone who
 * waits, and catches up afterwards. Pure but for the clocks; one thread.
 */
#ifndef TOOLROOT_FRONTEND_EXPLAIN_PACE_H
#define TOOLROOT_FRONTEND_EXPLAIN_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* All in nanoseconds. */
struct explain_clocks {
	int64_t wall;    /* monotonic */
	int64_t process; /* processor time of the process */
	int64_t own;     /* of the thread that explains */
};

struct explain_pace {
	int64_t processors;
	struct explain_clocks last; /* look */
	/* Since when it is watched how busy the server is. */
	int64_t since_wall;
	int64_t others; /* their processor time since then */
	int64_t credit; /* what may still be used, when busy */
	bool busy;
};

/* Of the calling thread. */
void explain_clocks_read(struct explain_clocks *clocks);

void explain_pace_init(struct explain_pace *pace, int64_t processors);
/* After a rest, which tells nothing of how busy the server is now. */
void explain_pace_begin(
    struct explain_pace *pace, const struct explain_clocks *now);
/* Milliseconds to pause, 0: go on and look again soon. */
int explain_pace_look(
    struct explain_pace *pace, const struct explain_clocks *now);

#endif
