/* SPDX-License-Identifier: Apache-2.0 */
/* Hunks over the steps of a sequence difference. */
#include "client/text_diff.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "base/sequence_diff.h"

#define CONTEXT 3

/* Lines keep their newline; the last may lack it. */
static struct sequence
split_lines(struct str text)
{
	size_t count = 0, capacity = 64;
	struct str *lines = xcalloc(capacity, sizeof(*lines));

	while (text.len > 0) {
		const char *end = memchr(text.data, '\n', text.len);
		size_t len =
		    end != NULL ? (size_t)(end - text.data) + 1 : text.len;

		if (count == capacity) {
			capacity *= 2;
			lines = xreallocarray(lines, capacity, sizeof(*lines));
		}
		lines[count++] = (struct str){text.data, len};
		text.data += len;
		text.len -= len;
	}
	return (struct sequence){lines, count};
}

struct hunk {
	size_t start; /* steps [start, end) */
	size_t end;
	size_t lines[2]; /* before, after */
};

/* The next hunk from *at on, with its context; false after the last. */
static bool
next_hunk(const struct sequence_step *steps, size_t count, size_t *at,
    struct hunk *hunk)
{
	size_t i = *at, last;

	while (i < count && steps[i].edit == SEQUENCE_KEEP)
		i++;
	if (i == count)
		return false;
	*hunk = (struct hunk){.start = i > *at + CONTEXT ? i - CONTEXT : *at};
	for (last = i; i < count && i <= last + 2 * CONTEXT; i++) {
		if (steps[i].edit != SEQUENCE_KEEP)
			last = i;
	}
	hunk->end = last + 1 + CONTEXT < count ? last + 1 + CONTEXT : count;
	for (i = hunk->start; i < hunk->end; i++) {
		hunk->lines[0] += steps[i].edit != SEQUENCE_ADD;
		hunk->lines[1] += steps[i].edit != SEQUENCE_REMOVE;
	}
	*at = hunk->end;
	return true;
}

static int
put_line(struct buffer *out, char sign, struct str line)
{
	if (buffer_append(out, &sign, 1) < 0 ||
	    buffer_append(out, line.data, line.len) < 0)
		return -1;
	if (line.data[line.len - 1] == '\n')
		return 0;
	return buffer_printf(out, "\n\\ No newline at end of file\n");
}

/* diff's rule: an empty range names the line before it. */
static size_t
first_line(size_t position, size_t lines)
{
	return lines > 0 ? position + 1 : position;
}

static int
put_hunk(struct buffer *out, const struct hunk *hunk,
    const struct sequence_step *steps, const struct sequence sides[static 2])
{
	const struct sequence_step *first = &steps[hunk->start];

	if (buffer_printf(out, "@@ -%zu,%zu +%zu,%zu @@\n",
		first_line(first->before, hunk->lines[0]), hunk->lines[0],
		first_line(first->after, hunk->lines[1]), hunk->lines[1]) < 0)
		return -1;
	for (size_t i = hunk->start; i < hunk->end; i++) {
		const struct sequence_step *step = &steps[i];
		int rc;

		if (step->edit == SEQUENCE_ADD)
			rc = put_line(out, '+', sides[1].items[step->after]);
		else
			rc = put_line(out,
			    step->edit == SEQUENCE_KEEP ? ' ' : '-',
			    sides[0].items[step->before]);
		if (rc < 0)
			return -1;
	}
	return 0;
}

int
text_diff_unified(struct str before, struct str after, struct buffer *out)
{
	const struct sequence sides[] = {
	    split_lines(before), split_lines(after)};
	size_t count, at = 0;
	struct sequence_step *steps =
	    sequence_diff(&sides[0], &sides[1], &count);
	struct hunk hunk;
	int rc = 0;

	while (rc == 0 && next_hunk(steps, count, &at, &hunk))
		rc = put_hunk(out, &hunk, steps, sides);
	free(steps);
	free((void *)(uintptr_t)sides[0].items);
	free((void *)(uintptr_t)sides[1].items);
	return rc;
}
