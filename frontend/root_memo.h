/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which toolchain trees were found whole in the store a short while ago: a
 * walk over a large one takes far longer than the rest of an Execute call, and
 * every action of a build names the same. What is remembered here may have
 * gone meanwhile; then the worker misses it and says so. The walk renews the
 * minimum age of all blobs, so ROOT_MEMO_MS must be well below any sensible
 * min_age. Any thread.
 */
#ifndef TOOLROOT_FRONTEND_ROOT_MEMO_H
#define TOOLROOT_FRONTEND_ROOT_MEMO_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "cas/digest.h"

#define ROOT_MEMO_MS 60000
/* The one checked the longest ago makes room. */
#define ROOT_MEMO_MAX 64

struct root_memo {
	pthread_mutex_t lock; /* guards all below */
	struct {
		struct digest root;
		int64_t checked_ms;
	} items[ROOT_MEMO_MAX];
	size_t count;
};

void root_memo_init(struct root_memo *memo);
void root_memo_clear(struct root_memo *memo);
/* Whether the tree was whole within the last ROOT_MEMO_MS. */
bool root_memo_has(
    struct root_memo *memo, const struct digest *root, int64_t now_ms);
void root_memo_add(
    struct root_memo *memo, const struct digest *root, int64_t now_ms);

#endif
