/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Administration: a service around cas/admin.h. Every method runs on the pool,
 * since each may wait for the disk; a collection holds its thread until it is
 * done.
 */
#include "frontend/admin.h"

#include "base/error.h"
#include "cas/admin.h"
#include "frontend/method_table.h"
#include "frontend/unary_call.h"
#include "rpc/call.h"

static int
admin_check_peer(struct rpc_call *call, struct error *err)
{
	static const struct str local[] = {{"unix:", 5}, {"ipv4:127.", 9},
	    {"ipv6:%5B::1%5D", 14}, {"ipv6:[::1]", 10}};
	struct str peer = rpc_call_peer(call);

	for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++) {
		if (str_starts_with(peer, local[i]))
			return 0;
	}
	return error_set(err, ERROR_PERMISSION_DENIED,
	    "the store is administered from the server's own machine only");
}

static int
admin_run(struct unary_call *call, struct error *err)
{
	const struct admin_method *method =
	    admin_method_find(rpc_call_path(call->rpc));
	const ProtobufCMessage *request, *response;

	request = unary_call_unpack(call, method->request, err);
	if (request == NULL)
		return -1;
	response =
	    method->run(call->service, request, rpc_call_arena(call->rpc), err);
	if (response == NULL)
		return -1;
	rpc_call_reply_packed(call->rpc, response);
	return 0;
}

static void
admin_start(struct rpc_call *call, void *target)
{
	struct error err;

	if (admin_check_peer(call, &err) < 0)
		rpc_call_finish(call, &err);
	else
		unary_call_submit(call, target, admin_run);
}

void
admin_add(struct method_table *table, struct admin_target *target)
{
	const struct admin_method *method;

	for (size_t i = 0; (method = admin_method_at(i)) != NULL; i++)
		method_table_add(table, (struct rpc_method){method->path,
					    RPC_UNARY, admin_start, target});
}
