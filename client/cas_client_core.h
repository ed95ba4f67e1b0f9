/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files behind cas_client.h share. A client does not change after it
 * was opened, so its fields need no lock; a call belongs to the thread that
 * began it and is read by the jobs it waits for.
 */
#ifndef TOOLROOT_CLIENT_CAS_CLIENT_CORE_H
#define TOOLROOT_CLIENT_CAS_CLIENT_CORE_H

#include <sys/uio.h>

#include "client/cas_client.h"
#include "client/cas_messages.h"
#include "client/retry.h"
#include "rpc/channel.h"

struct arena;
struct rpc_message;
struct thread_pool;

struct cas_client {
	struct rpc_channel *channel; /* borrowed */
	char *instance;
	enum digest_function function;
	const struct rpc_metadata *metadata; /* borrowed */
	size_t metadata_count;
	struct thread_pool *pool;
	unsigned retries;
	int64_t timeout_ms;
	bool compress;
	struct cas_capabilities capabilities;
};

/* One call of the public interface, with the metadata all its RPCs carry. */
struct cas_call {
	struct cas_client *client;
	const atomic_bool *cancelled;
	struct rpc_metadata *metadata;
	size_t metadata_count;
	struct str packed; /* RequestMetadata */
};

/* Most bytes of blobs in one batch, below gRPC's usual limit of 4 MiB for a
 * message, and most blobs. */
#define CAS_BATCH_BYTES_MAX ((4u << 20) - (512u << 10))
#define CAS_BATCH_COUNT_MAX 2048u
/* Larger ones are streamed even if a batch could hold them. */
#define CAS_SMALL_MAX (1u << 20)
/* Bytes in one message of a stream. */
#define CAS_CHUNK (1u << 20)

/* transfer may be NULL. */
void cas_call_init(struct cas_call *call, struct cas_client *client,
    const struct cas_transfer *transfer);
void cas_call_clear(struct cas_call *call);
/* 0, or -1 with CANCELLED when nobody wants the result any more. */
int cas_call_wanted(const struct cas_call *call, struct error *err);
/* Takes the request. */
int cas_call_unary(const struct cas_call *call, const char *path,
    struct rpc_message *request, struct rpc_message **response,
    struct error *err);
/* A stream that moves so many bytes, with the time they may take. */
struct rpc_stream *cas_call_stream(const struct cas_call *call,
    const char *path, uint64_t bytes, struct error *err);
void cas_call_retry(const struct cas_call *call, struct retry *retry);

bool cas_client_is_small(const struct cas_client *client, uint64_t size);
/* Streams of this size are compressed. */
bool cas_client_compresses(const struct cas_client *client, uint64_t size);

/* The error that an item of a batch carries, or 0. Names the digest. */
int cas_batch_item_error(
    const struct cas_batch_item *item, const char *what, struct error *err);

/* --- streams -------------------------------------------------------------- */

/* Where a download goes. append gets the identity bytes in order, each once,
 * over however many tries; received counts them. */
struct blob_sink {
	/* The next bytes, as they lie in memory; the array may be changed. */
	int (*append)(struct blob_sink *sink, struct iovec *parts, size_t count,
	    struct error *err);
	uint64_t received;
};

/* 1 when all bytes were given to the sink (who checks them), 0 when the server
 * lacks the blob, -1. Goes on where a broken stream stopped. */
int cas_read_stream(const struct cas_call *call, const struct digest *digest,
    struct blob_sink *sink, struct error *err);

int cas_write_stream(const struct cas_call *call,
    const struct cas_upload *upload, struct error *err);

#endif
