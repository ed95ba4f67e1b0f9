/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The output of an action while it runs, as ByteStream.Read resources that
 * ExecuteOperationMetadata names:
 *
 *   [instance/]operations/<uuid>/logstreams/stdout      (or stderr)
 *
 * A read blocks until there is more, and ends with the output. While the
 * command runs its worker is asked for each piece, once the piece before has
 * gone out: nothing is kept here, a reader that is slow or gone delays nobody,
 * and what nobody reads does not travel. Once the operation is done the rest
 * is read from the blob that its result names, as long as the operation is
 * known; then NOT_FOUND says where the output is. When another worker had to
 * begin anew the read ends with ABORTED: read again from offset 0.
 */
#ifndef TOOLROOT_FRONTEND_OUTPUT_STREAM_H
#define TOOLROOT_FRONTEND_OUTPUT_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct error;
struct execution_service;
struct operation;
struct rpc_call;
struct worker_session;

#define OUTPUT_STREAM_STDOUT "/logstreams/stdout"
#define OUTPUT_STREAM_STDERR "/logstreams/stderr"
/* Reads at once; above, RESOURCE_EXHAUSTED. */
#define OUTPUT_STREAMS_MAX 1000

struct output_stream_request {
	struct str operation; /* its name */
	bool standard_error;
	int64_t offset;
	int64_t limit; /* 0 = to the end */
};

/* Whether a resource name is of this kind. Fills operation and
 * standard_error. */
bool output_stream_parse(
    struct str resource, struct output_stream_request *request);
/* Takes the call over. */
void output_stream_read(struct execution_service *service,
    struct rpc_call *call, const struct output_stream_request *request);

/* The operation has changed, or its worker was told of its lease. */
void output_streams_notify(
    struct execution_service *service, struct operation *operation);
/* An OutputPiece of a worker. */
void output_streams_take(struct execution_service *service,
    const struct worker_session *session, uint64_t read_id, struct str data);
/* The server stops. */
void output_streams_stop(struct execution_service *service);

#endif
