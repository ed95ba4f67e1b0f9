/* SPDX-License-Identifier: Apache-2.0 */
/* Takes a text apart into words. */
#ifndef WORDS_SPLIT_H
#define WORDS_SPLIT_H

#include "words/buffer.h"

/*
 * Puts the next word of *text into word and moves *text behind it.
 * Returns 1, or 0 at the end of the text.
 */
int split_next(const char **text, struct buffer *word);

#endif
