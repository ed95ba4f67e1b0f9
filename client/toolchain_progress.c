/* SPDX-License-Identifier: Apache-2.0 */
/* The drawing thread and its wake-up. */
#include "client/toolchain_progress.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/condition.h"
#include "base/memory.h"

#define INTERVAL_MS 200
#define BAR_WIDTH 24
#define PHASES_MAX 8

struct phase {
	struct capture_progress counters;
	const char *what;
	uint64_t present;
	int64_t started_ms;
};

struct toolchain_progress {
	bool shown;
	pthread_t thread; /* when shown */
	/* Guards count and ended; a phase does not change once it counts, but
	 * for its counters, which are atomic. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t count;
	bool ended;
	struct phase phases[PHASES_MAX];
};

const char *
toolchain_progress_size(uint64_t bytes, char text[static TOOLCHAIN_SIZE_MAX])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes;
	size_t unit = 0;

	while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}
	(void)snprintf(text, TOOLCHAIN_SIZE_MAX,
	    unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
	return text;
}

static void
draw_bar(uint64_t done, uint64_t total, char bar[static BAR_WIDTH + 1])
{
	size_t filled = total > 0 && done < total
			    ? (size_t)(done * BAR_WIDTH / total)
			    : BAR_WIDTH;

	for (size_t i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < filled ? '#' : '.';
	bar[BAR_WIDTH] = '\0';
}

static void
draw(const struct phase *phase)
{
	uint64_t bytes = atomic_load(&phase->counters.bytes);
	uint64_t total = atomic_load(&phase->counters.bytes_total);
	int64_t ms = clock_monotonic_ms() - phase->started_ms;
	char sizes[4][TOOLCHAIN_SIZE_MAX];
	char bar[BAR_WIDTH + 1], present[64] = "", line[240];
	struct winsize window;
	int width = 79;

	draw_bar(bytes, total, bar);
	if (phase->present > 0)
		(void)snprintf(present, sizeof(present), ", %s already there",
		    toolchain_progress_size(phase->present, sizes[3]));
	(void)snprintf(line, sizeof(line),
	    "%s [%s] %" PRIu64 "/%" PRIu64 " files, %s of %s, %s/s%s",
	    phase->what, bar, atomic_load(&phase->counters.files),
	    atomic_load(&phase->counters.files_total),
	    toolchain_progress_size(bytes, sizes[0]),
	    toolchain_progress_size(total, sizes[1]),
	    toolchain_progress_size(
		ms > 0 ? bytes * 1000 / (uint64_t)ms : 0, sizes[2]),
	    present);
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1)
		width = window.ws_col - 1;
	fprintf(stderr, "\r\033[K%.*s", width, line);
	fflush(stderr);
}

static void *
progress_thread(void *cookie)
{
	struct toolchain_progress *progress = cookie;
	pthread_mutex_lock(&progress->lock);
	while (!progress->ended) {
		size_t count = progress->count;

		pthread_mutex_unlock(&progress->lock);
		if (count > 0)
			draw(&progress->phases[count - 1]);
		pthread_mutex_lock(&progress->lock);
		if (!progress->ended)
			condition_wait_for(
			    &progress->changed, &progress->lock, INTERVAL_MS);
	}
	pthread_mutex_unlock(&progress->lock);
	fprintf(stderr, "\r\033[K");
	return NULL;
}

struct toolchain_progress *
toolchain_progress_start(bool shown)
{
	struct toolchain_progress *progress = xcalloc(1, sizeof(*progress));

	pthread_mutex_init(&progress->lock, NULL);
	condition_init(&progress->changed);
	progress->shown = shown && isatty(STDERR_FILENO) == 1 &&
			  pthread_create(&progress->thread, NULL,
			      progress_thread, progress) == 0;
	return progress;
}

void
toolchain_progress_stop(struct toolchain_progress *progress)
{
	if (progress == NULL)
		return;
	pthread_mutex_lock(&progress->lock);
	progress->ended = true;
	pthread_cond_signal(&progress->changed);
	pthread_mutex_unlock(&progress->lock);
	if (progress->shown)
		pthread_join(progress->thread, NULL);
	pthread_cond_destroy(&progress->changed);
	pthread_mutex_destroy(&progress->lock);
	free(progress);
}

struct capture_progress *
toolchain_progress_phase(
    struct toolchain_progress *progress, const char *what, uint64_t present)
{
	struct phase *phase;

	pthread_mutex_lock(&progress->lock);
	/* The last one is used again rather than passed. */
	if (progress->count < PHASES_MAX)
		progress->count++;
	phase = &progress->phases[progress->count - 1];
	phase->what = what;
	phase->present = present;
	phase->started_ms = clock_monotonic_ms();
	/* Shown at once. */
	pthread_cond_signal(&progress->changed);
	pthread_mutex_unlock(&progress->lock);
	return &phase->counters;
}
