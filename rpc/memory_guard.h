/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps what peers make gRPC hold within bounds.
 *
 * gRPC assembles a message before anybody hears of it, whatever its size and
 * however long it takes, and keeps what a peer sends ahead; its resource quota
 * only ends connections and streams at random once it is passed. So a thread of
 * ours watches the memory of the process while there are calls, and ends calls
 * with RESOURCE_EXHAUSTED while there is too much of it: first those that wait
 * for their peer, the longest first; then those at work; sessions that others
 * depend on (RPC_SESSION) last. A message that its peer does not go on
 * with thus gives way to those of others; without need it may stay.
 *
 * How far the limit can be passed: a peer fills memory while the thread sleeps.
 * It sleeps the less the nearer the limit is, at the fastest rate that can be
 * received, but not below a few milliseconds.
 *
 * What gRPC has begun to send stays in memory until its peer has taken it, also
 * when the call was ended. A connection whose peer takes nothing for a tenth of
 * a second, or two (rpc/deaf_watch.h), is therefore ended a second after its
 * call was, and without that second, with more calls at a time, when the limit
 * is passed by far; no large answers are begun meanwhile
 * (rpc_call_check_memory).
 *
 * What the allocator holds free is given back: when there are no calls, and
 * what has been free for some seconds when there are. That takes tens of
 * milliseconds, in which calls wait for memory (rpc/memory_trim.h).
 *
 * Nothing in a sanitizer build, whose allocator does not say what is in use.
 */
#ifndef TOOLROOT_RPC_MEMORY_GUARD_H
#define TOOLROOT_RPC_MEMORY_GUARD_H

#include <stdbool.h>
#include <stdint.h>

struct memory_guard;
struct rpc_server;

/* limit: bytes of anonymous memory of the process. */
struct memory_guard *memory_guard_new(
    struct rpc_server *server, uint64_t limit);
/* Ends the thread; the count stays. NULL is allowed. */
void memory_guard_stop(struct memory_guard *guard);
/* After memory_guard_stop. NULL is allowed. */
void memory_guard_free(struct memory_guard *guard);
/* The server has calls. Any thread, under the server's lock; cheap. */
void memory_guard_wake(struct memory_guard *guard);
/* Calls that were ended. Any thread. */
uint64_t memory_guard_ended(const struct memory_guard *guard);
/* So much is in use that nothing large should be taken on. Any thread. */
bool memory_guard_is_urgent(const struct memory_guard *guard);

#endif
