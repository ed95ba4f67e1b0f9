/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A number of bytes that may be in use at once, shared by all requests: taken
 * before memory is, given back afterwards. Any thread, no lock.
 */
#ifndef TOOLROOT_BASE_BUDGET_H
#define TOOLROOT_BASE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct budget {
	uint64_t limit;
	_Atomic uint64_t used;
};

static inline void
budget_init(struct budget *budget, uint64_t limit)
{
	budget->limit = limit;
	atomic_init(&budget->used, 0);
}

/* False, and nothing taken, when it would pass the limit. */
static inline bool
budget_take(struct budget *budget, uint64_t bytes)
{
	uint64_t used = atomic_load(&budget->used);

	do {
		if (bytes > budget->limit || used > budget->limit - bytes)
			return false;
	} while (
	    !atomic_compare_exchange_weak(&budget->used, &used, used + bytes));
	return true;
}

static inline void
budget_give(struct budget *budget, uint64_t bytes)
{
	atomic_fetch_sub(&budget->used, bytes);
}

#endif
