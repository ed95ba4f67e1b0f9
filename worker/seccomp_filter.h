/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls an action may not make. Compiled to BPF once, by the
 * spawner; installed by each action's process before it executes.
 *
 * Refused with EPERM: changing mounts and namespaces, keyrings, BPF, io_uring,
 * userfaultfd, perf, file handles, kernel modules, clocks, swap, reboot, and
 * address families that no network namespace confines (vsock) or that only
 * widen the attack surface (AF_ALG). clone3 answers ENOSYS, since a filter
 * cannot see its flags; the C library then falls back to clone, whose
 * namespace flags are refused. ptrace stays: a process sees none but those of
 * its own action, and leak checkers and debuggers in tests need it.
 */
#ifndef TOOLROOT_WORKER_SECCOMP_FILTER_H
#define TOOLROOT_WORKER_SECCOMP_FILTER_H

#include <linux/filter.h>

struct error;

/* program->filter is allocated and lives as long as the process. */
int seccomp_filter_build(struct sock_fprog *program, struct error *err);
/* Async-signal-safe. Needs no_new_privs. -1 with errno. */
int seccomp_filter_install(const struct sock_fprog *program);

#endif
