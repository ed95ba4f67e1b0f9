/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service toolroot.admin.v1.Admin (cas/admin.h), for callers on this
 * machine. It has no state of its own.
 */
#ifndef TOOLROOT_FRONTEND_ADMIN_H
#define TOOLROOT_FRONTEND_ADMIN_H

struct admin_target;
struct method_table;

/* target is borrowed; its collector comes after the methods, and is set before
 * the server starts. */
void admin_add(struct method_table *table, struct admin_target *target);

#endif
