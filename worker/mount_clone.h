/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files and directories as read-only mounts of their own. Needs CAP_SYS_ADMIN
 * in the user namespace of the mounts that they are in. Any thread.
 */
#ifndef TOOLROOT_WORKER_MOUNT_CLONE_H
#define TOOLROOT_WORKER_MOUNT_CLONE_H

struct error;
struct fd_message;

/* Appends to out a detached mount of what each descriptor of in is, which stays
 * the caller's. On error out has those that were made. */
int mount_clone(
    const struct fd_message *in, struct fd_message *out, struct error *err);

#endif
