/* SPDX-License-Identifier: Apache-2.0 */
/* Asking a server or a store, and watching how far the answer is. */
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/condition.h"
#include "base/error.h"
#include "base/log.h"
#include "cas/admin.h"
#include "cas/collector.h"
#include "cas/store.h"
#include "client/admin_command.h"
#include "client/client_options.h"
#include "rpc/channel.h"
#include "rpc/message.h"
#include "rpc/runtime.h"

#define ANSWER_MEMORY (64u << 20)
/* A collection of a large store moves many bytes. */
#define TIMEOUT_MS (6 * 60 * 60 * 1000)
#define WATCH_INTERVAL_MS 200
/* For a look at how far it is; one that takes longer tells nothing. */
#define WATCH_TIMEOUT_MS 5000

/* --- the other end -------------------------------------------------------- */

/* A server, or a store that none has open. Any thread asks. */
struct admin_link {
	const struct admin_place *place;
	struct rpc_channel *channel; /* NULL: a store */
	struct admin_target target;
};

static int
link_open_store(struct admin_link *link, struct error *err)
{
	const struct store_options options = {.path = link->place->store};
	struct collector_options collector = {
	    .min_age_ms = link->place->min_age};

	/* What was done is told by the answer. */
	log_set_level(LOG_WARN);
	if (link->place->read_only) {
		link->target.store = admin_read_store(link->place->store, err);
		return link->target.store != NULL ? 0 : -1;
	}
	link->target.store = admin_open_store(&options, err);
	if (link->target.store == NULL)
		return -1;
	collector.store = link->target.store;
	link->target.collector = collector_new(&collector, err);
	return link->target.collector != NULL ? 0 : -1;
}

static int
link_open(struct admin_link *link, struct error *err)
{
	if (link->place->store != NULL)
		return link_open_store(link, err);
	rpc_init();
	link->channel = client_options_channel(link->place->client, err);
	return link->channel != NULL ? 0 : -1;
}

static void
link_close(struct admin_link *link)
{
	if (link->place->store == NULL) {
		if (link->channel != NULL)
			rpc_channel_close(link->channel);
		rpc_shutdown();
		return;
	}
	collector_free(link->target.collector);
	store_close(link->target.store);
}

static const void *
link_ask_server(const struct admin_link *link,
    const struct admin_method *method, const ProtobufCMessage *request,
    int64_t timeout_ms, struct arena *arena, struct error *err)
{
	const struct rpc_call_options options = {.timeout_ms = timeout_ms};
	struct rpc_message *message = rpc_message_pack(request);
	struct rpc_message *reply = NULL;
	const void *answer = NULL;

	if (rpc_channel_call(link->channel, method->path, message, &options,
		&reply, err) == 0)
		answer =
		    rpc_message_unpack(reply, method->response, arena, err);
	else if (err->code == ERROR_UNIMPLEMENTED)
		error_prefix(err, "the server cannot do that");
	else
		client_options_unreachable(link->place->client->server, err);
	rpc_message_free(message);
	rpc_message_free(reply);
	return answer;
}

/* The answer, in the arena; NULL on failure. */
static const void *
link_ask(const struct admin_link *link, const char *path,
    const ProtobufCMessage *request, int64_t timeout_ms, struct arena *arena,
    struct error *err)
{
	const struct admin_method *method = admin_method_find(str_from(path));

	if (link->channel != NULL)
		return link_ask_server(
		    link, method, request, timeout_ms, arena, err);
	return method->run(&link->target, request, arena, err);
}

/* --- watching ------------------------------------------------------------- */

struct watching {
	const struct admin_link *link;
	const struct admin_watcher *watcher;
	pthread_t thread;
	pthread_mutex_t lock; /* guards over */
	pthread_cond_t changed;
	bool over;
};

/* A look that fails tells nothing: what matters is the answer waited for. */
static void
watching_look(const struct watching *watching)
{
	const struct admin_watcher *watcher = watching->watcher;
	struct error ignored;
	struct arena arena;
	const void *message;

	arena_init(&arena, ANSWER_MEMORY);
	message = link_ask(watching->link, watcher->path, watcher->request,
	    WATCH_TIMEOUT_MS, &arena, &ignored);
	if (message != NULL)
		watcher->show(watcher->cookie, message);
	arena_clear(&arena);
}

/* Sleeps for an interval; true when it is over. */
static bool
watching_wait(struct watching *watching)
{
	int64_t until_ns =
	    clock_monotonic_ns() + (int64_t)WATCH_INTERVAL_MS * 1000000;
	bool over;

	pthread_mutex_lock(&watching->lock);
	while (!watching->over && condition_wait_until(&watching->changed,
				      &watching->lock, until_ns))
		continue;
	over = watching->over;
	pthread_mutex_unlock(&watching->lock);
	return over;
}

static void *
watching_thread(void *cookie)
{
	struct watching *watching = cookie;

	while (!watching_wait(watching))
		watching_look(watching);
	return NULL;
}

/* False when there is nobody to watch, or no thread: then nothing is shown. */
static bool
watching_start(struct watching *watching)
{
	if (watching->watcher == NULL)
		return false;
	pthread_mutex_init(&watching->lock, NULL);
	condition_init(&watching->changed);
	if (pthread_create(
		&watching->thread, NULL, watching_thread, watching) == 0)
		return true;
	pthread_cond_destroy(&watching->changed);
	pthread_mutex_destroy(&watching->lock);
	return false;
}

static void
watching_stop(struct watching *watching)
{
	pthread_mutex_lock(&watching->lock);
	watching->over = true;
	pthread_cond_signal(&watching->changed);
	pthread_mutex_unlock(&watching->lock);
	pthread_join(watching->thread, NULL);
	pthread_cond_destroy(&watching->changed);
	pthread_mutex_destroy(&watching->lock);
}

/* --- asking --------------------------------------------------------------- */

int
admin_call(const struct admin_place *place, const char *path,
    const ProtobufCMessage *request, struct admin_answer *answer,
    struct error *err)
{
	struct admin_link link = {.place = place};
	struct watching watching = {.link = &link, .watcher = place->watcher};
	bool watched;

	answer->message = NULL;
	arena_init(&answer->arena, ANSWER_MEMORY);
	if (link_open(&link, err) == 0) {
		watched = watching_start(&watching);
		answer->message = link_ask(
		    &link, path, request, TIMEOUT_MS, &answer->arena, err);
		if (watched)
			watching_stop(&watching);
	}
	link_close(&link);
	return answer->message != NULL ? 0 : -1;
}
