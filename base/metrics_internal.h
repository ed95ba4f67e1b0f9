/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the registry's files share. metrics.c: families, series and counting;
 * metrics_text.c: the text forms. Not for other modules.
 */
#ifndef TOOLROOT_BASE_METRICS_INTERNAL_H
#define TOOLROOT_BASE_METRICS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "base/metrics.h"

#define METRIC_COLLECTORS_MAX 32
#define METRIC_LABELS_TEXT_MAX 2048

struct metric {
	const struct metric_definition *definition;
	char *labels;            /* `a="x",b="y"`, escaped; "" without labels */
	_Atomic int64_t value;   /* counter, gauge; histogram: sum */
	_Atomic int64_t *counts; /* histogram: per bucket, the last is +Inf */
	STAILQ_ENTRY(metric) link;
};

struct metric_family {
	struct metrics *metrics;
	const struct metric_definition *definition;
	size_t label_count;
	size_t series_count;
	STAILQ_HEAD(, metric) series;
	STAILQ_ENTRY(metric_family) link;
};

struct collector {
	void (*collect)(void *cookie);
	void *cookie;
};

struct metrics {
	/* Guards the lists: families, their series and the counts of both.
	 * Elements are never removed and values are atomics, so a pointer that
	 * was read under the lock stays good without it. */
	pthread_mutex_t lock;
	STAILQ_HEAD(, metric_family) families;
	/* Written before the first rendering, constant afterwards. */
	struct collector collectors[METRIC_COLLECTORS_MAX];
	size_t collector_count;
};

/* Appends text with backslash, newline and, with quotes, `"` escaped. */
int metrics_append_escaped(struct buffer *out, const char *text, bool quotes);

#endif
