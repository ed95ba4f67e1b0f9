/* SPDX-License-Identifier: Apache-2.0 */
/* An account: time fills it, our own processor time empties it. */
#include "frontend/explain_pace.h"

#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* Shorter times tell nothing of how busy the server is, nor shorter ones in
 * which we want a processor of how many others do. */
#define WATCH_NS 20000000
#define WANT_NS 1000000
/* Busy: the server uses more than this part of all processors. Crowded: we wait
 * for more than this part of the time in which we want one. */
#define MUCH_PART 4
/* What explaining may then use of all processors; of more than these it needs
 * none. */
#define SHARE_PART 1000
#define SHARED_MAX 8
/* Neither does a long time of little become a short one of much, nor one of
 * much a long one of nothing. */
#define CREDIT_MAX_NS 10000000
#define PAUSE_MS 50

int
explain_clocks_open(void)
{
	return open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
}

/* "time on a processor, time that it waited for one, ..." */
static int64_t
read_waited(int schedstat)
{
	char text[128], *second;
	ssize_t len = pread(schedstat, text, sizeof(text) - 1, 0);

	if (len <= 0)
		return 0;
	text[len] = '\0';
	(void)strtoll(text, &second, 10);
	return strtoll(second, NULL, 10);
}

static int64_t
read_clock(clockid_t clock)
{
	struct timespec time;

	/* Cannot fail for the clocks of ourselves. */
	clock_gettime(clock, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

void
explain_clocks_read(int schedstat, struct explain_clocks *clocks)
{
	clocks->wall = clock_monotonic_ns();
	clocks->process = read_clock(CLOCK_PROCESS_CPUTIME_ID);
	clocks->own = read_clock(CLOCK_THREAD_CPUTIME_ID);
	clocks->waited = read_waited(schedstat);
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
	pace->busy_since = *now;
	pace->crowded_since = *now;
	pace->busy = false;
	pace->crowded = false;
}

static void
watch_server(struct explain_pace *pace, const struct explain_clocks *now)
{
	int64_t elapsed = now->wall - pace->busy_since.wall;
	int64_t own = now->own - pace->busy_since.own;
	int64_t others = now->process - pace->busy_since.process - own;

	if (elapsed < WATCH_NS)
		return;
	pace->busy = others > elapsed / MUCH_PART * pace->processors;
	pace->busy_since = *now;
}

static void
watch_machine(struct explain_pace *pace, const struct explain_clocks *now)
{
	int64_t waited = now->waited - pace->crowded_since.waited;
	int64_t wanted = now->own - pace->crowded_since.own + waited;

	if (wanted < WANT_NS)
		return;
	pace->crowded = waited > wanted / MUCH_PART;
	pace->crowded_since = *now;
}

/* Paid also in peace, so that nothing is won by taking it for peace at times.
 */
static void
settle(struct explain_pace *pace, const struct explain_clocks *now)
{
	int64_t shared =
	    pace->processors < SHARED_MAX ? pace->processors : SHARED_MAX;

	pace->credit += (now->wall - pace->last.wall) * shared / SHARE_PART -
			(now->own - pace->last.own);
	if (pace->credit > CREDIT_MAX_NS)
		pace->credit = CREDIT_MAX_NS;
	if (pace->credit < -CREDIT_MAX_NS)
		pace->credit = -CREDIT_MAX_NS;
	pace->last = *now;
}

int
explain_pace_look(struct explain_pace *pace, const struct explain_clocks *now)
{
	settle(pace, now);
	watch_server(pace, now);
	watch_machine(pace, now);
	return (pace->busy || pace->crowded) && pace->credit <= 0 ? PAUSE_MS
								  : 0;
}
