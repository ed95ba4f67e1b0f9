/* SPDX-License-Identifier: Apache-2.0 */
/* Edit distance, one row at a time. */
#include "base/nearest_word.h"

#include <stdbool.h>
#include <string.h>

#define WORD_MAX 64

static size_t
smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Characters to insert, remove or replace; both at most WORD_MAX long. */
static size_t
distance(struct str a, struct str b)
{
	size_t row[WORD_MAX + 1];

	for (size_t k = 0; k <= b.len; k++)
		row[k] = k;
	for (size_t i = 1; i <= a.len; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t k = 1; k <= b.len; k++) {
			size_t above = row[k];
			size_t replaced =
			    diagonal + (a.data[i - 1] != b.data[k - 1]);

			row[k] =
			    smaller(replaced, smaller(above, row[k - 1]) + 1);
			diagonal = above;
		}
	}
	return row[b.len];
}

void
nearest_word_offer(struct nearest_word *search, const char *candidate)
{
	struct str other = str_from(candidate);
	size_t allowed = other.len < 6 ? 1 : other.len / 3;
	size_t apart;

	if (search->word.len == 0 || search->word.len > WORD_MAX ||
	    other.len > WORD_MAX)
		return;
	apart = distance(search->word, other);
	if (apart > allowed && !str_starts_with(other, search->word))
		return;
	if (search->nearest != NULL && search->distance <= apart)
		return;
	search->nearest = candidate;
	search->distance = apart;
}
