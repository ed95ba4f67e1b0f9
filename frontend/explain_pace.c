/* SPDX-License-Identifier: Apache-2.0 */
/* An account: others' time fills it, our own empties it. */
#include "frontend/explain_pace.h"

#include <time.h>

#include "base/clock.h"

/* Shorter times tell nothing of how busy the server is. */
#define WATCH_NS 20000000
/* Busy: others use more than this part of all processors. */
#define BUSY_PART 4
/* What explaining may use of what others use. */
#define SHARE_PART 100
/* So that a long time of little does not become a short one of much. */
#define CREDIT_MAX_NS 20000000
#define PAUSE_MS 50

static int64_t
read_clock(clockid_t clock)
{
	struct timespec time;

	/* Cannot fail for the clocks of ourselves. */
	clock_gettime(clock, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

void
explain_clocks_read(struct explain_clocks *clocks)
{
	clocks->wall = clock_monotonic_ns();
	clocks->process = read_clock(CLOCK_PROCESS_CPUTIME_ID);
	clocks->own = read_clock(CLOCK_THREAD_CPUTIME_ID);
}

void
explain_pace_init(struct explain_pace *pace, int64_t processors)
{
	*pace = (struct explain_pace){
	    .processors = processors > 0 ? processors : 1};
}

void
explain_pace_begin(struct explain_pace *pace, const struct explain_clocks *now)
{
	pace->last = *now;
	pace->since_wall = now->wall;
	pace->others = 0;
	pace->credit = 0;
	pace->busy = false;
}

static void
watch(struct explain_pace *pace, int64_t wall)
{
	int64_t elapsed = wall - pace->since_wall;

	if (elapsed < WATCH_NS)
		return;
	pace->busy = pace->others > elapsed / BUSY_PART * pace->processors;
	if (!pace->busy)
		pace->credit = 0;
	pace->since_wall = wall;
	pace->others = 0;
}

int
explain_pace_look(struct explain_pace *pace, const struct explain_clocks *now)
{
	int64_t own = now->own - pace->last.own;
	int64_t others = now->process - pace->last.process - own;

	pace->last = *now;
	pace->others += others;
	pace->credit += others / SHARE_PART - own;
	if (pace->credit > CREDIT_MAX_NS)
		pace->credit = CREDIT_MAX_NS;
	watch(pace, now->wall);
	return pace->busy && pace->credit <= 0 ? PAUSE_MS : 0;
}
