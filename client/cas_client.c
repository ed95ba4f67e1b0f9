/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a client, its calls, and what a server lacks. */
#include "client/cas_client_core.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "cas/digest_list.h"
#include "cas/digest_message.h"
#include "client/request_metadata.h"
#include "rpc/message.h"

#define PATH_CAPABILITIES \
	"/build.bazel.remote.execution.v2.Capabilities/GetCapabilities"
#define PATH_FIND_MISSING \
	"/build.bazel.remote.execution.v2.ContentAddressableStorage/" \
	"FindMissingBlobs"

#define DEFAULT_THREADS 8
#define DEFAULT_RETRIES 5
#define DEFAULT_TIMEOUT_MS 60000
/* A stream slower than this on the whole has stalled. */
#define SLOWEST_BYTES_PER_MS 64
/* Digests in one FindMissingBlobs: below 4 MiB for any function. */
#define FIND_MISSING_MAX 20000
#define COMPRESS_MIN (64u << 10)
/* Of a decoded response; the encoded one is bounded by the channel. */
#define RESPONSE_MEMORY (256u << 20)

/* --- calls ---------------------------------------------------------------- */

void
cas_call_init(struct cas_call *call, struct cas_client *client,
    const struct cas_transfer *transfer)
{
	const struct request_metadata *metadata =
	    transfer != NULL ? transfer->metadata : NULL;
	size_t count = client->metadata_count;

	*call = (struct cas_call){.client = client,
	    .cancelled = transfer != NULL ? transfer->cancelled : NULL};
	call->metadata = xcalloc(count + 1, sizeof(*call->metadata));
	for (size_t i = 0; i < count; i++)
		call->metadata[i] = client->metadata[i];
	if (metadata != NULL)
		call->packed = request_metadata_pack(metadata);
	if (call->packed.len > 0)
		call->metadata[count++] =
		    (struct rpc_metadata){REQUEST_METADATA_KEY, call->packed};
	call->metadata_count = count;
}

void
cas_call_clear(struct cas_call *call)
{
	free(call->metadata);
	free((char *)call->packed.data);
}

int
cas_call_wanted(const struct cas_call *call, struct error *err)
{
	if (call->cancelled == NULL || !atomic_load(call->cancelled))
		return 0;
	return error_set(err, ERROR_CANCELLED, "the transfer was cancelled");
}

int
cas_call_unary(const struct cas_call *call, const char *path,
    struct rpc_message *request, struct rpc_message **response,
    struct error *err)
{
	struct rpc_call_options options = {
	    .timeout_ms = call->client->timeout_ms,
	    .retries = call->client->retries,
	    .metadata = call->metadata,
	    .metadata_count = call->metadata_count,
	};
	int rc = cas_call_wanted(call, err);

	if (rc == 0)
		rc = rpc_channel_call(call->client->channel, path, request,
		    &options, response, err);
	rpc_message_free(request);
	return rc;
}

struct rpc_stream *
cas_call_stream(const struct cas_call *call, const char *path, uint64_t bytes,
    struct error *err)
{
	struct rpc_call_options options = {
	    .timeout_ms = call->client->timeout_ms +
			  (int64_t)(bytes / SLOWEST_BYTES_PER_MS),
	    .metadata = call->metadata,
	    .metadata_count = call->metadata_count,
	};

	if (cas_call_wanted(call, err) < 0)
		return NULL;
	return rpc_stream_open(call->client->channel, path, &options, err);
}

void
cas_call_retry(const struct cas_call *call, struct retry *retry)
{
	retry_init(retry, call->client->retries, call->cancelled);
}

int
cas_batch_item_error(
    const struct cas_batch_item *item, const char *what, struct error *err)
{
	char text[DIGEST_TEXT_MAX];

	if (item->code == ERROR_OK)
		return 0;
	error_set(err,
	    item->code <= ERROR_UNAUTHENTICATED ? (enum error_code)item->code
						: ERROR_UNKNOWN,
	    "%s %s: %.*s", what, digest_format(&item->digest, text),
	    STR_ARG(item->text));
	err->retry_delay_ms = item->retry_delay_ms;
	return -1;
}

/* --- opening -------------------------------------------------------------- */

static bool
has_function(
    const Reapi__CacheCapabilities *cache, enum digest_function function)
{
	for (size_t i = 0; i < cache->n_digest_functions; i++) {
		if ((int)cache->digest_functions[i] == (int)function)
			return true;
	}
	return false;
}

static int
refuse_function(const struct cas_client *client,
    const Reapi__CacheCapabilities *cache, struct error *err)
{
	char names[128];
	size_t len = 0;

	names[0] = '\0';
	for (size_t i = 0; i < cache->n_digest_functions; i++) {
		const ProtobufCEnumValue *value =
		    protobuf_c_enum_descriptor_get_value(
			&reapi__digest_function__value__descriptor,
			(int)cache->digest_functions[i]);
		size_t need = value != NULL ? strlen(value->name) + 1 : 0;

		if (need == 0 || len + need >= sizeof(names))
			continue;
		names[len++] = ' ';
		memcpy(names + len, value->name, need);
		len += need - 1;
	}
	return error_set(err, ERROR_FAILED_PRECONDITION,
	    "the server does not take digests by %s, only:%s",
	    digest_function_name(client->function), names);
}

static int
take_capabilities(struct cas_client *client,
    const Reapi__ServerCapabilities *message, struct error *err)
{
	const Reapi__CacheCapabilities *cache = message->cache_capabilities;
	struct cas_capabilities *to = &client->capabilities;

	if (cache == NULL)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "the server has no content-addressable storage for the "
		    "instance \"%s\"",
		    client->instance);
	if (!has_function(cache, client->function))
		return refuse_function(client, cache, err);
	to->max_batch_bytes = CAS_BATCH_BYTES_MAX;
	if (cache->max_batch_total_size_bytes > 0)
		to->told_batch_bytes =
		    (uint64_t)cache->max_batch_total_size_bytes;
	if (to->told_batch_bytes > 0 &&
	    to->told_batch_bytes < CAS_BATCH_BYTES_MAX)
		to->max_batch_bytes = to->told_batch_bytes;
	if (cache->max_cas_blob_size_bytes > 0)
		to->max_blob_bytes = (uint64_t)cache->max_cas_blob_size_bytes;
	for (size_t i = 0; i < cache->n_supported_compressors; i++) {
		if (cache->supported_compressors[i] ==
		    REAPI__COMPRESSOR__VALUE__ZSTD)
			to->zstd = true;
	}
	to->action_cache_update =
	    cache->action_cache_update_capabilities != NULL &&
	    cache->action_cache_update_capabilities->update_enabled;
	to->execution = message->execution_capabilities != NULL &&
			message->execution_capabilities->exec_enabled;
	return 0;
}

static int
ask_capabilities(struct cas_client *client, struct error *err)
{
	Reapi__GetCapabilitiesRequest request =
	    REAPI__GET_CAPABILITIES_REQUEST__INIT;
	Reapi__ServerCapabilities *message;
	struct rpc_message *response = NULL;
	struct cas_call call;
	struct arena arena;
	int rc;

	arena_init(&arena, RESPONSE_MEMORY);
	cas_call_init(&call, client, NULL);
	request.instance_name.data = (uint8_t *)client->instance;
	request.instance_name.len = strlen(client->instance);
	rc = cas_call_unary(&call, PATH_CAPABILITIES,
	    rpc_message_pack(&request.base), &response, err);
	if (rc == 0) {
		message = rpc_message_unpack(response,
		    &reapi__server_capabilities__descriptor, &arena, err);
		rc = message != NULL ? take_capabilities(client, message, err)
				     : -1;
	}
	if (rc < 0)
		error_prefix(err, "ask for the server's capabilities");
	rpc_message_free(response);
	cas_call_clear(&call);
	arena_clear(&arena);
	return rc;
}

struct cas_client *
cas_client_open(const struct cas_client_options *options, struct error *err)
{
	const char *instance =
	    options->instance != NULL ? options->instance : "";
	struct cas_client *client;
	int64_t timeout_ms;

	if (strlen(instance) > CAS_INSTANCE_MAX) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "the instance name is longer than %d bytes",
		    CAS_INSTANCE_MAX);
		return NULL;
	}
	client = xcalloc(1, sizeof(*client));
	client->channel = options->channel;
	client->instance = xstrdup(instance);
	client->function = options->function;
	client->metadata = options->metadata;
	client->metadata_count = options->metadata_count;
	client->retries =
	    options->retries > 0 ? options->retries : DEFAULT_RETRIES;
	timeout_ms =
	    options->timeout_ms > 0 ? options->timeout_ms : DEFAULT_TIMEOUT_MS;
	client->timeout_ms = options->first_timeout_ms > 0
				 ? options->first_timeout_ms
				 : timeout_ms;
	client->compress = options->compress;
	if (ask_capabilities(client, err) < 0) {
		cas_client_close(client);
		return NULL;
	}
	client->timeout_ms = timeout_ms;
	client->pool = thread_pool_new(
	    options->threads > 0 ? options->threads : DEFAULT_THREADS);
	return client;
}

void
cas_client_close(struct cas_client *client)
{
	if (client == NULL)
		return;
	thread_pool_free(client->pool);
	free(client->instance);
	free(client);
}

const struct cas_capabilities *
cas_client_capabilities(const struct cas_client *client)
{
	return &client->capabilities;
}

bool
cas_client_is_small(const struct cas_client *client, uint64_t size)
{
	return size <= CAS_SMALL_MAX &&
	       size <= client->capabilities.max_batch_bytes;
}

bool
cas_client_compresses(const struct cas_client *client, uint64_t size)
{
	return client->compress && client->capabilities.zstd &&
	       size >= COMPRESS_MIN;
}

/* --- what a server lacks -------------------------------------------------- */

static int
take_missing(const struct cas_client *client, struct rpc_message *response,
    size_t asked, struct digest_list *missing, struct error *err)
{
	const Reapi__FindMissingBlobsResponse *message;
	struct digest digest;
	struct arena arena;
	int rc = -1;

	arena_init(&arena, RESPONSE_MEMORY);
	message = rpc_message_unpack(response,
	    &reapi__find_missing_blobs_response__descriptor, &arena, err);
	if (message == NULL)
		goto out;
	if (message->n_missing_blob_digests > asked) {
		error_set(err, ERROR_INTERNAL,
		    "the server misses %zu blobs of %zu",
		    message->n_missing_blob_digests, asked);
		goto out;
	}
	for (size_t i = 0; i < message->n_missing_blob_digests; i++) {
		if (digest_from_message(client->function,
			message->missing_blob_digests[i], &digest, err) < 0)
			goto out;
		if (digest_list_add(missing, &digest) < 0) {
			error_set(err, ERROR_INTERNAL,
			    "more than %zu blobs are missing", missing->limit);
			goto out;
		}
	}
	rc = 0;
out:
	arena_clear(&arena);
	return rc;
}

int
cas_client_find_missing(struct cas_client *client,
    const struct cas_transfer *transfer, const struct digest_list *digests,
    struct digest_list *missing, struct error *err)
{
	struct cas_call call;
	int rc = 0;

	cas_call_init(&call, client, transfer);
	for (size_t i = 0; i < digests->count && rc == 0;
	     i += FIND_MISSING_MAX) {
		size_t left = digests->count - i;
		size_t count =
		    left < FIND_MISSING_MAX ? left : FIND_MISSING_MAX;
		struct rpc_message *response = NULL;

		rc = cas_call_unary(&call, PATH_FIND_MISSING,
		    cas_message_find_missing(str_from(client->instance),
			client->function, digests->items + i, count),
		    &response, err);
		if (rc == 0)
			rc =
			    take_missing(client, response, count, missing, err);
		rpc_message_free(response);
	}
	if (rc < 0)
		error_prefix(err, "find missing blobs");
	digest_list_unique(missing);
	cas_call_clear(&call);
	return rc;
}
