/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing list of digests with a limit, and a set view of it. One thread at
 * a time.
 */
#ifndef TOOLROOT_CAS_DIGEST_LIST_H
#define TOOLROOT_CAS_DIGEST_LIST_H

#include "cas/digest.h"

struct digest_list {
	struct digest *items; /* owned */
	size_t count;
	size_t capacity;
	size_t limit;
};

void digest_list_init(struct digest_list *list, size_t limit);
void digest_list_clear(struct digest_list *list);
/* 0, or -1 at the limit. */
int digest_list_add(struct digest_list *list, const struct digest *digest)
    __attribute__((warn_unused_result));
/* Sorts (digest_compare) and removes what stands twice. */
void digest_list_unique(struct digest_list *list);

#endif
