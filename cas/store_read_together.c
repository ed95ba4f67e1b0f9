/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading many small blobs. What was uploaded together lies together in a
 * segment, as a rule, so neighbours are read as one run. Any thread.
 */
#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "cas/store_segment.h"

/* Bytes between two records that are rather read than skipped. */
#define GAP_MAX ((uint64_t)4096)
/* Bytes of one run. */
#define RUN_MAX ((uint64_t)256 << 10)

struct record {
	size_t number; /* of the blob, as asked for */
	const struct place *place;
};

struct together {
	struct store *store;
	const struct digest *digests;
	struct store_part *parts;
	struct buffer *content;
	struct record records[STORE_TOGETHER_MAX]; /* in the order of reading */
	size_t count;
};

static uint64_t
end_of(const struct place *place)
{
	return place->offset + RECORD_HEADER_SIZE + place->stored_size;
}

static int
compare_records(const void *left, const void *right)
{
	const struct place *a = ((const struct record *)left)->place;
	const struct place *b = ((const struct record *)right)->place;

	if (a->segment != b->segment)
		return a->segment < b->segment ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* The end of the run that starts with record first. */
static size_t
run_from(const struct together *together, size_t first)
{
	const struct record *records = together->records;
	uint64_t start = records[first].place->offset;
	uint64_t end = end_of(records[first].place);
	size_t next = first + 1;

	while (next < together->count) {
		const struct place *place = records[next].place;

		/* The same blob may be wanted twice. */
		if (place->segment != records[first].place->segment ||
		    place->offset > end + GAP_MAX ||
		    end_of(place) - start > RUN_MAX)
			break;
		if (end_of(place) > end)
			end = end_of(place);
		next++;
	}
	return next;
}

/* What does not check is left to store_read, which drops it. */
static void
check_record(struct together *together, const struct record *record,
    const char *run, uint64_t start)
{
	size_t offset = (size_t)(record->place->offset - start);
	const uint8_t *header = (const uint8_t *)run + offset;
	struct store_part *part = &together->parts[record->number];
	struct error ignored;

	if (record_check(header, &together->digests[record->number],
		record->place, header + RECORD_HEADER_SIZE, &ignored) < 0)
		return;
	part->found = true;
	part->offset = (size_t)(run - together->content->data) + offset +
		       RECORD_HEADER_SIZE;
}

static void
read_run(struct together *together, size_t first, size_t end)
{
	const struct record *records = together->records;
	struct segment_table *segments = together->store->segments;
	uint64_t start = records[first].place->offset;
	uint64_t len = 0;
	struct segment *segment;
	struct error ignored;
	char *run = NULL;

	for (size_t i = first; i < end; i++)
		if (end_of(records[i].place) - start > len)
			len = end_of(records[i].place) - start;
	if (segment_ref(segments, records[first].place->segment, &segment,
		&ignored) != 1)
		return;
	if (len <= together->content->limit - together->content->len)
		run = buffer_reserve(together->content, (size_t)len);
	if (run != NULL && pread(segment_descriptor(segment), run, (size_t)len,
			       (off_t)start) == (ssize_t)len) {
		for (size_t i = first; i < end; i++)
			check_record(together, &records[i], run, start);
		together->content->len += (size_t)len;
	}
	segment_unref(segments, segment);
}

void
store_read_together(struct store *store, const struct digest *digests,
    size_t count, struct store_part *parts, struct buffer *content)
{
	struct place *places = xcalloc(count + 1, sizeof(*places));
	bool *missing = xcalloc(count + 1, sizeof(*missing));
	struct together *together = xmalloc(sizeof(*together));
	struct error ignored;

	assert(count <= STORE_TOGETHER_MAX);
	together->store = store;
	together->digests = digests;
	together->parts = parts;
	together->content = content;
	together->count = 0;
	if (store_find_places(
		store, digests, count, missing, places, &ignored) < 0)
		memset(missing, 1, count * sizeof(*missing));
	for (size_t i = 0; i < count; i++) {
		parts[i] = (struct store_part){.found = false};
		if (digest_is_empty(&digests[i]))
			parts[i].found = true;
		else if (!missing[i] && places[i].kind == PLACE_SEGMENT &&
			 places[i].encoding == ENCODING_IDENTITY)
			together->records[together->count++] =
			    (struct record){i, &places[i]};
	}
	qsort(together->records, together->count, sizeof(struct record),
	    compare_records);
	for (size_t first = 0, end; first < together->count; first = end) {
		end = run_from(together, first);
		read_run(together, first, end);
	}
	free(together);
	free(missing);
	free(places);
}
