/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a member to what holds it: callbacks get the timer, task or heap node
 * that they were set with, which lies in a structure of their owner's.
 */
#ifndef TOOLROOT_BASE_CONTAINER_H
#define TOOLROOT_BASE_CONTAINER_H

#include <stddef.h>

/* pointer: to the member, of its type or void; is not NULL. The address of the
 * member is there for the compiler alone, to compare the types. */
#define CONTAINER_OF(pointer, type, member) \
	((type *)(void *)((char *)(1 ? (pointer) : &((type *)0)->member) - \
			  offsetof(type, member)))

#endif
