/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What somebody who mistyped a word may have meant, for error texts. Pure.
 */
#ifndef TOOLROOT_BASE_NEAREST_WORD_H
#define TOOLROOT_BASE_NEAREST_WORD_H

#include <stddef.h>

#include "base/str.h"

/* The best candidate so far; begin with {.word = typed}, offer each word that
 * would have been valid, then read nearest. */
struct nearest_word {
	struct str word;     /* as it was typed; borrowed */
	const char *nearest; /* borrowed from the candidates; NULL: none is */
	size_t distance;     /* of nearest: characters to change */
};

/* A candidate counts when the typed word begins it or at most a third of its
 * characters differ (one at least). */
void nearest_word_offer(struct nearest_word *search, const char *candidate);

#endif
