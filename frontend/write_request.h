/* SPDX-License-Identifier: Apache-2.0 */
/*
 * google.bytestream.WriteRequest read in place: the data stays where gRPC put
 * it, in however many parts. Pure but for memory: a message whose fields are
 * not in the usual order is made one run first.
 */
#ifndef TOOLROOT_FRONTEND_WRITE_REQUEST_H
#define TOOLROOT_FRONTEND_WRITE_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/str.h"

struct error;

struct write_request {
	struct str resource_name; /* len 0 when left out */
	int64_t write_offset;
	bool finish_write;
	/* Where the data lies in the message. */
	size_t data_offset;
	size_t data_len;
	/* The message in one run, when it had to be made; to be freed. The
	 * offsets then refer to it, and resource_name points into it. */
	char *flat;
};

/* parts: the message, total bytes in all. INVALID_ARGUMENT when malformed. */
int write_request_parse(const struct iovec *parts, size_t count,
    struct write_request *request, struct error *err);
/* Sets out, which has room for count, to the parts of the data in the message
 * of these parts, or in request->flat. Returns how many they are. */
size_t write_request_data(const struct write_request *request,
    const struct iovec *parts, size_t count, struct iovec *out);

#endif
