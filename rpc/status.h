/* SPDX-License-Identifier: Apache-2.0 */
/*
 * google.rpc.Status: errors with details, as they go into
 * grpc-status-details-bin and into REAPI's ExecuteResponse, and back.
 *
 * Source of the size limit: gRPC's metadata limit of 8 KiB (grpc-core and
 * grpc-java), of which base64 and the text take their part; a larger status
 * would reach the client as RESOURCE_EXHAUSTED. All memory is the arena's; one
 * thread at a time.
 */
#ifndef TOOLROOT_RPC_STATUS_H
#define TOOLROOT_RPC_STATUS_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct arena;
struct error;
struct GrpcStatus__Status;

/* Most bytes of a packed status in metadata, and of its text. */
#define RPC_STATUS_DETAILS_MAX 4608
#define RPC_STATUS_TEXT_MAX 512

/* Code, text and, when there is a retry delay, RetryInfo. NULL at the arena's
 * cap. */
struct GrpcStatus__Status *rpc_status_from_error(
    struct arena *arena, const struct error *error);

struct rpc_violation {
	struct str type;    /* "MISSING" */
	struct str subject; /* "blobs/<hash>/<size>" */
	struct str description;
};

/* Appends one PreconditionFailure with these violations. -1 with
 * RESOURCE_EXHAUSTED at the cap. */
int rpc_status_add_violations(struct arena *arena,
    struct GrpcStatus__Status *status, const struct rpc_violation *violations,
    size_t count, struct error *err);
/* Appends RetryInfo. -1 as above. */
int rpc_status_add_retry(struct arena *arena, struct GrpcStatus__Status *status,
    uint32_t delay_ms, struct error *err);

/* Packed for metadata: the last violations, then the last details, are left
 * out until it fits. data NULL at the cap. */
struct str rpc_status_pack(
    struct arena *arena, const struct GrpcStatus__Status *status);

/* The retry delay that a packed status advises, in ms; 0 = none, or no
 * status. */
uint32_t rpc_status_retry_delay(struct str packed);
/* The text cut to RPC_STATUS_TEXT_MAX bytes at the end of a character. */
struct str rpc_status_text(const char *text);

#endif
