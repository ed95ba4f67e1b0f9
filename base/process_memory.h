/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of this process, as the kernel and the allocator count it. Any
 * thread.
 */
#ifndef TOOLROOT_BASE_PROCESS_MEMORY_H
#define TOOLROOT_BASE_PROCESS_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

/* Bytes. */
struct process_memory {
	uint64_t virtual;   /* address space */
	uint64_t resident;  /* in RAM, mapped files included */
	uint64_t anonymous; /* of that, what no file backs */
};

/* A descriptor for process_memory_read, so that it needs none when there are no
 * more; -1: there is no /proc. The caller closes it. */
int process_memory_open(void);
/* Cheap: a few microseconds. False when it cannot be read. */
bool process_memory_read(int source, struct process_memory *memory);
/* Bytes that the program has from the allocator; it walks the free pieces,
 * which may take milliseconds. Nothing in a sanitizer build. */
uint64_t process_memory_allocated(void);
/* Gives what is free inside the allocator back to the kernel: tens of
 * milliseconds, in which others wait for memory. */
void process_memory_trim(void);

#endif
