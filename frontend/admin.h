/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service toolroot.admin.v1.Admin: collections and pins, for callers on
 * this machine. It has no state but the store's and the collector's.
 */
#ifndef TOOLROOT_FRONTEND_ADMIN_H
#define TOOLROOT_FRONTEND_ADMIN_H

struct collector;
struct method_table;
struct store;

/* Where the service finds its parts; the collector comes after the methods, so
 * it is set before the server starts. */
struct admin_service {
	struct store *store;
	struct collector *collector;
};

/* service is borrowed. */
void admin_add(struct method_table *table, struct admin_service *service);

#endif
