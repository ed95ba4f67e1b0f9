/* SPDX-License-Identifier: Apache-2.0 */
/* Counting what is there. */
#include "executor/scheduler_figures.h"

#include <stdio.h>

#include "base/clock.h"
#include "executor/scheduler_internal.h"

/* Under the lock. */
static void
add_session(const struct worker_session *session,
    struct scheduler_statistics *statistics)
{
	const struct lease *lease;

	statistics->workers++;
	statistics->sandboxes[session->sandbox]++;
	statistics->slots += session->slots;
	statistics->slots_busy += session->lease_count;
	LIST_FOREACH (lease, &session->leases, link) {
		if (lease->operation != NULL)
			statistics->stages[lease->stage]++;
	}
}

void
scheduler_statistics(
    struct scheduler *s, struct scheduler_statistics *statistics)
{
	const struct worker_session *session;

	pthread_mutex_lock(&s->lock);
	*statistics = s->figures;
	statistics->leased += s->figures.executing;
	TAILQ_FOREACH (session, &s->sessions, link)
		add_session(session, statistics);
	pthread_mutex_unlock(&s->lock);
}

static void
describe(const struct platform *platform, char text[QUEUE_FIGURE_TEXT_MAX])
{
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < platform->count; i++) {
		const struct platform_property *property =
		    &platform->properties[i];

		if (!platform_is_matched(property))
			continue;
		len += (size_t)snprintf(text + len, QUEUE_FIGURE_TEXT_MAX - len,
		    "%s%.*s=%.*s", len > 0 ? "," : "", STR_ARG(property->name),
		    STR_ARG(property->value));
		if (len >= QUEUE_FIGURE_TEXT_MAX)
			break;
	}
	/* Where it was cut inside a character of several bytes. */
	len = strlen(text);
	while (len > 0 && !str_is_utf8((struct str){text, len}))
		text[--len] = '\0';
}

size_t
scheduler_queue_figures(
    struct scheduler *s, struct queue_figure *figures, size_t count)
{
	const struct queue *queue;
	size_t found = 0;

	pthread_mutex_lock(&s->lock);
	TAILQ_FOREACH (queue, &s->queues.list, link) {
		struct queue_figure *figure = &figures[found];

		if (found == count)
			break;
		describe(&queue->platform, figure->platform);
		figure->queued = queue->count;
		figure->unplaceable = scheduler_unmatched_deadline(
					  s, &queue->platform) != CLOCK_NEVER;
		found++;
	}
	pthread_mutex_unlock(&s->lock);
	return found;
}
