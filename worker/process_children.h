/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The children of this process, those included that became ours when their
 * parents ended (PR_SET_CHILD_SUBREAPER). For processes of one thread.
 */
#ifndef TOOLROOT_WORKER_PROCESS_CHILDREN_H
#define TOOLROOT_WORKER_PROCESS_CHILDREN_H

#include <sys/types.h>

/* Calls each for every child; none where the kernel does not tell
 * (CONFIG_PROC_CHILDREN). */
void process_children_each(
    void (*each)(void *cookie, pid_t child), void *cookie);

#endif
