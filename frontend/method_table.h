/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of methods that the server answers: each service adds its own, and
 * serve hands the whole to rpc_server_new. For the start of the program.
 */
#ifndef TOOLROOT_FRONTEND_METHOD_TABLE_H
#define TOOLROOT_FRONTEND_METHOD_TABLE_H

#include <assert.h>

#include "rpc/server.h"

#define METHOD_TABLE_MAX 64

struct method_table {
	struct rpc_method items[METHOD_TABLE_MAX];
	size_t count;
};

static inline void
method_table_add(struct method_table *table, struct rpc_method method)
{
	/* The services are compiled in: more of them need a larger table. */
	assert(table->count < METHOD_TABLE_MAX);
	table->items[table->count++] = method;
}

#endif
