/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --host-root: which directories of the host an action sees, read-only, when
 * the operator asks for it. Not hermetic: what they hold is in no digest. The
 * spawner and the worker read the same list. Any thread.
 */
#ifndef TOOLROOT_WORKER_HOST_ROOT_H
#define TOOLROOT_WORKER_HOST_ROOT_H

#include <stddef.h>

#define HOST_ROOT_MAX 8
#define HOST_ROOT_TARGET_MAX 64

struct host_root_entry {
	const char *name; /* below "/" */
	/* On a host with merged /usr, /bin and others are links: what they
	 * point to; "" for a directory, which is to be mounted. */
	char target[HOST_ROOT_TARGET_MAX];
};

/* Fills entries with what exists of usr, bin, sbin, lib*, etc; returns how
 * many. */
size_t host_root_list(struct host_root_entry entries[static HOST_ROOT_MAX]);

#endif
