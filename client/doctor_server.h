/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `toolroot doctor`: the server. Whether it is reached, what it can do, and one
 * round trip: blobs are written, found and read again, and a program of a few
 * bytes is executed by a worker. Blocks, within bounds; rpc_init() was called.
 */
#ifndef TOOLROOT_CLIENT_DOCTOR_SERVER_H
#define TOOLROOT_CLIENT_DOCTOR_SERVER_H

#include <stdbool.h>

struct client_options;
struct doctor_report;

/* Whether the server executes actions. */
bool doctor_server(
    struct doctor_report *report, const struct client_options *options);

#endif
