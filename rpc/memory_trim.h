/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When what the allocator holds free goes back to the kernel. That takes tens
 * of milliseconds, in which others of the process wait for memory, so it is
 * done when it helps: at once while memory is short, when nothing is under way,
 * and else what was free for some seconds. Of a process that takes again what
 * it gave back it is asked less and less often, up to every five minutes.
 *
 * One thread: the memory guard's.
 */
#ifndef TOOLROOT_RPC_MEMORY_TRIM_H
#define TOOLROOT_RPC_MEMORY_TRIM_H

#include <stdint.h>

struct memory_trim {
	int memory; /* process_memory_open; the owner's */
	/* While memory is short. */
	int64_t short_ms;     /* when it was done last */
	uint64_t short_after; /* the process's memory then */
	/* While it is not. */
	int64_t looked_ms;
	unsigned looks;  /* in a row that found something free */
	unsigned wanted; /* of them before it goes back */
	uint64_t after;  /* the process's memory then; 0: it never went back */
	uint64_t given;
};

void memory_trim_init(struct memory_trim *trim, int memory);
/* Nothing is under way. */
void memory_trim_idle(struct memory_trim *trim);
/* More anonymous memory than the limit; call it as often as you look. */
void memory_trim_short(
    struct memory_trim *trim, uint64_t anonymous, uint64_t limit);
/* Less than the limit; call it as often as you look. */
void memory_trim_spare(struct memory_trim *trim, uint64_t anonymous);

#endif
