/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A storage server on loopback over blobs in memory, with faults on demand: it
 * refuses calls, breaks streams, lies about bytes. Its messages go through
 * protobuf-c, not through the code under test. One a process. For tests only.
 */
#ifndef TOOLROOT_TESTS_FAKE_CAS_H
#define TOOLROOT_TESTS_FAKE_CAS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include <google/bytestream/bytestream.pb-c.h>
#include <pthread.h>
#include <stdatomic.h>
#include <zstd.h>

#include "base/arena.h"
#include "cas/digest_message.h"
#include "client/cas_client.h"
#include "rpc/call.h"
#include "rpc/channel.h"
#include "rpc/message.h"
#include "rpc/runtime.h"
#include "rpc/server.h"
#include "tests/unit/cas/fake_blobs.h"

#ifndef FAKE_CHUNK
#define FAKE_CHUNK 50000
#endif

static struct fake_cas {
	struct thread_pool *pool;
	struct rpc_server *server;
	struct rpc_channel *channel;
	/* Guards the blobs and the partial upload; the tests set and read the
	 * atomics without it. */
	pthread_mutex_t lock;
	struct fake_blobs blobs;
	/* Faults; each counts down. */
	atomic_uint refuse_calls; /* unary calls: UNAVAILABLE */
	atomic_uint refuse_items; /* blobs of batches: UNAVAILABLE */
	atomic_uint break_streams;
	atomic_size_t break_after; /* bytes of data, then UNAVAILABLE */
	atomic_bool corrupt;       /* flip a bit of all that is read */
	atomic_bool early_answer;  /* to a Write, after its first message */
	/* Capabilities. */
	atomic_bool zstd;
	atomic_int_fast64_t max_batch;
	atomic_int_fast64_t max_blob;
	Reapi__DigestFunction__Value function;
	/* What was seen. */
	atomic_uint batch_reads;
	atomic_uint batch_updates;
	atomic_uint find_missings;
	atomic_uint reads;
	atomic_uint writes;
	atomic_uint statuses;
	atomic_size_t digests_read; /* in batches */
	atomic_int_fast64_t
	    last_offset;        /* of a Read or the first WriteRequest */
	atomic_size_t received; /* bytes of Writes */
	atomic_bool saw_zstd;
	atomic_bool saw_metadata;
	/* The upload that was broken off. */
	struct buffer partial_name;
	struct buffer partial;
} fake;

static inline void
fake_lock(void)
{
	pthread_mutex_lock(&fake.lock);
}

static inline void
fake_unlock(void)
{
	pthread_mutex_unlock(&fake.lock);
}

static inline struct digest
fake_add(struct str bytes)
{
	struct digest digest;

	fake_lock();
	digest = fake_blobs_add(&fake.blobs, bytes);
	fake_unlock();
	return digest;
}

static inline bool
fake_has(const struct digest *digest)
{
	bool has;

	fake_lock();
	has = map_get(&fake.blobs.map, digest_key(digest)) != NULL;
	fake_unlock();
	return has;
}

/* --- unary methods -------------------------------------------------------- */

/* NULL when the call was refused on purpose. */
static inline void *
fake_request(
    struct rpc_call *call, const ProtobufCMessageDescriptor *descriptor)
{
	struct error err;
	bool refuse;
	void *message;

	fake_lock();
	refuse = fake.refuse_calls > 0;
	fake.refuse_calls -= refuse;
	if (rpc_call_metadata(call,
		STR("build.bazel.remote.execution.v2.requestmetadata-bin"))
		.data != NULL)
		fake.saw_metadata = true;
	fake_unlock();
	if (refuse) {
		error_set_retry(&err, ERROR_UNAVAILABLE, 20, "not now");
		rpc_call_finish(call, &err);
		return NULL;
	}
	message = rpc_message_unpack(
	    rpc_call_request(call), descriptor, rpc_call_arena(call), &err);
	if (message == NULL)
		rpc_call_finish(call, &err);
	return message;
}

static inline void *
fake_take(struct rpc_call *call, size_t size)
{
	void *piece = arena_zalloc(rpc_call_arena(call), 1, size);

	if (piece == NULL)
		abort();
	return piece;
}

static inline struct digest
fake_digest(const Reapi__Digest *message)
{
	struct digest digest;
	struct error err;

	if (digest_from_message(DIGEST_SHA256, message, &digest, &err) < 0)
		abort();
	return digest;
}

static inline void
fake_capabilities(struct rpc_call *call, void *service)
{
	Reapi__ServerCapabilities reply = REAPI__SERVER_CAPABILITIES__INIT;
	Reapi__CacheCapabilities cache = REAPI__CACHE_CAPABILITIES__INIT;
	Reapi__Compressor__Value zstd = REAPI__COMPRESSOR__VALUE__ZSTD;

	(void)service;
	if (fake_request(call, &reapi__get_capabilities_request__descriptor) ==
	    NULL)
		return;
	cache.n_digest_functions = 1;
	cache.digest_functions = &fake.function;
	cache.max_batch_total_size_bytes = fake.max_batch;
	cache.max_cas_blob_size_bytes = fake.max_blob;
	cache.n_supported_compressors = fake.zstd;
	cache.supported_compressors = &zstd;
	reply.cache_capabilities = &cache;
	rpc_call_reply_packed(call, &reply.base);
}

static inline void
fake_find_missing(struct rpc_call *call, void *service)
{
	Reapi__FindMissingBlobsResponse reply =
	    REAPI__FIND_MISSING_BLOBS_RESPONSE__INIT;
	Reapi__FindMissingBlobsRequest *request =
	    fake_request(call, &reapi__find_missing_blobs_request__descriptor);

	(void)service;
	if (request == NULL)
		return;
	reply.missing_blob_digests =
	    fake_take(call, (request->n_blob_digests + 1) * sizeof(void *));
	for (size_t i = 0; i < request->n_blob_digests; i++) {
		struct digest digest = fake_digest(request->blob_digests[i]);

		if (!fake_has(&digest))
			reply.missing_blob_digests
			    [reply.n_missing_blob_digests++] =
			    request->blob_digests[i];
	}
	fake_lock();
	fake.find_missings++;
	fake_unlock();
	rpc_call_reply_packed(call, &reply.base);
}

static inline GrpcStatus__Status *
fake_status(struct rpc_call *call, int code)
{
	GrpcStatus__Status *status = fake_take(call, sizeof(*status));

	grpc_status__status__init(status);
	status->code = code;
	return status;
}

static inline bool
fake_refuses_item(void)
{
	bool refuse = fake.refuse_items > 0;

	fake.refuse_items -= refuse;
	return refuse;
}

static inline void
fake_batch_read(struct rpc_call *call, void *service)
{
	Reapi__BatchReadBlobsResponse reply =
	    REAPI__BATCH_READ_BLOBS_RESPONSE__INIT;
	Reapi__BatchReadBlobsRequest *request =
	    fake_request(call, &reapi__batch_read_blobs_request__descriptor);

	(void)service;
	if (request == NULL)
		return;
	reply.responses = fake_take(call, request->n_digests * sizeof(void *));
	fake_lock();
	fake.batch_reads++;
	for (size_t i = 0; i < request->n_digests; i++) {
		Reapi__BatchReadBlobsResponse__Response *item =
		    fake_take(call, sizeof(*item));
		struct digest digest = fake_digest(request->digests[i]);
		const struct fake_blob *blob =
		    map_get(&fake.blobs.map, digest_key(&digest));

		reapi__batch_read_blobs_response__response__init(item);
		/* Backwards: no order is promised. */
		reply.responses[request->n_digests - 1 - i] = item;
		item->digest = request->digests[i];
		if (fake_refuses_item()) {
			item->status = fake_status(call, ERROR_UNAVAILABLE);
		} else if (blob == NULL) {
			item->status = fake_status(call, ERROR_NOT_FOUND);
		} else {
			uint8_t *data = fake_take(call, blob->len);

			memcpy(data, blob->data, blob->len);
			data[0] ^= fake.corrupt;
			item->data.data = data;
			item->data.len = blob->len;
			fake.digests_read++;
		}
	}
	fake_unlock();
	reply.n_responses = request->n_digests;
	rpc_call_reply_packed(call, &reply.base);
}

static inline void
fake_batch_update(struct rpc_call *call, void *service)
{
	Reapi__BatchUpdateBlobsResponse reply =
	    REAPI__BATCH_UPDATE_BLOBS_RESPONSE__INIT;
	Reapi__BatchUpdateBlobsRequest *request =
	    fake_request(call, &reapi__batch_update_blobs_request__descriptor);

	(void)service;
	if (request == NULL)
		return;
	reply.responses = fake_take(call, request->n_requests * sizeof(void *));
	fake_lock();
	fake.batch_updates++;
	for (size_t i = 0; i < request->n_requests; i++) {
		Reapi__BatchUpdateBlobsResponse__Response *item =
		    fake_take(call, sizeof(*item));
		struct str data = {
		    (const char *)request->requests[i]->data.data,
		    request->requests[i]->data.len};
		struct digest wanted =
		    fake_digest(request->requests[i]->digest);
		struct digest actual;
		int code = ERROR_OK;

		digest_compute(DIGEST_SHA256, data.data, data.len, &actual);
		if (fake_refuses_item())
			code = ERROR_RESOURCE_EXHAUSTED;
		else if (!digest_equal(&wanted, &actual))
			code = ERROR_INVALID_ARGUMENT;
		else
			fake_blobs_add(&fake.blobs, data);
		reapi__batch_update_blobs_response__response__init(item);
		item->digest = request->requests[i]->digest;
		item->status = fake_status(call, code);
		reply.responses[i] = item;
	}
	fake_unlock();
	reply.n_responses = request->n_requests;
	rpc_call_reply_packed(call, &reply.base);
}

/* --- reading streams ------------------------------------------------------ */

/* "[instance/]...blobs/[zstd/]<hash>/<size>" */
static inline struct digest
fake_resource(struct str name, bool *zstd)
{
	char *text = xstrndup(name.data, name.len);
	char *slash = strrchr(text, '/');
	struct digest digest;
	struct error err;

	*zstd = strstr(text, "compressed-blobs/zstd/") != NULL;
	if (strncmp(text, "some/instance/", 14) != 0)
		abort();
	while (slash[-1] != '/')
		slash--;
	if (digest_parse_text(DIGEST_SHA256, str_from(slash), &digest, &err) <
	    0)
		abort();
	free(text);
	return digest;
}

struct fake_read {
	char *data;
	size_t len;
	size_t sent;
	size_t break_at;
};

static inline void
fake_read_next(struct rpc_call *call, bool ok, void *cookie)
{
	struct fake_read *read = cookie;
	Bytestream__ReadResponse response = BYTESTREAM__READ_RESPONSE__INIT;
	struct error err;

	if (!ok || read->sent >= read->break_at) {
		error_set(&err, ERROR_UNAVAILABLE, "the stream broke");
		rpc_call_finish(call, &err);
		free(read->data);
		return;
	}
	if (read->sent == read->len) {
		rpc_call_finish(call, NULL);
		free(read->data);
		return;
	}
	response.data.data = (uint8_t *)read->data + read->sent;
	response.data.len = read->len - read->sent < FAKE_CHUNK
				? read->len - read->sent
				: FAKE_CHUNK;
	read->sent += response.data.len;
	rpc_call_send(
	    call, rpc_message_pack(&response.base), fake_read_next, read);
}

static inline void
fake_read_data(struct fake_read *read, const struct fake_blob *blob,
    size_t offset, bool zstd)
{
	read->len = blob->len - offset;
	if (zstd) {
		read->data = xmalloc(ZSTD_compressBound(read->len));
		read->len =
		    ZSTD_compress(read->data, ZSTD_compressBound(read->len),
			blob->data + offset, read->len, 1);
	} else {
		read->data = xmalloc(read->len + 1);
		memcpy(read->data, blob->data + offset, read->len);
		if (read->len > 0)
			read->data[0] = (char)(read->data[0] ^ fake.corrupt);
	}
	read->break_at = SIZE_MAX;
	if (fake.break_streams > 0) {
		fake.break_streams--;
		read->break_at = fake.break_after;
	}
}

static inline void
fake_read(struct rpc_call *call, void *service)
{
	Bytestream__ReadRequest *request;
	struct fake_read *read = fake_take(call, sizeof(*read));
	const struct fake_blob *blob;
	struct digest digest;
	struct error err;
	bool zstd;

	(void)service;
	request = rpc_message_unpack(rpc_call_request(call),
	    &bytestream__read_request__descriptor, rpc_call_arena(call), &err);
	if (request == NULL)
		abort();
	digest = fake_resource(
	    (struct str){(const char *)request->resource_name.data,
		request->resource_name.len},
	    &zstd);
	fake_lock();
	fake.reads++;
	fake.last_offset = request->read_offset;
	fake.saw_zstd = zstd;
	blob = map_get(&fake.blobs.map, digest_key(&digest));
	if (blob != NULL)
		fake_read_data(read, blob, (size_t)request->read_offset, zstd);
	fake_unlock();
	if (blob != NULL) {
		fake_read_next(call, true, read);
		return;
	}
	error_set(&err, ERROR_NOT_FOUND, "no such blob");
	rpc_call_finish(call, &err);
}

#include "tests/unit/client/fake_write.h"

/* --- life ----------------------------------------------------------------- */

#define FAKE_CAS "/build.bazel.remote.execution.v2.ContentAddressableStorage/"
#define FAKE_BYTES "/google.bytestream.ByteStream/"

static const struct rpc_method fake_methods[] = {
    {"/build.bazel.remote.execution.v2.Capabilities/GetCapabilities", RPC_UNARY,
	fake_capabilities, NULL},
    {FAKE_CAS "FindMissingBlobs", RPC_UNARY, fake_find_missing, NULL},
    {FAKE_CAS "BatchReadBlobs", RPC_UNARY, fake_batch_read, NULL},
    {FAKE_CAS "BatchUpdateBlobs", RPC_UNARY, fake_batch_update, NULL},
    {FAKE_BYTES "Read", RPC_SERVER_STREAM, fake_read, NULL},
    {FAKE_BYTES "Write", RPC_CLIENT_STREAM, fake_write, NULL},
    {FAKE_BYTES "QueryWriteStatus", RPC_UNARY, fake_query_status, NULL},
};

static inline void
fake_cas_start(void)
{
	struct rpc_server_options options = {
	    .listen = "127.0.0.1:0",
	    .methods = fake_methods,
	    .method_count = sizeof(fake_methods) / sizeof(fake_methods[0]),
	    .pollers = 2,
	    .max_receive_bytes = 8 << 20,
	    .max_call_memory = 64 << 20,
	    .max_streams = 100,
	    .transport_memory = 1 << 30,
	};
	struct rpc_channel_options channel = {0};
	struct error err;
	char address[128];

	memset(&fake, 0, sizeof(fake));
	pthread_mutex_init(&fake.lock, NULL);
	fake_blobs_init(&fake.blobs);
	buffer_init(&fake.partial_name, 4096);
	buffer_init(&fake.partial, 64 << 20);
	fake.function = REAPI__DIGEST_FUNCTION__VALUE__SHA256;
	fake.pool = thread_pool_new(1);
	options.pool = fake.pool;
	fake.server = rpc_server_new(&options, &err);
	if (fake.server == NULL)
		fail_msg("%s", err.text);
	rpc_server_start(fake.server);
	snprintf(address, sizeof(address), "grpc://%s",
	    rpc_server_address(fake.server));
	channel.address = address;
	fake.channel = rpc_channel_open(&channel, &err);
	if (fake.channel == NULL)
		fail_msg("%s", err.text);
}

static inline void
fake_cas_stop(void)
{
	rpc_channel_close(fake.channel);
	rpc_server_stop(fake.server, 1000);
	rpc_server_free(fake.server);
	thread_pool_free(fake.pool);
	fake_blobs_clear(&fake.blobs);
	buffer_clear(&fake.partial_name);
	buffer_clear(&fake.partial);
	pthread_mutex_destroy(&fake.lock);
}

static inline struct cas_client *
fake_cas_client(bool compress)
{
	struct cas_client_options options = {.channel = fake.channel,
	    .instance = "some/instance",
	    .function = DIGEST_SHA256,
	    .threads = 4,
	    .retries = 3,
	    .timeout_ms = 10000,
	    .compress = compress};
	struct error err;
	struct cas_client *client = cas_client_open(&options, &err);

	if (client == NULL)
		fail_msg("%s", err.text);
	return client;
}

#endif
