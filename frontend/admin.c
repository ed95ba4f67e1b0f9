/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Administration: a service around cas/admin.h. Every method runs on the pool,
 * since each may wait for the disk; a collection holds its thread until it is
 * done.
 */
#include "frontend/admin.h"

#include "base/arena.h"
#include "base/error.h"
#include "cas/admin.h"
#include "frontend/method_table.h"
#include "rpc/call.h"
#include "rpc/message.h"

/* In the call's arena. */
struct admin_call {
	struct task task; /* first */
	struct rpc_call *call;
	const struct admin_target *target;
};

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

static void
admin_task(struct task *task)
{
	const struct admin_call *admin = (const struct admin_call *)task;
	const struct admin_method *method =
	    admin_method_find(rpc_call_path(admin->call));
	struct arena *arena = rpc_call_arena(admin->call);
	const ProtobufCMessage *request, *response = NULL;
	struct error err;

	request = rpc_message_unpack(
	    rpc_call_request(admin->call), method->request, arena, &err);
	if (request != NULL)
		response = method->run(admin->target, request, arena, &err);
	if (response != NULL)
		rpc_call_reply_packed(admin->call, response);
	else
		rpc_call_finish(admin->call, &err);
}

static void
admin_start(struct rpc_call *call, void *target)
{
	struct admin_call *admin;
	struct error err;

	if (admin_check_peer(call, &err) < 0) {
		rpc_call_finish(call, &err);
		return;
	}
	admin = arena_zalloc(rpc_call_arena(call), 1, sizeof(*admin));
	if (admin == NULL) {
		error_set(&err, ERROR_RESOURCE_EXHAUSTED,
		    "the call's memory is used up");
		rpc_call_finish(call, &err);
		return;
	}
	admin->task.run = admin_task;
	admin->call = call;
	admin->target = target;
	rpc_call_submit(call, &admin->task);
}

void
admin_add(struct method_table *table, struct admin_target *target)
{
	const struct admin_method *method;

	for (size_t i = 0; (method = admin_method_at(i)) != NULL; i++)
		method_table_add(table, (struct rpc_method){method->path,
					    RPC_UNARY, admin_start, target});
}
