/* SPDX-License-Identifier: Apache-2.0 */
/* One record with all of them, 24 bytes each: docs/store-format.md. */
#include "cas/collection_past.h"

#include <string.h>

#include "base/error.h"
#include "cas/little_endian.h"
#include "cas/records.h"

#define PREFIX "collections/"
#define KEY "last"
#define EVENT_SIZE 24
/* Ages are known to ten minutes. */
#define GRAIN_NS (INT64_C(600) * 1000000000)

/* False when it cannot have been written by collection_past_add: it is
 * damaged. */
static bool
event_decode(const uint8_t *in, struct collection_event *event)
{
	uint64_t time_ns = little_endian_get64(in);
	uint64_t age_ms = little_endian_get64(in + 8);
	uint64_t reason = little_endian_get64(in + 16);

	if (time_ns > INT64_MAX - GRAIN_NS || age_ms > INT64_MAX / 1000000 ||
	    reason < COLLECTION_BY_SIZE || reason > COLLECTION_BY_AGE)
		return false;
	*event = (struct collection_event){.time_ns = (int64_t)time_ns,
	    .youngest_age_ms = (int64_t)age_ms,
	    .reason = (enum collection_reason)reason};
	return true;
}

static int
load(void *cookie, const struct record *record, struct error *err)
{
	struct collection_past *past = cookie;
	const uint8_t *in = (const uint8_t *)record->value.data;
	size_t count = record->value.len / EVENT_SIZE;

	(void)err;
	if (!str_equal(record->key, STR(KEY)) || count > COLLECTION_PAST_MAX ||
	    record->value.len % EVENT_SIZE != 0)
		return 0;
	for (size_t i = 0; i < count; i++, in += EVENT_SIZE)
		past->count += event_decode(in, &past->events[past->count]);
	return 0;
}

void
collection_past_load(struct collection_past *past, struct store *store)
{
	struct error ignored;

	past->count = 0;
	if (records_each(store, PREFIX, load, past, &ignored) < 0)
		past->count = 0;
}

int
collection_past_add(struct collection_past *past, struct store *store,
    const struct collection_event *event, struct error *err)
{
	uint8_t out[COLLECTION_PAST_MAX * EVENT_SIZE];
	struct record record = {.key = STR(KEY)};

	if (past->count == COLLECTION_PAST_MAX)
		memmove(past->events, past->events + 1,
		    --past->count * sizeof(*past->events));
	past->events[past->count++] = *event;
	for (size_t i = 0; i < past->count; i++) {
		uint8_t *at = out + i * EVENT_SIZE;

		little_endian_put64(at, (uint64_t)past->events[i].time_ns);
		little_endian_put64(
		    at + 8, (uint64_t)past->events[i].youngest_age_ms);
		little_endian_put64(at + 16, (uint64_t)past->events[i].reason);
	}
	record.value =
	    (struct str){(const char *)out, past->count * EVENT_SIZE};
	return records_write(store, PREFIX, &record, 1, err);
}

bool
collection_past_find(const struct collection_past *past, int64_t used_ns,
    struct collection_event *event)
{
	for (size_t i = 0; i < past->count; i++) {
		const struct collection_event *each = &past->events[i];
		int64_t youngest_ns = each->youngest_age_ms * 1000000;

		if (each->time_ns <= used_ns ||
		    each->time_ns - used_ns + GRAIN_NS < youngest_ns)
			continue;
		*event = *each;
		return true;
	}
	return false;
}
