/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the commands that administer a store share: how they read their
 * settings and run, and calls of the service toolroot.admin.v1.Admin on a
 * running server. Main thread.
 */
#ifndef TOOLROOT_CLIENT_ADMIN_COMMAND_H
#define TOOLROOT_CLIENT_ADMIN_COMMAND_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/settings.h"

struct ProtobufCMessage;
struct ProtobufCMessageDescriptor;
struct client_options;
struct error;
struct rpc_channel;

/* Exit status beside 0, 1 (failed) and 2 (called wrongly). */
#define ADMIN_EXIT_SHORT 3

struct admin_command {
	const struct settings *settings;
	void *options;    /* zeroed; cleared afterwards */
	size_t arguments; /* how many it takes */
	/* *status is EXIT_SUCCESS; may be set to another. */
	int (*run)(
	    void *options, char **arguments, int *status, struct error *err);
};
/* The exit status. */
int admin_command_run(const struct admin_command *command, char **argv);

struct admin_server {
	const char *address;
	struct rpc_channel *channel;
	struct arena arena; /* the answers' */
};
int admin_server_open(struct admin_server *server,
    const struct client_options *options, struct error *err);
void admin_server_close(struct admin_server *server);
/* NULL on failure. method: "Collect". */
void *admin_server_call(struct admin_server *server, const char *method,
    const struct ProtobufCMessage *request,
    const struct ProtobufCMessageDescriptor *response, struct error *err);

/* "1.4 GiB". */
#define ADMIN_SIZE_MAX 32
const char *admin_format_size(uint64_t bytes, char text[static ADMIN_SIZE_MAX]);
/* "3 h 20 min"; "-" when below 0. */
#define ADMIN_AGE_MAX 32
const char *admin_format_age(int64_t ms, char text[static ADMIN_AGE_MAX]);

#endif
