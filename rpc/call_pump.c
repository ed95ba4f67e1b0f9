/* SPDX-License-Identifier: Apache-2.0 */
/* Any thread; the one that turned `running` on is the pump. */
#include "rpc/call_pump.h"

void
call_pump_ref(struct call_pump *pump)
{
	atomic_fetch_add(&pump->references, 1);
}

void
call_pump_unref(struct call_pump *pump)
{
	if (atomic_fetch_sub(&pump->references, 1) != 1)
		return;
	pthread_mutex_destroy(&pump->lock);
	pump->type->free(pump);
}

/* Under the lock, which it releases, with `running` on. */
static void
pump_loop(struct call_pump *pump)
{
	bool done;

	call_pump_ref(pump); /* the end gives up the call's */
	pump->again = true;
	while (pump->again && !pump->ended) {
		pump->again = false;
		pthread_mutex_unlock(&pump->lock);
		done = pump->type->step(pump);
		pthread_mutex_lock(&pump->lock);
		pump->again |= done;
	}
	pump->running = false;
	pthread_mutex_unlock(&pump->lock);
	call_pump_unref(pump);
}

/* Under the lock, which it releases. */
static void
pump_poke(struct call_pump *pump)
{
	pump->again = true;
	if (pump->running) {
		pthread_mutex_unlock(&pump->lock);
		return;
	}
	pump->running = true;
	pump_loop(pump);
}

void
call_pump_run(struct call_pump *pump)
{
	pthread_mutex_lock(&pump->lock);
	pump_poke(pump);
}

void
call_pump_set(struct call_pump *pump, bool *flag)
{
	pthread_mutex_lock(&pump->lock);
	*flag = true;
	pump_poke(pump);
}

static void
pump_cancelled(struct rpc_call *call, void *cookie)
{
	struct call_pump *pump = cookie;

	(void)call;
	call_pump_set(pump, &pump->cancelled);
}

static void
pump_sent(struct rpc_call *call, bool ok, void *cookie)
{
	struct call_pump *pump = cookie;

	(void)call;
	pthread_mutex_lock(&pump->lock);
	pump->sending = false;
	pump->cancelled |= !ok;
	pump_poke(pump);
}

void
call_pump_init(struct call_pump *pump, const struct call_pump_type *type,
    struct rpc_call *call)
{
	*pump = (struct call_pump){.type = type, .call = call, .running = true};
	atomic_init(&pump->references, 1);
	pthread_mutex_init(&pump->lock, NULL);
	rpc_call_on_cancel(call, pump_cancelled, pump);
}

void
call_pump_start(struct call_pump *pump)
{
	pthread_mutex_lock(&pump->lock);
	pump_loop(pump);
}

void
call_pump_send(struct call_pump *pump, struct rpc_message *message)
{
	pthread_mutex_lock(&pump->lock);
	pump->sending = true;
	pthread_mutex_unlock(&pump->lock);
	rpc_call_send(pump->call, message, pump_sent, pump);
}

static void
pump_end(struct call_pump *pump)
{
	pthread_mutex_lock(&pump->lock);
	pump->ended = true;
	pthread_mutex_unlock(&pump->lock);
}

void
call_pump_reply(struct call_pump *pump, struct rpc_message *message)
{
	pump_end(pump);
	rpc_call_reply(pump->call, message);
	call_pump_unref(pump);
}

void
call_pump_finish(struct call_pump *pump, const struct error *err)
{
	pump_end(pump);
	rpc_call_finish(pump->call, err);
	call_pump_unref(pump);
}

void
call_pump_finish_status(
    struct call_pump *pump, const struct GrpcStatus__Status *status)
{
	pump_end(pump);
	rpc_call_finish_status(pump->call, status);
	call_pump_unref(pump);
}
