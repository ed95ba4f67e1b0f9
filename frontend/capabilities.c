/* SPDX-License-Identifier: Apache-2.0 */
/* Capabilities: what this server can do, from its settings. On the poller. */
#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "base/error.h"
#include "executor/operation.h"
#include "frontend/method_table.h"
#include "frontend/storage.h"
#include "frontend/unary_call.h"
#include "protos/binary.h"
#include "rpc/call.h"
#include "rpc/message.h"

#define FUNCTIONS_MAX 32

/* The specification's version that we keep, and the oldest client's. */
static const int32_t low_version[] = {2, 0};
static const int32_t high_version[] = {2, 12};

/* The reply is a tree of messages; these are its nodes. */
struct capabilities {
	Reapi__ServerCapabilities server;
	Reapi__CacheCapabilities cache;
	Reapi__ExecutionCapabilities execution;
	Reapi__ActionCacheUpdateCapabilities update;
	Reapi__PriorityCapabilities priorities;
	Reapi__PriorityCapabilities__PriorityRange range;
	Reapi__PriorityCapabilities__PriorityRange *ranges[1];
	Reapi__DigestFunction__Value functions[FUNCTIONS_MAX];
	Reapi__Compressor__Value compressors[1];
	ProtobufCBinaryData properties[2];
	Semver__SemVer low;
	Semver__SemVer high;
};

static size_t
put_functions(const struct storage *storage,
    Reapi__DigestFunction__Value functions[static FUNCTIONS_MAX])
{
	size_t count = 0;

	for (int i = 0; i < FUNCTIONS_MAX; i++) {
		if (storage_function_enabled(storage, (enum digest_function)i))
			functions[count++] = (Reapi__DigestFunction__Value)i;
	}
	return count;
}

static void
put_cache(struct capabilities *c, const struct storage *storage, size_t count)
{
	reapi__cache_capabilities__init(&c->cache);
	reapi__action_cache_update_capabilities__init(&c->update);
	c->update.update_enabled = storage->cache_updates;
	c->compressors[0] = REAPI__COMPRESSOR__VALUE__ZSTD;
	c->cache.digest_functions = c->functions;
	c->cache.n_digest_functions = count;
	c->cache.action_cache_update_capabilities = &c->update;
	c->cache.max_batch_total_size_bytes = STORAGE_BATCH_MAX;
	c->cache.symlink_absolute_path_strategy =
	    REAPI__SYMLINK_ABSOLUTE_PATH_STRATEGY__VALUE__ALLOWED;
	c->cache.supported_compressors = c->compressors;
	c->cache.n_supported_compressors = 1;
	c->cache.supported_batch_update_compressors = c->compressors;
	c->cache.n_supported_batch_update_compressors = 1;
	c->cache.max_cas_blob_size_bytes = (int64_t)storage->max_blob_size;
}

static void
put_execution(struct capabilities *c, size_t count)
{
	reapi__execution_capabilities__init(&c->execution);
	reapi__priority_capabilities__init(&c->priorities);
	reapi__priority_capabilities__priority_range__init(&c->range);
	c->range.min_priority = OPERATION_PRIORITY_MIN;
	c->range.max_priority = OPERATION_PRIORITY_MAX;
	c->ranges[0] = &c->range;
	c->priorities.priorities = c->ranges;
	c->priorities.n_priorities = 1;
	c->properties[0] = (ProtobufCBinaryData){9, (uint8_t *)"unix_mode"};
	c->properties[1] = (ProtobufCBinaryData){5, (uint8_t *)"mtime"};
	/* Functions are in the order of their numbers: SHA-256 leads. */
	c->execution.digest_function = c->functions[0];
	c->execution.exec_enabled = true;
	c->execution.execution_priority_capabilities = &c->priorities;
	c->execution.supported_node_properties = c->properties;
	c->execution.n_supported_node_properties = 2;
	c->execution.digest_functions = c->functions;
	c->execution.n_digest_functions = count;
}

static void
reply_capabilities(struct rpc_call *call, const struct storage *storage)
{
	struct capabilities c;
	size_t count = put_functions(storage, c.functions);

	reapi__server_capabilities__init(&c.server);
	put_cache(&c, storage, count);
	c.server.cache_capabilities = &c.cache;
	if (storage->execution) {
		put_execution(&c, count);
		c.server.execution_capabilities = &c.execution;
	}
	semver__sem_ver__init(&c.low);
	semver__sem_ver__init(&c.high);
	c.low.major = low_version[0];
	c.low.minor = low_version[1];
	c.high.major = high_version[0];
	c.high.minor = high_version[1];
	c.server.low_api_version = &c.low;
	c.server.high_api_version = &c.high;
	rpc_call_reply_packed(call, &c.server.base);
}

static int
get_capabilities_run(struct unary_call *call, struct error *err)
{
	const Reapi__GetCapabilitiesRequest *request = unary_call_unpack(
	    call, &reapi__get_capabilities_request__descriptor, err);

	if (request == NULL || storage_check_instance(call->service,
				   binary_str(request->instance_name), err) < 0)
		return -1;
	reply_capabilities(call->rpc, call->service);
	return 0;
}

static void
get_capabilities(struct rpc_call *call, void *storage)
{
	unary_call_run(call, storage, get_capabilities_run);
}

void
capabilities_add(struct method_table *table, struct storage *storage)
{
	method_table_add(table,
	    (struct rpc_method){"/build.bazel.remote.execution.v2.Capabilities/"
				"GetCapabilities",
		RPC_UNARY, get_capabilities, storage});
}
