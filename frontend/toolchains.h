/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service toolroot.toolchain.v1.Toolchains: names for toolchains in the
 * store. It has no state but the store's, so there is nothing to free.
 */
#ifndef TOOLROOT_FRONTEND_TOOLCHAINS_H
#define TOOLROOT_FRONTEND_TOOLCHAINS_H

struct method_table;
struct storage;

void toolchains_add(struct method_table *table, struct storage *storage);

#endif
