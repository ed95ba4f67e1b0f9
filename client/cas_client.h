/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A remote content-addressable storage: what a server lacks, what it has, and
 * moving blobs both ways. For the worker, the cargo front, toolchain capture
 * and doctor.
 *
 * Small blobs go in batches, large ones each in a stream of its own, several
 * at once on the client's threads. A stream that breaks goes on where it
 * stopped. What comes in is checked against its digest before anybody sees it.
 * UNAVAILABLE, RESOURCE_EXHAUSTED and ABORTED are tried again, a bounded
 * number of times without progress, with growing pauses or those that the
 * server asks for. Errors name the digest.
 *
 * All functions block and may be called from any thread.
 * Rules: REAPI ContentAddressableStorage and Capabilities, ByteStream.
 */
#ifndef TOOLROOT_CLIENT_CAS_CLIENT_H
#define TOOLROOT_CLIENT_CAS_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "cas/digest.h"

struct buffer;
struct cas_client;
struct digest_list;
struct error;
struct request_metadata;
struct rpc_channel;
struct rpc_metadata;
struct store;

struct cas_client_options {
	struct rpc_channel *channel; /* borrowed */
	const char *instance;        /* copied; NULL = "" */
	enum digest_function function;
	/* Sent with every call (a token, say); borrowed. */
	const struct rpc_metadata *metadata;
	size_t metadata_count;
	size_t threads;     /* transfers at once; 0 = 8 */
	unsigned retries;   /* without progress; 0 = 5 */
	int64_t timeout_ms; /* of a call; streams get more as they are
			     * larger; 0 = one minute */
	/* Of the first call, which shows whether a server is there; 0 = as
	 * above. */
	int64_t first_timeout_ms;
	bool compress; /* zstd for streams, if the server has it: for
			* slow networks */
};

struct cas_capabilities {
	uint64_t max_batch_bytes;  /* blobs in one batch of ours; never 0 */
	uint64_t told_batch_bytes; /* what the server allows; 0 = no limit */
	uint64_t max_blob_bytes;   /* 0 = no limit told */
	bool zstd;                 /* in streams */
	bool execution;
	bool action_cache_update;
};

/* Asks for the server's capabilities, once. FAILED_PRECONDITION when it does
 * not have our digest function, with those that it has. */
struct cas_client *cas_client_open(
    const struct cas_client_options *options, struct error *err);
/* No call may be running. NULL is allowed. */
void cas_client_close(struct cas_client *client);
const struct cas_capabilities *cas_client_capabilities(
    const struct cas_client *client);

/* On whose behalf a call is made. */
struct cas_transfer {
	const struct request_metadata *metadata; /* NULL = none */
	/* Turns true when nobody wants the result any more; looked at before
	 * each call, between the messages of a stream and in pauses, and
	 * CANCELLED is returned then. A call that is under way is waited
	 * for. NULL = never. */
	const atomic_bool *cancelled;
};

/* Adds to missing what the server lacks, each once. */
int cas_client_find_missing(struct cas_client *client,
    const struct cas_transfer *transfer, const struct digest_list *digests,
    struct digest_list *missing, struct error *err);

/* Appends the blob to content. 1, 0 when the server lacks it, -1. On error
 * content is as it was. */
int cas_client_read(struct cas_client *client,
    const struct cas_transfer *transfer, const struct digest *digest,
    struct buffer *content, struct error *err);
/* The same into a file from byte 0 on; only after 1 may it be trusted. */
int cas_client_read_file(struct cas_client *client,
    const struct cas_transfer *transfer, const struct digest *digest, int fd,
    struct error *err);

struct cas_client_file {
	struct digest digest;
	int fd;
};

/* Several of them at once, as far as threads have nothing else to do. A blob
 * that the server lacks is a NOT_FOUND that names it. After an error none may
 * be trusted; what has not begun then does not. */
int cas_client_read_files(struct cas_client *client,
    const struct cas_transfer *transfer, const struct cas_client_file *files,
    size_t count, struct error *err);

struct cas_download {
	struct store *store;
	const struct digest_list *digests;
	/* Gets those that the server lacks, which is no error. Its limit is
	 * at least the number of digests. */
	struct digest_list *absent;
	/* A blob is in the store, durable. Any thread; must not block. NULL
	 * is allowed. */
	void (*arrived)(void *cookie, const struct digest *digest);
	void *cookie;
};

/* Into a store, whatever it has already too. */
int cas_client_download(struct cas_client *client,
    const struct cas_transfer *transfer, const struct cas_download *download,
    struct error *err);

enum cas_upload_from {
	CAS_UPLOAD_CONTENT, /* content */
	CAS_UPLOAD_FILE,    /* the file at path */
	CAS_UPLOAD_STORE,   /* the blob in store */
};

struct cas_upload {
	struct digest digest;
	enum cas_upload_from from;
	struct str content;
	const char *path;
	/* Others may exchange the file: path is found beneath directory, and
	 * what it names is no link. */
	bool beneath;
	int directory;
	struct store *store;
};

struct cas_upload_stats {
	uint64_t present_blobs; /* the server had them */
	uint64_t sent_blobs;
	uint64_t sent_bytes; /* of identity content */
};

/* Sends what the server lacks. FAILED_PRECONDITION for a file that is not (any
 * longer) what its digest says; INVALID_ARGUMENT for a blob that the server
 * would refuse for its size. stats may be NULL. */
int cas_client_upload(struct cas_client *client,
    const struct cas_transfer *transfer, const struct cas_upload *uploads,
    size_t count, struct cas_upload_stats *stats, struct error *err);

#endif
