/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry: families in the order of their registration, each with a list
 * of series that only grows. Values are atomics outside every lock; the lock
 * is for the lists.
 */
#include "base/metrics.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "base/metrics_internal.h"

const int64_t metric_duration_bounds[METRIC_DURATION_BOUNDS] = {100000, 320000,
    1000000, 3200000, 10000000, 32000000, 100000000, 320000000, 1000000000,
    3200000000, 10000000000, 32000000000, 100000000000, 320000000000};

struct metrics *
metrics_new(void)
{
	struct metrics *metrics = xcalloc(1, sizeof(*metrics));

	pthread_mutex_init(&metrics->lock, NULL);
	STAILQ_INIT(&metrics->families);
	return metrics;
}

static void
family_free(struct metric_family *family)
{
	struct metric *metric;

	while ((metric = STAILQ_FIRST(&family->series)) != NULL) {
		STAILQ_REMOVE_HEAD(&family->series, link);
		free(metric->labels);
		free(metric->counts);
		free(metric);
	}
	free(family);
}

void
metrics_free(struct metrics *metrics)
{
	struct metric_family *family;

	if (metrics == NULL)
		return;
	while ((family = STAILQ_FIRST(&metrics->families)) != NULL) {
		STAILQ_REMOVE_HEAD(&metrics->families, link);
		family_free(family);
	}
	pthread_mutex_destroy(&metrics->lock);
	free(metrics);
}

/* --- families and series -------------------------------------------------- */

static bool
name_valid(const char *name)
{
	if (*name >= '0' && *name <= '9')
		return false;
	for (const char *c = name; *c != '\0'; c++) {
		if ((*c < 'a' || *c > 'z') && (*c < 'A' || *c > 'Z') &&
		    (*c < '0' || *c > '9') && *c != '_')
			return false;
	}
	return *name != '\0';
}

static bool
name_ends(const char *name, const char *suffix)
{
	size_t len = strlen(name), end = strlen(suffix);

	return len > end && strcmp(name + len - end, suffix) == 0;
}

static bool
bounds_valid(const struct metric_definition *definition)
{
	if ((definition->type == METRIC_HISTOGRAM) !=
	    (definition->bound_count > 0))
		return false;
	for (size_t i = 1; i < definition->bound_count; i++) {
		if (definition->bounds[i] <= definition->bounds[i - 1])
			return false;
	}
	return true;
}

struct metric_family *
metrics_register(
    struct metrics *metrics, const struct metric_definition *definition)
{
	struct metric_family *family = xcalloc(1, sizeof(*family));
	struct metric_family *other;

	assert(name_valid(definition->name));
	assert(definition->type != METRIC_COUNTER ||
	       name_ends(definition->name, "_total"));
	assert(bounds_valid(definition));
	family->metrics = metrics;
	family->definition = definition;
	STAILQ_INIT(&family->series);
	while (family->label_count < METRIC_LABELS_MAX &&
	       definition->labels[family->label_count] != NULL) {
		assert(name_valid(definition->labels[family->label_count]));
		family->label_count++;
	}
	pthread_mutex_lock(&metrics->lock);
	STAILQ_FOREACH(other, &metrics->families, link)
	assert(strcmp(other->definition->name, definition->name) != 0);
	STAILQ_INSERT_TAIL(&metrics->families, family, link);
	pthread_mutex_unlock(&metrics->lock);
	return family;
}

int
metrics_append_escaped(struct buffer *out, const char *text, bool quotes)
{
	for (const char *c = text; *c != '\0'; c++) {
		const char *escape = NULL;

		if (*c == '\\')
			escape = "\\\\";
		else if (*c == '\n')
			escape = "\\n";
		else if (*c == '"' && quotes)
			escape = "\\\"";
		if (escape != NULL && buffer_append(out, escape, 2) < 0)
			return -1;
		if (escape == NULL && buffer_append(out, c, 1) < 0)
			return -1;
	}
	return 0;
}

/* The text between the braces; the caller frees it. NULL when the values are
 * too long to be a label set that anybody meant. */
static char *
labels_text(const struct metric_family *family, const char *const *values)
{
	struct buffer text;
	char *copy = NULL;

	assert(values != NULL || family->label_count == 0);
	buffer_init(&text, METRIC_LABELS_TEXT_MAX);
	for (size_t i = 0; i < family->label_count; i++) {
		if (buffer_printf(&text, "%s%s=\"", i > 0 ? "," : "",
			family->definition->labels[i]) < 0 ||
		    metrics_append_escaped(&text, values[i], true) < 0 ||
		    buffer_append(&text, "\"", 1) < 0)
			goto out;
	}
	copy = xstrndup(buffer_str(&text).data, text.len);
out:
	buffer_clear(&text);
	return copy;
}

/* Under the lock. */
static struct metric *
series_find(const struct metric_family *family, const char *labels)
{
	struct metric *metric;

	STAILQ_FOREACH(metric, &family->series, link)
	{
		if (strcmp(metric->labels, labels) == 0)
			return metric;
	}
	return NULL;
}

/* Under the lock. Takes labels. */
static struct metric *
series_make(struct metric_family *family, char *labels)
{
	const struct metric_definition *definition = family->definition;
	struct metric *metric = xcalloc(1, sizeof(*metric));

	metric->definition = definition;
	metric->labels = labels;
	if (definition->type == METRIC_HISTOGRAM)
		metric->counts = xcalloc(
		    definition->bound_count + 1, sizeof(*metric->counts));
	STAILQ_INSERT_TAIL(&family->series, metric, link);
	family->series_count++;
	return metric;
}

struct metric *
metric_series(struct metric_family *family, const char *const *values)
{
	static const char *const others[METRIC_LABELS_MAX] = {
	    "other", "other", "other", "other"};
	size_t limit = family->definition->max_series > 0
			   ? family->definition->max_series
			   : METRIC_SERIES_DEFAULT;
	char *labels = labels_text(family, values);
	char *overflow = labels_text(family, others);
	struct metric *metric = NULL;

	pthread_mutex_lock(&family->metrics->lock);
	if (labels != NULL)
		metric = series_find(family, labels);
	if (metric == NULL && labels != NULL && family->series_count < limit) {
		metric = series_make(family, labels);
		labels = NULL;
	}
	if (metric == NULL)
		metric = series_find(family, overflow);
	if (metric == NULL) {
		metric = series_make(family, overflow);
		overflow = NULL;
	}
	pthread_mutex_unlock(&family->metrics->lock);
	free(labels);
	free(overflow);
	return metric;
}

struct metric *
metrics_single(
    struct metrics *metrics, const struct metric_definition *definition)
{
	return metric_series(metrics_register(metrics, definition), NULL);
}

/* --- counting ------------------------------------------------------------- */

void
metric_add(struct metric *metric, int64_t amount)
{
	if (metric != NULL)
		atomic_fetch_add_explicit(
		    &metric->value, amount, memory_order_relaxed);
}

void
metric_set(struct metric *metric, int64_t value)
{
	if (metric != NULL)
		atomic_store_explicit(
		    &metric->value, value, memory_order_relaxed);
}

int64_t
metric_value(const struct metric *metric)
{
	return atomic_load_explicit(&metric->value, memory_order_relaxed);
}

void
metric_observe(struct metric *metric, int64_t value)
{
	const struct metric_definition *definition;
	size_t i = 0;

	if (metric == NULL)
		return;
	definition = metric->definition;
	if (value < 0)
		value = 0;
	while (i < definition->bound_count && value > definition->bounds[i])
		i++;
	atomic_fetch_add_explicit(&metric->counts[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&metric->value, value, memory_order_relaxed);
}

void
metrics_on_collect(
    struct metrics *metrics, void (*collect)(void *cookie), void *cookie)
{
	assert(metrics->collector_count < METRIC_COLLECTORS_MAX);
	metrics->collectors[metrics->collector_count++] =
	    (struct collector){collect, cookie};
}
