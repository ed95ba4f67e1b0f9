/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker process's part of the cache directory: the first of worker-0,
 * worker-1, ... that no living process holds, so that several workers may be
 * given one directory and each finds its own store again.
 */
#ifndef TOOLROOT_WORKER_WORKER_CACHE_H
#define TOOLROOT_WORKER_WORKER_CACHE_H

struct error;

/* The path, allocated; *lock_fd holds it until closed. NULL on error. */
char *worker_cache_claim(const char *cache, int *lock_fd, struct error *err);

#endif
