/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `toolroot doctor`: this machine. Whether actions can be fenced in here and
 * their limits hold, room on the disks that we write to, the clock. Needs a
 * process with one thread, before gRPC: it forks.
 */
#ifndef TOOLROOT_WORKER_DOCTOR_HOST_H
#define TOOLROOT_WORKER_DOCTOR_HOST_H

struct doctor_report;

void doctor_host(struct doctor_report *report);

#endif
