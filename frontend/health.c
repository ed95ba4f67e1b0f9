/* SPDX-License-Identifier: Apache-2.0 */
/* Watchers are the only state with a life: each is a stream with a pump
 * (rpc/call_pump.h) that tells of every change. */
#include "frontend/health.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

#include <grpc/health/v1/health.pb-c.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/str.h"
#include "frontend/method_table.h"
#include "rpc/call.h"
#include "rpc/call_pump.h"
#include "rpc/message.h"

/* More streams than any set of balancers needs. */
#define WATCHERS_MAX 1000
/* The protocol's bound for List. */
#define SERVICES_MAX 100

#define STATUS(name) HEALTH__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

struct watcher {
	struct call_pump pump; /* first */
	struct health_service *service;
	bool known; /* the name it watches is one of ours */
	int sent;   /* the status it was told last, -1 = none yet; the pump's */
	LIST_ENTRY(watcher) link; /* the service's lock */
};

struct health_service {
	/* Constant once the server starts. */
	struct str names[SERVICES_MAX];
	size_t name_count;
	/* Guards what follows. */
	pthread_mutex_t lock;
	bool serving;
	bool stopping;
	LIST_HEAD(, watcher) watchers;
	size_t watcher_count;
};

struct health_service *
health_service_new(void)
{
	struct health_service *service = xcalloc(1, sizeof(*service));

	pthread_mutex_init(&service->lock, NULL);
	LIST_INIT(&service->watchers);
	service->names[service->name_count++] = STR("");
	return service;
}

void
health_service_free(struct health_service *service)
{
	if (service == NULL)
		return;
	pthread_mutex_destroy(&service->lock);
	free(service);
}

static bool
service_known(const struct health_service *service, struct str name)
{
	for (size_t i = 0; i < service->name_count; i++) {
		if (str_equal(service->names[i], name))
			return true;
	}
	return false;
}

void
health_service_show(
    struct health_service *service, const struct method_table *table)
{
	for (size_t i = 0; i < table->count; i++) {
		struct str path = str_from(table->items[i].path + 1);
		struct str name = str_cut(&path, '/');

		if (!service_known(service, name) &&
		    service->name_count < SERVICES_MAX)
			service->names[service->name_count++] = name;
	}
}

/* Under the lock. */
static Health__HealthCheckResponse__ServingStatus
current_status(const struct health_service *service)
{
	return service->serving && !service->stopping ? STATUS(SERVING)
						      : STATUS(NOT_SERVING);
}

static Health__HealthCheckResponse__ServingStatus
read_status(struct health_service *service)
{
	Health__HealthCheckResponse__ServingStatus status;

	pthread_mutex_lock(&service->lock);
	status = current_status(service);
	pthread_mutex_unlock(&service->lock);
	return status;
}

/* --- Check and List ------------------------------------------------------- */

/* The name that a request asks for. Ends the call when it is none. */
static int
request_name(struct rpc_call *call, struct str *name)
{
	const Health__HealthCheckRequest *request;
	struct error err;

	request = rpc_message_unpack(rpc_call_request(call),
	    &health__health_check_request__descriptor, rpc_call_arena(call),
	    &err);
	if (request == NULL) {
		rpc_call_finish(call, &err);
		return -1;
	}
	*name = (struct str){
	    (const char *)request->service.data, request->service.len};
	return 0;
}

static void
check(struct rpc_call *call, void *cookie)
{
	struct health_service *service = cookie;
	Health__HealthCheckResponse response =
	    HEALTH__HEALTH_CHECK_RESPONSE__INIT;
	struct error err;
	struct str name;

	if (request_name(call, &name) < 0)
		return;
	if (!service_known(service, name)) {
		error_set(&err, ERROR_NOT_FOUND,
		    "this server has no service \"%.*s\"", STR_ARG(name));
		rpc_call_finish(call, &err);
		return;
	}
	response.status = read_status(service);
	rpc_call_reply_packed(call, &response.base);
}

static void
list(struct rpc_call *call, void *cookie)
{
	struct health_service *service = cookie;
	Health__HealthListResponse response =
	    HEALTH__HEALTH_LIST_RESPONSE__INIT;
	Health__HealthListResponse__StatusesEntry entries[SERVICES_MAX];
	Health__HealthListResponse__StatusesEntry *pointers[SERVICES_MAX];
	Health__HealthCheckResponse status =
	    HEALTH__HEALTH_CHECK_RESPONSE__INIT;

	status.status = read_status(service);
	for (size_t i = 0; i < service->name_count; i++) {
		health__health_list_response__statuses_entry__init(&entries[i]);
		entries[i].key =
		    arena_copy(rpc_call_arena(call), service->names[i]);
		entries[i].value = &status;
		pointers[i] = &entries[i];
		if (entries[i].key == NULL) {
			struct error err;

			error_set(&err, ERROR_RESOURCE_EXHAUSTED,
			    "no memory left for this call");
			rpc_call_finish(call, &err);
			return;
		}
	}
	response.n_statuses = service->name_count;
	response.statuses = pointers;
	rpc_call_reply_packed(call, &response.base);
}

/* --- Watch ---------------------------------------------------------------- */

static struct watcher *
watcher_of(struct call_pump *pump)
{
	return (struct watcher *)(void *)pump;
}

static void
watcher_send(
    struct watcher *watcher, Health__HealthCheckResponse__ServingStatus status)
{
	Health__HealthCheckResponse response =
	    HEALTH__HEALTH_CHECK_RESPONSE__INIT;

	response.status = status;
	watcher->sent = (int)status;
	call_pump_send(&watcher->pump, rpc_message_pack(&response.base));
}

static void
watcher_end(struct watcher *watcher, bool cancelled)
{
	struct health_service *service = watcher->service;
	struct error err;

	pthread_mutex_lock(&service->lock);
	LIST_REMOVE(watcher, link);
	service->watcher_count--;
	pthread_mutex_unlock(&service->lock);
	if (cancelled)
		error_set(&err, ERROR_CANCELLED, "the client went away");
	else
		error_set(&err, ERROR_UNAVAILABLE, "the server is stopping");
	call_pump_finish(&watcher->pump, &err);
}

/* Sends what is new, or ends the stream when it is time. */
static bool
watcher_step(struct call_pump *pump)
{
	struct watcher *watcher = watcher_of(pump);
	struct health_service *service = watcher->service;
	Health__HealthCheckResponse__ServingStatus status;
	bool stopping, cancelled, sending;

	pthread_mutex_lock(&service->lock);
	status =
	    watcher->known ? current_status(service) : STATUS(SERVICE_UNKNOWN);
	stopping = service->stopping;
	pthread_mutex_unlock(&service->lock);
	pthread_mutex_lock(&pump->lock);
	cancelled = pump->cancelled;
	sending = pump->sending;
	pthread_mutex_unlock(&pump->lock);
	if (sending)
		return false;
	if (!cancelled && watcher->sent != (int)status)
		watcher_send(watcher, status);
	else if (cancelled || stopping)
		watcher_end(watcher, cancelled);
	return false;
}

static void
watcher_free(struct call_pump *pump)
{
	free(watcher_of(pump));
}

static const struct call_pump_type watcher_type = {watcher_step, watcher_free};

/* False when there are too many. */
static bool
watcher_add(struct health_service *service, struct watcher *watcher)
{
	bool added;

	pthread_mutex_lock(&service->lock);
	added = service->watcher_count < WATCHERS_MAX;
	if (added) {
		LIST_INSERT_HEAD(&service->watchers, watcher, link);
		service->watcher_count++;
	}
	pthread_mutex_unlock(&service->lock);
	return added;
}

static void
watch(struct rpc_call *call, void *cookie)
{
	struct health_service *service = cookie;
	struct watcher *watcher;
	struct error err;
	struct str name;

	if (request_name(call, &name) < 0)
		return;
	watcher = xcalloc(1, sizeof(*watcher));
	watcher->service = service;
	watcher->known = service_known(service, name);
	watcher->sent = -1;
	call_pump_init(&watcher->pump, &watcher_type, call);
	if (watcher_add(service, watcher)) {
		call_pump_start(&watcher->pump);
		return;
	}
	error_set(&err, ERROR_RESOURCE_EXHAUSTED,
	    "%d health watches are open; no more are accepted", WATCHERS_MAX);
	call_pump_finish(&watcher->pump, &err);
}

/* --- changes -------------------------------------------------------------- */

/* Sets the flag, and lets every watcher see. */
static void
change(struct health_service *service, bool *flag, bool value)
{
	struct watcher **watchers, *watcher;
	size_t count = 0;

	pthread_mutex_lock(&service->lock);
	*flag = value;
	watchers = xcalloc(service->watcher_count + 1, sizeof(*watchers));
	LIST_FOREACH (watcher, &service->watchers, link) {
		call_pump_ref(&watcher->pump);
		watchers[count++] = watcher;
	}
	pthread_mutex_unlock(&service->lock);
	for (size_t i = 0; i < count; i++) {
		call_pump_run(&watchers[i]->pump);
		call_pump_unref(&watchers[i]->pump);
	}
	free(watchers);
}

void
health_service_set(struct health_service *service, bool serving)
{
	change(service, &service->serving, serving);
}

void
health_service_stop(struct health_service *service)
{
	change(service, &service->stopping, true);
}

void
health_service_add(struct method_table *table, struct health_service *service)
{
	method_table_add(
	    table, (struct rpc_method){"/grpc.health.v1.Health/Check",
		       RPC_UNARY, check, service});
	method_table_add(
	    table, (struct rpc_method){"/grpc.health.v1.Health/List", RPC_UNARY,
		       list, service});
	method_table_add(
	    table, (struct rpc_method){"/grpc.health.v1.Health/Watch",
		       RPC_SERVER_STREAM, watch, service});
}
