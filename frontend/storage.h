/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the storage services (ContentAddressableStorage, ByteStream,
 * ActionCache, Capabilities) share: the store, the limits, and the checks that
 * each request goes through. Made by serve before the server starts, constant
 * afterwards; the budget, the uploads and counts guard themselves.
 */
#ifndef TOOLROOT_FRONTEND_STORAGE_H
#define TOOLROOT_FRONTEND_STORAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/settings.h"
#include "base/str.h"
#include "cas/digest.h"

struct budget;
struct error;
struct execution_service;
struct explainer;
struct method_table;
struct rpc_call;
struct store;
struct upload_table;

/* gRPC clients refuse messages above 4 MiB unless told otherwise: no message
 * of ours is larger. */
#define STORAGE_SEND_MAX (4u << 20)
/* Advertised for batches: room is left for what surrounds the blobs, so that a
 * client which fills a batch to the limit stays below 4 MiB too. */
#define STORAGE_BATCH_MAX (STORAGE_SEND_MAX - (64u << 10))
/* Entries of one batch request. */
#define STORAGE_BATCH_ENTRIES_MAX 100000u
/* Requests above this many bytes leave the poller for the pool. */
#define STORAGE_INLINE_WORK_MAX (64u << 10)
/* One message of a ByteStream read. */
#define STORAGE_READ_CHUNK (1u << 20)

struct storage {
	struct store *store;
	/* Of ByteStream uploads: a share of its own, so that stalled ones leave
	 * requests theirs. */
	struct budget *upload_memory;
	struct upload_table *uploads;
	atomic_size_t committing;    /* uploads that wait for the store */
	struct explainer *explainer; /* NULL: misses are not explained */
	/* Whose actions' output may be read while they run; or NULL. */
	struct execution_service *executions;
	/* Bit n: the digest function with number n is enabled. */
	uint32_t digest_functions;
	/* Instance names that are served; count 0: all of them. */
	struct setting_list instances;
	bool execution;         /* advertised */
	bool cache_updates;     /* UpdateActionResult from clients is allowed */
	uint64_t max_blob_size; /* 0 = what the store can hold */
};

/* The names follow the segment rules of REAPI and, where the settings list
 * instances, this is one of them: else INVALID_ARGUMENT or NOT_FOUND. */
int storage_check_instance(
    const struct storage *storage, struct str instance, struct error *err);
/* The digest function of a request: as given, or inferred from the length of a
 * hash when 0. INVALID_ARGUMENT when it is not enabled, with those that are. */
int storage_digest_function(const struct storage *storage, uint64_t given,
    size_t hash_characters, enum digest_function *function, struct error *err);
bool storage_function_enabled(
    const struct storage *storage, enum digest_function function);
/* A serialised Digest message. function 0: inferred. */
int storage_parse_digest(const struct storage *storage, struct str message,
    uint64_t function, struct digest *digest, struct error *err);

/* The four services. */
void capabilities_add(struct method_table *table, struct storage *storage);
void content_addressable_storage_add(
    struct method_table *table, struct storage *storage);
void byte_stream_add(struct method_table *table, struct storage *storage);
void action_cache_add(struct method_table *table, struct storage *storage);

#endif
