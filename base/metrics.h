/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A registry of metrics and its Prometheus text form.
 *
 * Families (name, help, type, label names) are registered at the start; each
 * combination of label values is a series. Whoever counts keeps the pointer to
 * its series: counting is one relaxed atomic addition, from any thread, and
 * nothing for a series that is NULL (whoever made us does not observe). Values
 * are 64-bit integers; `scale` turns them into the unit that the name states
 * (nanoseconds into seconds: 1e-9). What is kept elsewhere (store usage, queue
 * depth) is copied into series by collect functions, which run before each
 * rendering.
 *
 * Label sets are bounded: past a family's max_series all further combinations
 * share one series whose labels are all "other".
 *
 * Mistakes of the programmer (a bad name, the same name twice) assert.
 * Sources of the forms: Prometheus "Exposition formats", text version 0.0.4;
 * OpenMetrics 1.0.
 */
#ifndef TOOLROOT_BASE_METRICS_H
#define TOOLROOT_BASE_METRICS_H

#include <stddef.h>
#include <stdint.h>

struct buffer;
struct http_answer;
struct metric;
struct metric_family;
struct metrics;

#define METRIC_LABELS_MAX 4
#define METRIC_SERIES_DEFAULT 1000

enum metric_type {
	METRIC_COUNTER,
	METRIC_GAUGE,
	METRIC_HISTOGRAM,
};

/* Borrowed for the life of the registry: make it static. */
struct metric_definition {
	const char *name; /* "toolroot_rpc_requests_total" */
	const char *help; /* one sentence */
	enum metric_type type;
	const char *labels[METRIC_LABELS_MAX]; /* names; unused ones NULL */
	double scale;                          /* 0 = 1 */
	const int64_t *bounds; /* histogram: upper bounds, inclusive, ascending,
				* unscaled; +Inf is added */
	size_t bound_count;
	size_t max_series; /* 0 = METRIC_SERIES_DEFAULT */
};

/* Half decades from 0.1 ms to 320 s, in nanoseconds: for durations. */
#define METRIC_DURATION_BOUNDS 14
extern const int64_t metric_duration_bounds[METRIC_DURATION_BOUNDS];

struct metrics *metrics_new(void);
/* Frees families and series too. NULL is allowed. */
void metrics_free(struct metrics *metrics);

struct metric_family *metrics_register(
    struct metrics *metrics, const struct metric_definition *definition);
/* The series with these label values (in the order of the names; copied), made
 * when there is none yet. Any thread; takes the registry's lock. values may be
 * NULL for a family without labels. Lives as long as the registry. */
struct metric *metric_series(
    struct metric_family *family, const char *const *values);
/* Both, for a family without labels. */
struct metric *metrics_single(
    struct metrics *metrics, const struct metric_definition *definition);

/* Counters and gauges. */
void metric_add(struct metric *metric, int64_t amount);
/* Gauges; counters only where they mirror a count that is kept elsewhere. */
void metric_set(struct metric *metric, int64_t value);
int64_t metric_value(const struct metric *metric);
/* Histograms; values below 0 count as 0. */
void metric_observe(struct metric *metric, int64_t value);

/* collect runs before each rendering, on the renderer's thread and possibly on
 * two at once; without the registry's lock, so it may add series. Register it
 * before the first rendering. */
void metrics_on_collect(
    struct metrics *metrics, void (*collect)(void *cookie), void *cookie);

/* Appends the text form. -1 when the buffer's limit is reached. */
int metrics_render(struct metrics *metrics, struct buffer *out);
/* A page of base/http_server.h: OpenMetrics for those who say that they accept
 * it, else the same. */
int metrics_page(
    struct metrics *metrics, const char *accept, struct http_answer *answer);

#endif
