/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gRPC server: listening, completion-queue threads ("pollers"), registered
 * methods, timers and shutdown. Knows nothing of what its methods do.
 *
 * Order: rpc_server_new binds (so port 0 can be read back), rpc_server_start
 * begins to answer, rpc_server_stop ends it, rpc_server_free.
 */
#ifndef TOOLROOT_RPC_SERVER_H
#define TOOLROOT_RPC_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/str.h"

struct budget;
struct error;
struct rpc_call;
struct rpc_server;
struct thread_pool;

enum rpc_shape {
	RPC_UNARY,
	RPC_SERVER_STREAM,
	RPC_CLIENT_STREAM,
	/* Questions and answers in turn: has no end of its own, so it is
	 * ended with UNAVAILABLE as soon as the server stops. */
	RPC_BIDIRECTIONAL,
	/* One of these that many others depend on: when memory is short, any
	 * other call ends before it. */
	RPC_SESSION,
};

/* Bytes of a request that is bounded by the number of streams alone. */
#define RPC_SMALL_REQUEST (64u << 10)

struct rpc_method {
	const char *path; /* "/package.Service/Method" */
	enum rpc_shape shape;
	/* Runs on a poller; see rpc/call.h. */
	void (*handle)(struct rpc_call *call, void *service);
	void *service;
};

struct rpc_server_options {
	/* "host:port" or "unix:path"; port 0 takes a free one. */
	const char *listen;
	/* Path of a unix socket that is served too, always in plain text: for
	 * processes of the same user, as its mode is 0600. NULL: none. */
	const char *local_socket;
	/* PEM files; certificate and key NULL: plain text. They are read anew
	 * before a handshake when they changed. client_ca set: clients must
	 * show a certificate signed by it. */
	const char *tls_certificate;
	const char *tls_key;
	const char *tls_client_ca;
	/* Plain text beyond loopback and unix sockets is refused without it. */
	bool insecure_listen;
	const struct rpc_method *methods; /* borrowed */
	size_t method_count;
	size_t pollers;           /* 0 = cores / 4, at least 1 */
	size_t max_receive_bytes; /* a larger message: RESOURCE_EXHAUSTED */
	/* What requests above RPC_SMALL_REQUEST hold from their arrival to the
	 * end of their call; beyond: RESOURCE_EXHAUSTED with RetryInfo.
	 * Borrowed; NULL: no bound. */
	struct budget *request_memory;
	size_t max_call_memory; /* cap of a call's arena */
	uint32_t max_streams;   /* concurrent, per connection */
	/* Anonymous memory of the process above which calls are ended that
	 * wait for their peer (rpc/memory_guard.h); 0: none are. */
	uint64_t memory_limit;
	uint64_t transport_memory; /* gRPC's own buffers: the last resort */
	struct thread_pool *pool;  /* borrowed: work that may block */
	/* Runs when a call has ended, on any thread: for log and metrics. The
	 * status is CANCELLED where the client went away, RESOURCE_EXHAUSTED
	 * where memory was short, UNAVAILABLE where the server stopped. May be
	 * NULL. */
	void (*finished)(struct rpc_call *call, int status, int64_t duration_ns,
	    void *cookie);
	/* Runs at the start of rpc_server_stop, on its thread: the moment to
	 * end long streams with UNAVAILABLE. May be NULL. */
	void (*stopping)(void *cookie);
	void *cookie; /* of both */
};

/* Binds. FAILED_PRECONDITION names the address that is taken, or the file that
 * cannot be read; INVALID_ARGUMENT for plain text beyond loopback. */
struct rpc_server *rpc_server_new(
    const struct rpc_server_options *options, struct error *err);
/* "host:port" with the real port, or "unix:path"; owned by the server. */
const char *rpc_server_address(const struct rpc_server *server);
void rpc_server_start(struct rpc_server *server);
/* New calls are refused with UNAVAILABLE; running ones get grace_ms, then they
 * are cancelled, and the connections shut whose peers hold that up: without
 * calls, those that do not end within some seconds. Returns
 * when their owners have ended them all; timers no longer fire. Blocks; not on
 * a poller. Also without start; a second time it does nothing. */
void rpc_server_stop(struct rpc_server *server, int64_t grace_ms);
/* Calls that were ended since memory was short. Any thread. */
uint64_t rpc_server_ended_for_memory(const struct rpc_server *server);
/* When its certificate runs out, in seconds since 1970; 0 without one. Any
 * thread. */
int64_t rpc_server_certificate_not_after(const struct rpc_server *server);
/* rpc_server_stop has begun. Any thread. */
bool rpc_server_stopping(const struct rpc_server *server);
/* After stop, or right after new. NULL is allowed. */
void rpc_server_free(struct rpc_server *server);

/* --- timers ----------------------------------------------------------------
 * Embedded in the object that waits. fire runs once on a poller at or shortly
 * after its time (a few ms). */
struct rpc_timer {
	int64_t deadline_ms; /* monotonic */
	void (*fire)(struct rpc_timer *timer);
	size_t position; /* in the server's heap; SIZE_MAX = not set */
};

void rpc_timer_init(
    struct rpc_timer *timer, void (*fire)(struct rpc_timer *timer));
/* Sets or moves it. Any thread. */
void rpc_timer_set(
    struct rpc_server *server, struct rpc_timer *timer, int64_t deadline_ms);
/* True when it was set and now will not fire; false when it is not set, or has
 * fired or is about to. Any thread. */
bool rpc_timer_cancel(struct rpc_server *server, struct rpc_timer *timer);

#endif
