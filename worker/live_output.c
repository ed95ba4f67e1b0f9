/* SPDX-License-Identifier: Apache-2.0 */
/* Reads wait in a list; answers are copied under the lock and given outside. */
#include "worker/live_output.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "worker/capture.h"

struct waiting_read {
	struct output_read read;
	struct str data; /* of the answer; malloc */
	STAILQ_ENTRY(waiting_read) link;
};

void
live_output_init(
    struct live_output *live, live_output_answer_fn *answer, void *cookie)
{
	*live = (struct live_output){.answer = answer, .cookie = cookie};
	pthread_mutex_init(&live->lock, NULL);
	STAILQ_INIT(&live->waiting);
}

void
live_output_clear(struct live_output *live)
{
	pthread_mutex_destroy(&live->lock);
}

/* Under the lock: whether the answer is known, and what it is. */
static bool
find_answer(const struct live_output *live, const struct output_read *read,
    struct str *data)
{
	const struct capture *capture = live->streams[read->standard_error];
	size_t len = 0;
	char *copy;

	if (capture != NULL && read->offset < capture->content.len)
		len = capture->content.len - (size_t)read->offset;
	if (len == 0 && !live->ended)
		return false;
	if (len > read->limit)
		len = read->limit;
	if (len > LIVE_OUTPUT_PIECE_MAX)
		len = LIVE_OUTPUT_PIECE_MAX;
	copy = xmalloc(len + 1);
	if (len > 0)
		memcpy(copy, capture->content.data + read->offset, len);
	*data = (struct str){copy, len};
	return true;
}

/* Under the lock: moves those that can be answered to answers. */
static void
take_answers(struct live_output *live, struct waiting_reads *answers)
{
	struct waiting_reads left = STAILQ_HEAD_INITIALIZER(left);
	struct waiting_read *waiting;

	while ((waiting = STAILQ_FIRST(&live->waiting)) != NULL) {
		STAILQ_REMOVE_HEAD(&live->waiting, link);
		if (find_answer(live, &waiting->read, &waiting->data)) {
			STAILQ_INSERT_TAIL(answers, waiting, link);
			live->waiting_count--;
		} else {
			STAILQ_INSERT_TAIL(&left, waiting, link);
		}
	}
	STAILQ_CONCAT(&live->waiting, &left);
}

static void
give_answers(const struct live_output *live, struct waiting_reads *answers)
{
	struct waiting_read *waiting;

	while ((waiting = STAILQ_FIRST(answers)) != NULL) {
		STAILQ_REMOVE_HEAD(answers, link);
		live->answer(live->cookie, waiting->read.id, waiting->data);
		free((char *)(uintptr_t)waiting->data.data);
		free(waiting);
	}
}

void
live_output_begin(struct live_output *live, const struct capture *output,
    const struct capture *errors)
{
	pthread_mutex_lock(&live->lock);
	live->streams[0] = output;
	live->streams[1] = errors;
	pthread_mutex_unlock(&live->lock);
}

void
live_output_grown(struct live_output *live)
{
	struct waiting_reads answers = STAILQ_HEAD_INITIALIZER(answers);

	pthread_mutex_lock(&live->lock);
	take_answers(live, &answers);
	pthread_mutex_unlock(&live->lock);
	give_answers(live, &answers);
}

void
live_output_end(struct live_output *live)
{
	struct waiting_reads answers = STAILQ_HEAD_INITIALIZER(answers);

	pthread_mutex_lock(&live->lock);
	live->ended = true;
	take_answers(live, &answers);
	live->streams[0] = live->streams[1] = NULL;
	pthread_mutex_unlock(&live->lock);
	give_answers(live, &answers);
}

bool
live_output_read(
    struct live_output *live, const struct output_read *read, struct str *data)
{
	struct waiting_read *waiting;
	bool known = true;

	pthread_mutex_lock(&live->lock);
	if (!find_answer(live, read, data)) {
		known = live->waiting_count == LIVE_OUTPUT_READS_MAX;
		if (known) {
			*data = (struct str){xcalloc(1, 1), 0};
		} else {
			waiting = xcalloc(1, sizeof(*waiting));
			waiting->read = *read;
			STAILQ_INSERT_TAIL(&live->waiting, waiting, link);
			live->waiting_count++;
		}
	}
	pthread_mutex_unlock(&live->lock);
	return known;
}

bool
live_output_withdraw(struct live_output *live, uint64_t read_id)
{
	struct waiting_read *waiting;

	pthread_mutex_lock(&live->lock);
	STAILQ_FOREACH(waiting, &live->waiting, link)
	{
		if (waiting->read.id != read_id)
			continue;
		STAILQ_REMOVE(&live->waiting, waiting, waiting_read, link);
		live->waiting_count--;
		break;
	}
	pthread_mutex_unlock(&live->lock);
	free(waiting);
	return waiting != NULL;
}
