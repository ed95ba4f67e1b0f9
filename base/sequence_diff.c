/* SPDX-License-Identifier: Apache-2.0 */
/* A table of the lengths of common subsequences, from the ends backwards. */
#include "base/sequence_diff.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/memory.h"

/* 4 bytes each. */
#define CELLS_MAX ((size_t)1 << 20)

struct difference {
	const struct str *before;
	const struct str *after;
	size_t start;      /* equal items at the start */
	size_t before_end; /* what lies between is compared */
	size_t after_end;
	struct sequence_step *steps;
	size_t count;
};

static void
add_step(struct difference *difference, enum sequence_edit edit, size_t before,
    size_t after)
{
	difference->steps[difference->count++] =
	    (struct sequence_step){edit, before, after};
}

/* lengths[i * width + j]: of what is common to before from start + i on and
 * after from start + j on. */
static uint32_t *
fill_table(const struct difference *d, size_t rows, size_t columns)
{
	size_t width = columns + 1;
	uint32_t *lengths = xcalloc((rows + 1) * width, sizeof(*lengths));

	for (size_t i = rows; i-- > 0;) {
		for (size_t j = columns; j-- > 0;) {
			uint32_t *cell = &lengths[i * width + j];
			uint32_t below = cell[width], right = cell[1];

			if (str_equal(d->before[d->start + i],
				d->after[d->start + j]))
				*cell = cell[width + 1] + 1;
			else
				*cell = below > right ? below : right;
		}
	}
	return lengths;
}

static void
walk_table(struct difference *d, size_t rows, size_t columns)
{
	uint32_t *lengths = fill_table(d, rows, columns);
	size_t width = columns + 1;
	size_t i = 0, j = 0;

	while (i < rows || j < columns) {
		const uint32_t *cell = &lengths[i * width + j];

		if (i < rows && j < columns &&
		    str_equal(d->before[d->start + i], d->after[d->start + j]))
			add_step(
			    d, SEQUENCE_KEEP, d->start + i++, d->start + j++);
		else if (i < rows && (j == columns || cell[width] >= cell[1]))
			add_step(
			    d, SEQUENCE_REMOVE, d->start + i++, d->start + j);
		else
			add_step(d, SEQUENCE_ADD, d->start + i, d->start + j++);
	}
	free(lengths);
}

static void
replace_all(struct difference *d)
{
	for (size_t i = d->start; i < d->before_end; i++)
		add_step(d, SEQUENCE_REMOVE, i, d->start);
	for (size_t j = d->start; j < d->after_end; j++)
		add_step(d, SEQUENCE_ADD, d->before_end, j);
}

struct sequence_step *
sequence_diff(
    const struct sequence *before, const struct sequence *after, size_t *count)
{
	struct difference d = {
	    .before = before->items,
	    .after = after->items,
	    .before_end = before->count,
	    .after_end = after->count,
	};
	size_t rows, columns;

	d.steps = xcalloc(before->count + after->count + 1, sizeof(*d.steps));
	while (d.start < d.before_end && d.start < d.after_end &&
	       str_equal(d.before[d.start], d.after[d.start])) {
		add_step(&d, SEQUENCE_KEEP, d.start, d.start);
		d.start++;
	}
	while (
	    d.before_end > d.start && d.after_end > d.start &&
	    str_equal(d.before[d.before_end - 1], d.after[d.after_end - 1])) {
		d.before_end--;
		d.after_end--;
	}
	rows = d.before_end - d.start;
	columns = d.after_end - d.start;
	if (columns < CELLS_MAX && rows + 1 <= CELLS_MAX / (columns + 1))
		walk_table(&d, rows, columns);
	else
		replace_all(&d);
	for (size_t i = 0; d.before_end + i < before->count; i++)
		add_step(&d, SEQUENCE_KEEP, d.before_end + i, d.after_end + i);
	*count = d.count;
	return d.steps;
}
