/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON of /status: what a person or a script asks a running server first.
 * Pure: values in, text out. Field names are a promise to scripts; new ones may
 * be added.
 */
#ifndef TOOLROOT_FRONTEND_STATUS_H
#define TOOLROOT_FRONTEND_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "cas/store.h"

struct buffer;

struct status_report {
	const char *grpc_address; /* "grpc://127.0.0.1:8980" */
	bool ready;
	int64_t started_ns; /* wall clock */
	int64_t now_ns;     /* wall clock */
	struct store_usage store;
	uint64_t workers;    /* connected */
	uint64_t slots;      /* of all workers */
	uint64_t slots_busy; /* running an action */
	uint64_t queued;     /* operations that wait for a slot */
	uint64_t executing;
};

/* Appends the report as one JSON object and a newline. -1 past the buffer's
 * limit. */
int status_write(const struct status_report *report, struct buffer *out);

#endif
