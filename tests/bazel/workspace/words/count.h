/* SPDX-License-Identifier: Apache-2.0 */
/* Counts the words of a text that are worth counting. */
#ifndef WORDS_COUNT_H
#define WORDS_COUNT_H

#ifdef __cplusplus
extern "C" {
#endif

int count_words(const char *text);

#ifdef __cplusplus
}
#endif

#endif
