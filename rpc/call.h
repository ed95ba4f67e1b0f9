/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call on the server, as its handler sees it.
 *
 * Life: the server makes the call when it arrives and runs the method's handler
 * on a poller thread. The handler owns the call until it ends it with exactly
 * one of rpc_call_reply, rpc_call_finish and rpc_call_finish_status; from then
 * on it must not touch it. A handler that needs the disk hands the call to a
 * pool thread and returns; whichever thread holds it may use it, one at a time.
 *
 * Once the owner has ended the call none of its callbacks runs any more: the
 * ending functions wait for one that runs on another thread.
 *
 * Cancelling: when the client cancels, its deadline passes or its connection
 * breaks, rpc_call_cancelled turns true and the cancel function runs, once, on
 * a poller, possibly while the owner's code runs elsewhere: it may only set a
 * flag or hand over an event. A waiting receive then ends with NULL, a waiting
 * send with false. The owner still finishes the call; the status goes nowhere.
 *
 * Pollers must not block; no lock is held across these functions that a
 * callback of theirs takes too. Callbacks run on a poller.
 */
#ifndef TOOLROOT_RPC_CALL_H
#define TOOLROOT_RPC_CALL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "base/thread_pool.h"

struct arena;
struct error;
struct rpc_call;
struct rpc_message;
struct rpc_server;
struct GrpcStatus__Status;

/* Memory that lives as long as the call; capped by the server's options. */
struct arena *rpc_call_arena(struct rpc_call *call);
struct rpc_server *rpc_call_server(struct rpc_call *call);
/* The method's path, "/package.Service/Method". */
struct str rpc_call_path(const struct rpc_call *call);
/* "ipv4:127.0.0.1:60028": for the log. */
struct str rpc_call_peer(const struct rpc_call *call);
/* The name that a client certificate proves (SPIFFE id, else subject
 * alternative name, else common name); len 0 without one. */
struct str rpc_call_identity(struct rpc_call *call);
/* Once it has ended: the text of the status that the client was sent; len 0 for
 * none. */
struct str rpc_call_end_text(const struct rpc_call *call);
/* Value of a metadata key (lower case; raw bytes for "-bin" keys); data NULL
 * when absent. The first, when a key comes several times. */
struct str rpc_call_metadata(const struct rpc_call *call, struct str key);
/* Monotonic milliseconds; CLOCK_NEVER when the client set none. */
int64_t rpc_call_deadline_ms(const struct rpc_call *call);
bool rpc_call_cancelled(const struct rpc_call *call);
/* At most one; set it before the handler returns. */
void rpc_call_on_cancel(struct rpc_call *call,
    void (*cancelled)(struct rpc_call *call, void *cookie), void *cookie);
/* Bytes of all messages so far, without what transport adds. For
 * rpc_server_options.finished. */
uint64_t rpc_call_received_bytes(const struct rpc_call *call);
uint64_t rpc_call_sent_bytes(const struct rpc_call *call);
/* A number that the handler leaves for it; 0 at first. Before the call is
 * ended. */
void rpc_call_set_note(struct rpc_call *call, unsigned note);
unsigned rpc_call_note(const struct rpc_call *call);
/* The handler's own state: zeroed, in the call's arena. It comes before all
 * else that is taken from there, so that it always fits. */
void *rpc_call_new_state(struct rpc_call *call, size_t size);
/* What rpc_call_new_state gave. */
void *rpc_call_state(const struct rpc_call *call);

/* Before memory is taken for an answer of more than RPC_SMALL_REQUEST bytes, or
 * for the next part of one: RESOURCE_EXHAUSTED with advice when to retry, while
 * far too much of it is in use. */
int rpc_call_check_memory(const struct rpc_call *call, struct error *err);

/* Methods with one request message (unary, server streaming): the message,
 * owned by the call. */
struct rpc_message *rpc_call_request(struct rpc_call *call);

/* Methods with a stream of requests: asks for the next. received runs with the
 * message, which it owns, or with NULL when the client has half-closed or the
 * call was cancelled; rpc_call_cancelled tells which. One at a time. */
void rpc_call_receive(struct rpc_call *call,
    void (*received)(
	struct rpc_call *call, struct rpc_message *message, void *cookie),
    void *cookie);

/* Server-streaming and bidirectional methods: sends one message. Takes it.
 * sent runs when gRPC has accepted it, ok false when it never will. One at a
 * time; the call may be ended meanwhile, the message then goes out first. */
void rpc_call_send(struct rpc_call *call, struct rpc_message *message,
    void (*sent)(struct rpc_call *call, bool ok, void *cookie), void *cookie);

/* Ends the call with this message and status OK. Takes the message. */
void rpc_call_reply(struct rpc_call *call, struct rpc_message *message);
/* Packs and replies. */
struct ProtobufCMessage;
void rpc_call_reply_packed(
    struct rpc_call *call, const struct ProtobufCMessage *message);
/* Ends the call with status OK (err NULL, after the messages of a stream) or
 * an error; a retry delay is sent as RetryInfo. */
void rpc_call_finish(struct rpc_call *call, const struct error *err);
/* Ends the call with a status that carries details; they are cut to what fits
 * into gRPC's metadata limit (8 KiB in most clients). */
void rpc_call_finish_status(
    struct rpc_call *call, const struct GrpcStatus__Status *status);

/* Runs the task on the server's pool of threads that may block. */
void rpc_call_submit(struct rpc_call *call, struct task *task);
/* Runs it on a poller. For threads that have many calls to end: gRPC is fastest
 * when one thread works on a connection, and they can go on meanwhile. The call
 * must not have ended. */
void rpc_call_submit_to_poller(struct rpc_call *call, struct task *task);

#endif
