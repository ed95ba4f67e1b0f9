/* SPDX-License-Identifier: Apache-2.0 */
/* Words and bars for CollectionProgress. */
#include "client/gc_progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <toolroot/admin/v1/admin.pb-c.h>

#include "base/clock.h"
#include "client/admin_command.h"

#define BAR_WIDTH 30
#define LINE_INTERVAL_MS 10000

static const char *
phase_name(Adminapi__CollectionProgress__Phase phase)
{
	switch (phase) {
	case ADMINAPI__COLLECTION_PROGRESS__PHASE__ROOTS:
		return "finding what has to stay";
	case ADMINAPI__COLLECTION_PROGRESS__PHASE__COUNTING:
		return "counting by age";
	case ADMINAPI__COLLECTION_PROGRESS__PHASE__DROPPING:
		return "dropping";
	case ADMINAPI__COLLECTION_PROGRESS__PHASE__COMPACTING:
		return "compacting segments";
	default:
		/* Ended: that is another one, before ours has begun. */
		return NULL;
	}
}

static unsigned
percent(const Adminapi__CollectionProgress *progress)
{
	if (progress->total == 0)
		return 0;
	return (
	    unsigned)((double)progress->done * 100 / (double)progress->total);
}

static void
show_bar(const Adminapi__CollectionProgress *progress, const char *name)
{
	char bar[BAR_WIDTH + 1], size[ADMIN_SIZE_MAX];
	size_t full = (size_t)percent(progress) * BAR_WIDTH / 100;

	if (full > BAR_WIDTH)
		full = BAR_WIDTH;
	memset(bar, '.', BAR_WIDTH);
	memset(bar, '#', full);
	bar[BAR_WIDTH] = '\0';
	admin_progress("[%s] %3u %%  %s, %s", bar, percent(progress), name,
	    admin_format_size(progress->dropped_bytes, size));
}

static void
show_line(struct gc_progress *shown,
    const Adminapi__CollectionProgress *progress, const char *name)
{
	int64_t now = clock_monotonic_ms();
	char size[ADMIN_SIZE_MAX];

	if ((int)progress->phase == shown->phase &&
	    now - shown->shown_ms < LINE_INTERVAL_MS)
		return;
	shown->phase = (int)progress->phase;
	shown->shown_ms = now;
	fprintf(stderr, "toolroot gc: %s, %u %%, %s dropped\n", name,
	    percent(progress),
	    admin_format_size(progress->dropped_bytes, size));
}

void
gc_progress_show(void *cookie, const void *message)
{
	const Adminapi__CollectionProgress *progress = message;
	const char *name = phase_name(progress->phase);
	struct gc_progress *shown = cookie;

	if (name == NULL)
		return;
	if (isatty(STDERR_FILENO))
		show_bar(progress, name);
	else if (shown->lines)
		show_line(shown, progress, name);
}

void
gc_progress_end(struct gc_progress *shown, uint64_t dropped_bytes)
{
	char size[ADMIN_SIZE_MAX];

	admin_progress_end();
	if (shown->lines && !isatty(STDERR_FILENO))
		fprintf(stderr, "toolroot gc: done, %s dropped\n",
		    admin_format_size(dropped_bytes, size));
}
