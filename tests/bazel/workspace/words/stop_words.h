/* SPDX-License-Identifier: Apache-2.0 */
/* The words that are not worth counting; the table is generated. */
#ifndef WORDS_STOP_WORDS_H
#define WORDS_STOP_WORDS_H

extern const char *const stop_words[]; /* ends in NULL */

#endif
