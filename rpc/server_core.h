/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The insides of a server and of a call, for server.c, call.c, call_batches.c
 * and memory_guard.c alone.
 *
 * A call is made when its slot is armed, so that gRPC can write into it, and
 * freed when its owner has ended it and every tag has come back: `refs` counts
 * the owner's end (one), the tags under way and threads inside its functions.
 */
#ifndef TOOLROOT_RPC_SERVER_CORE_H
#define TOOLROOT_RPC_SERVER_CORE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/arena.h"
#include "rpc/call.h"
#include "rpc/call_gate.h"
#include "rpc/core.h"
#include "rpc/server.h"

/* A registered method. */
struct rpc_slot {
	const struct rpc_method *method;
	void *registered; /* gRPC's handle */
};

struct rpc_server {
	struct rpc_server_options options;
	grpc_server *core;
	struct rpc_pollers *pollers;
	struct rpc_tls *tls;    /* NULL: plain text */
	struct rpc_slot *slots; /* options.method_count many */
	char *address;
	char *local; /* "unix:PATH" of options.local_socket, or NULL */
	struct rpc_tag shutdown_tag;
	atomic_bool stopping;
	atomic_bool cutting; /* the grace is over: all calls are cut off */
	bool started;
	bool stopped;
	/* Guards what follows. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	size_t calls; /* armed and running */
	bool shut_down;
	TAILQ_HEAD(, rpc_call) live; /* that have arrived, oldest first */
	struct memory_guard *guard;  /* NULL: none */
};

/* Waits for the next call of the slot's method, or, slot NULL, of a method
 * that nobody has registered. */
void rpc_server_arm(struct rpc_server *server, const struct rpc_slot *slot);
/* A call has arrived: it is in the list from now on. Cut off at once when it
 * comes while the server stops and might not end by itself. */
void rpc_server_add_call(struct rpc_server *server, struct rpc_call *call);
/* A call is gone. */
void rpc_server_release_call(struct rpc_server *server, struct rpc_call *call);

/* How the owner ended the call. */
struct rpc_call_end {
	struct rpc_message *message; /* sent before the status, or NULL */
	int code;
	grpc_slice text;
	grpc_slice details; /* grpc-status-details-bin, empty: none */
};

struct rpc_call {
	struct rpc_server *server;
	const struct rpc_slot *slot; /* NULL: an unknown method */
	grpc_call *core;
	grpc_metadata_array metadata;
	grpc_call_details details; /* of an unknown method */
	gpr_timespec deadline;
	grpc_byte_buffer *incoming; /* of the receive under way */
	struct rpc_message *request;
	uint64_t budgeted; /* of options.request_memory */
	struct arena arena;
	int64_t started_ns;
	uint64_t received_bytes; /* of messages; whoever receives */
	uint64_t sent_bytes;     /* the owner's */
	unsigned note;           /* the owner's, for options.finished */
	char *peer;              /* gRPC's memory */
	char *identity;
	void *state;

	struct rpc_tag arrived;
	struct rpc_tag received;
	struct rpc_tag sent;
	struct rpc_tag closed;
	struct rpc_tag ended;

	/* The server's lock. */
	TAILQ_ENTRY(rpc_call) link; /* in server->live */
	bool live;
	/* By rpc_call_mark_cut; OK: it is not cut off. Without the lock for who
	 * has marked it, and for who frees it. */
	int cut_status;
	int64_t cut_ms; /* since when it is to end, CLOCK_MONOTONIC */
	/* Whoever cut it off; read when it is freed. malloc. */
	char *cut_reason;
	/* Since when the peer is waited for, CLOCK_MONOTONIC; 0: it is not. */
	_Atomic int64_t waits_since_ns;

	atomic_uint refs;
	struct call_gate gate;
	atomic_bool cancelled;
	atomic_bool close_started; /* some batch asks for the close */
	int close_cancelled;       /* gRPC's answer */
	bool metadata_sent;
	bool end_sent; /* the final batch succeeded */
	struct rpc_call_end end;
	grpc_metadata end_metadata;

	void (*on_cancel)(struct rpc_call *call, void *cookie);
	void *cancel_cookie;
	void (*on_received)(
	    struct rpc_call *call, struct rpc_message *message, void *cookie);
	void *receive_cookie;
	void (*on_sent)(struct rpc_call *call, bool ok, void *cookie);
	void *send_cookie;
};

/* For server.c: an armed call, its tag `arrived` set. */
struct rpc_call *rpc_call_new(
    struct rpc_server *server, const struct rpc_slot *slot);

/* call_batches.c's part of it. */
void rpc_call_set_tags(struct rpc_call *call);

void rpc_call_ref(struct rpc_call *call);
void rpc_call_unref(struct rpc_call *call);

/* For whoever finds calls in the list and ends them from outside. Says how the
 * call is to end and takes a reference, unless somebody has cut it off already
 * or it is being freed. Under the server's lock. */
bool rpc_call_mark_cut(struct rpc_call *call, int status);
/* Cuts it off; its owner sees it as cancelled, its peer gets the reason. Takes
 * the reference. Without the lock. */
void rpc_call_cut(struct rpc_call *call, const char *reason);

#endif
