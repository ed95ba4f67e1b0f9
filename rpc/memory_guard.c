/* SPDX-License-Identifier: Apache-2.0 */
/* The guard's thread, and which call gives way. It looks at the server's list
 * of calls under the server's lock; the lock is free when a call is ended. */
#include "rpc/memory_guard.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/condition.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/process_memory.h"
#include "base/thread.h"
#include "rpc/connection.h"
#include "rpc/deaf_watch.h"
#include "rpc/memory_trim.h"
#include "rpc/server_core.h"

/* Bytes that a machine could receive in a millisecond: 8 GB/s. */
#define GUARD_FILL_PER_MS (8u << 20)
#define GUARD_SLEEP_MIN_MS 2
#define GUARD_SLEEP_MAX_MS 250
/* What is free goes back after so long without a call. */
#define GUARD_IDLE_MS 1000
/* Between two log lines. */
#define GUARD_LOG_MS 1000
/* One in so many calls at once, before memory is measured again; the second
 * when so much more than the limit is in use. */
#define GUARD_STEP 64
#define GUARD_STEP_URGENT 8
#define GUARD_URGENT (32u << 20)
/* The memory of a call that was ended is free when its connection's poller has
 * been there. So long the calls of the next rank are left alone: at least, and
 * at most, when one that was ended is still there. */
#define GUARD_PATIENCE_MS 50
#define GUARD_PATIENCE_MAX_MS 1000
/* A call that was ended is gone soon, unless its peer takes nothing of what
 * gRPC has begun to send to it: that is kept until the connection ends. So long
 * it is waited for, or not at all when that is urgent; then the connection is
 * watched, and ended with what else it carries when its peer is deaf. */
#define GUARD_DEAF_MS 1000
/* Between two looks at those that are watched. */
#define GUARD_DEAF_PAUSE_MS 10
/* Before it is said anew which ones: all descriptors are asked, some
 * microseconds each, and so much longer than that takes is waited, too. */
#define GUARD_WATCH_PAUSE_MS 50
#define GUARD_WATCH_REST 9
/* A call is new for so long: what is received well is whole by then. */
#define GUARD_NEW_NS 5000000
/* And so the next rank is also left alone when memory has only just become
 * short: who is new may be the one. */
#define GUARD_BEGIN_MS 10

static const char guard_reason[] =
    "the server's memory is used up by messages that are on their way to it; "
    "try again, send smaller messages, or raise --memory";

struct memory_guard {
	struct rpc_server *server;
	uint64_t limit;
	pthread_t thread;
	_Atomic uint64_t ended;
	atomic_bool urgent;
	/* The thread's: when it last did so, and since when too much is in use
	 * (0: it is not). */
	int64_t ended_ms;
	int64_t short_ms;
	struct deaf_watch deaf;
	int64_t deaf_ms;  /* when it looks again at peers that take nothing */
	int64_t watch_ms; /* and says which ones */
	uint64_t connections_ended;
	int64_t logged_ms;
	bool untold; /* something was ended since then */
	int memory;  /* process_memory_open */
	struct memory_trim trim;
	/* With the server's lock. */
	pthread_cond_t woken;
	bool idle; /* there are no calls, the thread waits to be woken */
	bool stopping;
};

/* --- which call gives way --------------------------------------------------
 */

enum rank {
	RANK_WAITS,   /* for a message, or for room to send: the peer's turn */
	RANK_WORKS,   /* our turn: it may hold what was sent ahead */
	RANK_SESSION, /* RPC_SESSION */
};

static enum rank
call_rank(const struct rpc_call *call, int64_t waits_since)
{
	const struct rpc_method *method =
	    call->slot != NULL ? call->slot->method : NULL;

	if (method != NULL && method->shape == RPC_SESSION)
		return RANK_SESSION;
	return waits_since == 0 ? RANK_WORKS : RANK_WAITS;
}

/* Among those that wait, the longest: what is received well comes quickly.
 * Among the others the newest: old ones have proved themselves. */
struct candidate {
	struct rpc_call *call;
	enum rank rank;
	int64_t age_key; /* the lower gives way first */
};

static bool
gives_way_before(const struct candidate *a, const struct candidate *b)
{
	if (b->call == NULL || a->rank != b->rank)
		return b->call == NULL || a->rank < b->rank;
	return a->age_key < b->age_key;
}

/* With a reference, or NULL; counts those it had to choose from, which are of
 * the worst rank or better. */
static struct rpc_call *
guard_pick(struct rpc_server *server, enum rank worst, size_t *count)
{
	struct candidate best = {NULL, RANK_SESSION, 0};
	int64_t now_ns = clock_monotonic_ns();
	struct rpc_call *call;

	*count = 0;
	pthread_mutex_lock(&server->lock);
	TAILQ_FOREACH (call, &server->live, link) {
		int64_t since = atomic_load(&call->waits_since_ns);
		struct candidate candidate = {
		    call, call_rank(call, since), since};

		/* Cut off, or being freed: as good as ended. */
		if (call->cut_status != GRPC_STATUS_OK ||
		    atomic_load(&call->refs) == 0 || candidate.rank > worst ||
		    (since != 0 && since > now_ns - GUARD_NEW_NS))
			continue;
		++*count;
		if (candidate.rank != RANK_WAITS)
			candidate.age_key = -call->started_ns;
		if (gives_way_before(&candidate, &best))
			best = candidate;
	}
	/* Or else it is being freed since. */
	if (best.call != NULL &&
	    !rpc_call_mark_cut(best.call, GRPC_STATUS_RESOURCE_EXHAUSTED))
		best.call = NULL;
	pthread_mutex_unlock(&server->lock);
	return best.call;
}

/* --- the thread ------------------------------------------------------------
 */

/* Under the server's lock. */
static void
guard_sleep(struct memory_guard *guard, int64_t ms)
{
	if (!guard->stopping)
		condition_wait_for(&guard->woken, &guard->server->lock, ms);
}

/* What has no line yet has one later: what was ended last counts, too. */
static void
guard_tell(struct memory_guard *guard, int64_t now_ms)
{
	if (!guard->untold ||
	    (guard->logged_ms > 0 && now_ms - guard->logged_ms < GUARD_LOG_MS))
		return;
	guard->untold = false;
	guard->logged_ms = now_ms;
	log_warn("memory_short",
	    "limit=%llu calls_ended=%llu connections_ended=%llu remedy=\"calls "
	    "that wait for their "
	    "peer gave way; if the peers are honest, raise --memory\"",
	    (unsigned long long)guard->limit,
	    (unsigned long long)atomic_load(&guard->ended),
	    (unsigned long long)guard->connections_ended);
}

static bool
guard_has_ended_calls(struct rpc_server *server)
{
	const struct rpc_call *call;

	pthread_mutex_lock(&server->lock);
	TAILQ_FOREACH (call, &server->live, link)
		if (call->cut_status != GRPC_STATUS_OK)
			break;
	pthread_mutex_unlock(&server->lock);
	return call != NULL;
}

/* Are only those that wait to give way for now? */
static bool
guard_is_patient(struct memory_guard *guard, int64_t now_ms)
{
	int64_t since_ms = now_ms - guard->ended_ms;

	if (guard->short_ms == 0)
		guard->short_ms = now_ms;
	return now_ms - guard->short_ms < GUARD_BEGIN_MS ||
	       since_ms < GUARD_PATIENCE_MS ||
	       (since_ms < GUARD_PATIENCE_MAX_MS &&
		   guard_has_ended_calls(guard->server));
}

/* Ends a few calls. */
static void
guard_shed(struct memory_guard *guard, bool urgent)
{
	int64_t now_ms = clock_monotonic_ms();
	bool patient = guard_is_patient(guard, now_ms);
	struct rpc_call *call;
	size_t count, ended = 0;

	do {
		call = guard_pick(
		    guard->server, patient ? RANK_WAITS : RANK_SESSION, &count);
		if (call == NULL)
			break;
		/* Before the peer hears of it. */
		atomic_fetch_add(&guard->ended, 1);
		rpc_call_cut(call, guard_reason);
		ended++;
		patient = true;
	} while (ended <= count / (urgent ? GUARD_STEP_URGENT : GUARD_STEP));
	if (ended > 0) {
		guard->ended_ms = now_ms;
		guard->untold = true;
	}
}

static bool
ought_to_be_gone(const struct rpc_call *call, int64_t since_ms)
{
	return call->cut_status == GRPC_STATUS_RESOURCE_EXHAUSTED &&
	       call->cut_ms <= since_ms;
}

/* The peers of calls that ought to be gone; free() them. */
static size_t
guard_list_peers(struct rpc_server *server, int64_t patience_ms,
    char (**peers)[RPC_PEER_MAX])
{
	int64_t since_ms = clock_monotonic_ms() - patience_ms;
	struct rpc_call *call;
	size_t max = 0, count = 0;

	pthread_mutex_lock(&server->lock);
	TAILQ_FOREACH (call, &server->live, link)
		max += ought_to_be_gone(call, since_ms);
	*peers = max > 0 ? xcalloc(max, sizeof(**peers)) : NULL;
	TAILQ_FOREACH (call, &server->live, link)
		if (count < max && ought_to_be_gone(call, since_ms))
			snprintf(
			    (*peers)[count++], RPC_PEER_MAX, "%s", call->peer);
	pthread_mutex_unlock(&server->lock);
	return count;
}

/* Says which connections are watched. */
static void
guard_watch_deaf(struct memory_guard *guard, bool urgent)
{
	struct rpc_connection_choice choice = {
	    .listen = guard->server->address, .local = guard->server->local};
	int64_t begun_ms = clock_monotonic_ms();

	choice.count = guard_list_peers(
	    guard->server, urgent ? 0 : GUARD_DEAF_MS, &choice.peers);
	rpc_connection_watch(&guard->deaf, &choice);
	free(choice.peers);
	guard->watch_ms = clock_monotonic_ms();
	guard->watch_ms += GUARD_WATCH_PAUSE_MS +
			   (guard->watch_ms - begun_ms) * GUARD_WATCH_REST;
}

/* is_short: memory is; else what was begun is brought to an end. */
static void
guard_end_deaf(struct memory_guard *guard, bool is_short, bool urgent)
{
	int64_t now_ms = clock_monotonic_ms();
	size_t ended;

	if (now_ms < guard->deaf_ms)
		return;
	guard->deaf_ms = now_ms + GUARD_DEAF_PAUSE_MS;
	if (is_short && now_ms >= guard->watch_ms)
		guard_watch_deaf(guard, urgent);
	ended = is_short ? deaf_watch_cut(&guard->deaf, now_ms)
			 : deaf_watch_cut_held(&guard->deaf, now_ms);
	guard->connections_ended += ended;
	guard->untold |= ended > 0;
}

/* Under the server's lock: until there is a call. */
static void
guard_wait_for_calls(struct memory_guard *guard)
{
	guard->idle = true;
	atomic_store(&guard->urgent, false);
	deaf_watch_release(&guard->deaf);
	guard_sleep(guard, GUARD_IDLE_MS);
	if (guard->idle && !guard->stopping) {
		pthread_mutex_unlock(&guard->server->lock);
		memory_trim_idle(&guard->trim);
		guard_tell(guard, clock_monotonic_ms());
		pthread_mutex_lock(&guard->server->lock);
	}
	while (guard->idle && !guard->stopping)
		pthread_cond_wait(&guard->woken, &guard->server->lock);
	guard->idle = false;
}

/* Milliseconds until the next look. */
static int64_t
guard_look(struct memory_guard *guard)
{
	struct process_memory memory;
	uint64_t used, room;
	bool urgent;

	/* Without /proc, what is in use is known nevertheless. */
	if (!process_memory_read(guard->memory, &memory))
		memory.anonymous = process_memory_allocated();
	used = memory.anonymous;
	if (used >= guard->limit)
		used = process_memory_allocated();
	urgent = used >= guard->limit + GUARD_URGENT;
	atomic_store(&guard->urgent, urgent);
	if (used >= guard->limit)
		guard_shed(guard, urgent);
	else
		guard->short_ms = 0;
	guard_end_deaf(guard, used >= guard->limit, urgent);
	guard_tell(guard, clock_monotonic_ms());
	if (memory.anonymous >= guard->limit)
		memory_trim_short(&guard->trim, memory.anonymous, guard->limit);
	else
		memory_trim_spare(&guard->trim, memory.anonymous);
	room = used < guard->limit ? guard->limit - used : 0;
	room /= GUARD_FILL_PER_MS;
	if (room < GUARD_SLEEP_MIN_MS)
		return GUARD_SLEEP_MIN_MS;
	if (guard->deaf.held > 0 && room > GUARD_DEAF_PAUSE_MS)
		return GUARD_DEAF_PAUSE_MS;
	return room < GUARD_SLEEP_MAX_MS ? (int64_t)room : GUARD_SLEEP_MAX_MS;
}

static void *
guard_main(void *argument)
{
	struct memory_guard *guard = argument;
	struct rpc_server *server = guard->server;
	int64_t sleep_ms;

	pthread_mutex_lock(&server->lock);
	while (!guard->stopping) {
		if (TAILQ_EMPTY(&server->live)) {
			guard_wait_for_calls(guard);
			continue;
		}
		pthread_mutex_unlock(&server->lock);
		sleep_ms = guard_look(guard);
		pthread_mutex_lock(&server->lock);
		guard_sleep(guard, sleep_ms);
	}
	pthread_mutex_unlock(&server->lock);
	return NULL;
}

struct memory_guard *
memory_guard_new(struct rpc_server *server, uint64_t limit)
{
	struct memory_guard *guard = xcalloc(1, sizeof(*guard));

	guard->server = server;
	guard->limit = limit;
	deaf_watch_init(&guard->deaf);
	guard->memory = process_memory_open();
	memory_trim_init(&guard->trim, guard->memory);
	condition_init(&guard->woken);
	thread_start(&guard->thread, guard_main, guard);
	return guard;
}

void
memory_guard_stop(struct memory_guard *guard)
{
	if (guard == NULL)
		return;
	pthread_mutex_lock(&guard->server->lock);
	guard->stopping = true;
	pthread_cond_signal(&guard->woken);
	pthread_mutex_unlock(&guard->server->lock);
	pthread_join(guard->thread, NULL);
}

void
memory_guard_free(struct memory_guard *guard)
{
	if (guard == NULL)
		return;
	pthread_cond_destroy(&guard->woken);
	deaf_watch_clear(&guard->deaf);
	file_close(&guard->memory);
	free(guard);
}

void
memory_guard_wake(struct memory_guard *guard)
{
	if (guard != NULL && guard->idle) {
		guard->idle = false;
		pthread_cond_signal(&guard->woken);
	}
}

uint64_t
memory_guard_ended(const struct memory_guard *guard)
{
	return guard != NULL ? atomic_load(&guard->ended) : 0;
}

bool
memory_guard_is_urgent(const struct memory_guard *guard)
{
	return guard != NULL && atomic_load(&guard->urgent);
}
