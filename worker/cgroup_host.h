/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where this process's own control groups are in the file system, from what
 * the kernel tells in /proc (cgroups(7), proc_pid_mountinfo(5)). Pure.
 */
#ifndef TOOLROOT_WORKER_CGROUP_HOST_H
#define TOOLROOT_WORKER_CGROUP_HOST_H

#include <limits.h>

#include "base/str.h"
#include "worker/cgroup.h"

struct cgroup_host {
	/* Directory of the group that we are in, for each controller; "" where
	 * it is not to be seen. */
	char v1[CGROUP_CONTROLLERS][PATH_MAX];
	char v2[PATH_MAX];
};

/* groups: /proc/self/cgroup, mounts: /proc/self/mountinfo. */
void cgroup_host_parse(
    struct cgroup_host *host, struct str groups, struct str mounts);

#endif
