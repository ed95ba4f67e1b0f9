/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must be removed and added to turn one sequence of texts into another:
 * the arguments of a command, the lines of a file. A longest common
 * subsequence, after what is equal at both ends; past a bound on the work all
 * between the ends counts as replaced, which is still true. Pure, any thread.
 */
#ifndef TOOLROOT_BASE_SEQUENCE_DIFF_H
#define TOOLROOT_BASE_SEQUENCE_DIFF_H

#include <stddef.h>

#include "base/str.h"

struct sequence {
	const struct str *items;
	size_t count;
};

enum sequence_edit { SEQUENCE_KEEP, SEQUENCE_REMOVE, SEQUENCE_ADD };

struct sequence_step {
	enum sequence_edit edit;
	size_t before; /* position there, of KEEP and REMOVE */
	size_t after;  /* position there, of KEEP and ADD */
};

/* The steps in order, all KEEPs too; malloced. Removals stand before the
 * additions in their place. */
struct sequence_step *sequence_diff(
    const struct sequence *before, const struct sequence *after, size_t *count);

#endif
