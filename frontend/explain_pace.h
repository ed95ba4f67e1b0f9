/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast misses are explained: as fast as it goes while processors have
 * nothing else to do, and with a thousandth of the processors' time while
 * the server is busy, or anyone else is. So explaining takes no more than that
 * from anyone who waits, and catches up afterwards. Pure but for the clocks;
 * one thread.
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
	int64_t waited;  /* of the same, for a processor that others had */
};

struct explain_pace {
	int64_t processors;
	struct explain_clocks last;          /* look */
	struct explain_clocks busy_since;    /* it is watched */
	struct explain_clocks crowded_since; /* the same */
	int64_t credit;                      /* what may still be used */
	bool busy;                           /* the server has much to do */
	bool crowded;                        /* we wait for processors */
};

/* Of the calling thread, the same each time. schedstat: what
 * explain_clocks_open gave. */
void explain_clocks_read(int schedstat, struct explain_clocks *clocks);
/* -1 where the kernel does not tell how long a thread has waited: it is taken
 * for never. To be closed. */
int explain_clocks_open(void);

void explain_pace_init(struct explain_pace *pace, int64_t processors);
/* After a rest, which tells nothing of how busy the server is now. */
void explain_pace_begin(
    struct explain_pace *pace, const struct explain_clocks *now);
/* Milliseconds to pause, 0: go on and look again soon. */
int explain_pace_look(
    struct explain_pace *pace, const struct explain_clocks *now);

#endif
