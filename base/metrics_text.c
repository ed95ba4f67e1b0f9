/* SPDX-License-Identifier: Apache-2.0 */
/* The two text forms: that of Prometheus, and OpenMetrics, which differs in
 * the names of counters' families, numbers of buckets, escapes and the end. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/http_server.h"
#include "base/metrics_internal.h"

#define TYPE_TEXT "text/plain; version=0.0.4; charset=utf-8"
#define TYPE_OPEN_METRICS \
	"application/openmetrics-text; version=1.0.0; charset=utf-8"
#define TOTAL "_total"

static int
render_number(
    struct buffer *out, const struct metric_definition *definition, int64_t raw)
{
	/* Whole numbers stay exact; a double has only 53 bits. */
	if (definition->scale == 0)
		return buffer_printf(out, "%" PRId64 "\n", raw);
	return buffer_printf(out, "%.15g\n", (double)raw * definition->scale);
}

/* `name<suffix>{labels} `, without braces when there is nothing in them. */
static int
render_name(struct buffer *out, const struct metric *metric, const char *suffix)
{
	bool labels = metric->labels[0] != '\0';

	return buffer_printf(out, "%s%s%s%s%s ", metric->definition->name,
	    suffix, labels ? "{" : "", metric->labels, labels ? "}" : "");
}

/* OpenMetrics wants a floating point number where there could be one. */
static void
format_bound(double value, bool open, char text[static 32])
{
	int len = snprintf(text, 32, "%.15g", value);

	if (open && strpbrk(text, ".e") == NULL)
		snprintf(text + len, 32 - (size_t)len, ".0");
}

static int
render_bucket(struct buffer *out, const struct metric *metric, size_t i,
    int64_t cumulated, bool open)
{
	const struct metric_definition *definition = metric->definition;
	double scale = definition->scale == 0 ? 1 : definition->scale;
	char bound[32] = "+Inf";

	if (i < definition->bound_count)
		format_bound(
		    (double)definition->bounds[i] * scale, open, bound);
	return buffer_printf(out, "%s_bucket{%s%sle=\"%s\"} %" PRId64 "\n",
	    definition->name, metric->labels,
	    metric->labels[0] != '\0' ? "," : "", bound, cumulated);
}

/* The count is the sum of the buckets as they were read, so that the two agree
 * whatever is counted meanwhile. */
static int
render_histogram(struct buffer *out, const struct metric *metric, bool open)
{
	int64_t cumulated = 0;

	for (size_t i = 0; i <= metric->definition->bound_count; i++) {
		cumulated += atomic_load_explicit(
		    &metric->counts[i], memory_order_relaxed);
		if (render_bucket(out, metric, i, cumulated, open) < 0)
			return -1;
	}
	if (render_name(out, metric, "_sum") < 0 ||
	    render_number(out, metric->definition, metric_value(metric)) < 0 ||
	    render_name(out, metric, "_count") < 0)
		return -1;
	return buffer_printf(out, "%" PRId64 "\n", cumulated);
}

/* Without the suffix of its samples, which OpenMetrics adds to a counter. */
static int
family_name_length(const struct metric_definition *definition, bool open)
{
	size_t len = strlen(definition->name);

	if (open && definition->type == METRIC_COUNTER)
		len -= strlen(TOTAL);
	return (int)len;
}

static int
render_head(
    struct buffer *out, const struct metric_definition *definition, bool open)
{
	static const char *const types[] = {"counter", "gauge", "histogram"};
	int len = family_name_length(definition, open);

	if (buffer_printf(out, "# HELP %.*s ", len, definition->name) < 0 ||
	    metrics_append_escaped(out, definition->help, open) < 0)
		return -1;
	return buffer_printf(out, "\n# TYPE %.*s %s\n", len, definition->name,
	    types[definition->type]);
}

static int
render_family(struct buffer *out, const struct metric_family *family, bool open)
{
	const struct metric_definition *definition = family->definition;
	const struct metric *metric;

	if (STAILQ_EMPTY(&family->series))
		return 0;
	if (render_head(out, definition, open) < 0)
		return -1;
	STAILQ_FOREACH(metric, &family->series, link)
	{
		if (definition->type == METRIC_HISTOGRAM) {
			if (render_histogram(out, metric, open) < 0)
				return -1;
		} else if (render_name(out, metric, "") < 0 ||
			   render_number(
			       out, definition, metric_value(metric)) < 0) {
			return -1;
		}
	}
	return 0;
}

static int
render(struct metrics *metrics, bool open, struct buffer *out)
{
	struct metric_family *family;
	int rc = 0;

	for (size_t i = 0; i < metrics->collector_count; i++)
		metrics->collectors[i].collect(metrics->collectors[i].cookie);
	pthread_mutex_lock(&metrics->lock);
	STAILQ_FOREACH(family, &metrics->families, link)
	{
		rc = render_family(out, family, open);
		if (rc < 0)
			break;
	}
	pthread_mutex_unlock(&metrics->lock);
	if (rc == 0 && open)
		rc = buffer_printf(out, "# EOF\n");
	return rc;
}

int
metrics_render(struct metrics *metrics, struct buffer *out)
{
	return render(metrics, false, out);
}

int
metrics_page(
    struct metrics *metrics, const char *accept, struct http_answer *answer)
{
	bool open = strstr(accept, "application/openmetrics-text") != NULL;

	answer->content_type = open ? TYPE_OPEN_METRICS : TYPE_TEXT;
	return render(metrics, open, answer->body);
}
