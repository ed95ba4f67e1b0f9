/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's side: a channel to one server, blocking unary calls with
 * retries, and streams. Any thread may use a channel; each call blocks the
 * thread that makes it, bounded by its deadline. For the worker, the cargo
 * front and the commands, where a thread a call is the simple and right shape.
 */
#ifndef TOOLROOT_RPC_CHANNEL_H
#define TOOLROOT_RPC_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct error;
struct rpc_channel;
struct rpc_message;
struct rpc_stream;

struct rpc_channel_options {
	/* grpc://HOST:PORT (plain text), grpcs://HOST:PORT (TLS) or
	 * unix:PATH. */
	const char *address;
	/* Empty names are as NULL. Refused beside grpc://, where they would
	 * promise what is not kept; a socket needs none. */
	const char *tls_ca;          /* PEM; NULL = the system's */
	const char *tls_certificate; /* PEM, with tls_key: who we are */
	const char *tls_key;
	size_t max_receive_bytes; /* 0 = 64 MiB */
};

/* Does not connect yet. INVALID_ARGUMENT for an address of another form, with
 * the forms, and for files that it has no use for; FAILED_PRECONDITION names a
 * file that cannot be read. */
struct rpc_channel *rpc_channel_open(
    const struct rpc_channel_options *options, struct error *err);
void rpc_channel_close(struct rpc_channel *channel);

struct rpc_metadata {
	const char *key; /* lower case; "-bin": value is raw bytes */
	struct str value;
};

struct rpc_call_options {
	int64_t timeout_ms; /* of the whole call, retries included; > 0 */
	/* How often UNAVAILABLE and RESOURCE_EXHAUSTED are tried again, with
	 * growing pauses or those that the server asks for (RetryInfo). Only
	 * for calls that may be repeated. Not after what TLS refuses. */
	unsigned retries;
	const struct rpc_metadata *metadata;
	size_t metadata_count;
	/* Of a stream whose server is known to speak up: the longest wait for
	 * a message, then it is cancelled. 0 = any. */
	int64_t silence_ms;
};

/* One unary call. request is borrowed (it may be sent again). *response is the
 * caller's. On failure err has the server's code, text and
 * retry delay. */
int rpc_channel_call(struct rpc_channel *channel, const char *path,
    struct rpc_message *request, const struct rpc_call_options *options,
    struct rpc_message **response, struct error *err);

/* --- streams ---------------------------------------------------------------
 * One thread may send while another receives. timeout_ms of the options is the
 * deadline of the whole stream; 0 = none. retries are not looked at. */
struct rpc_stream *rpc_stream_open(struct rpc_channel *channel,
    const char *path, const struct rpc_call_options *options,
    struct error *err);
/* Takes the message. -1 once the stream has ended: rpc_stream_receive then
 * tells why. */
int rpc_stream_send(
    struct rpc_stream *stream, struct rpc_message *message, struct error *err);
/* We send no more. */
int rpc_stream_half_close(struct rpc_stream *stream, struct error *err);
/* 1 and *message (the caller's), 0 when the server ended the stream with OK,
 * -1 with its status, or DEADLINE_EXCEEDED after silence_ms. */
int rpc_stream_receive(
    struct rpc_stream *stream, struct rpc_message **message, struct error *err);
/* Any thread: what blocks on the stream returns soon, with CANCELLED. */
void rpc_stream_cancel(struct rpc_stream *stream);
/* Cancels if it has not ended. No thread may be using it. NULL is allowed. */
void rpc_stream_free(struct rpc_stream *stream);

#endif
