/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the subcommands of `toolroot toolchain` share. Each takes argv with its
 * own name first and returns the exit status. Main thread.
 */
#ifndef TOOLROOT_CLIENT_TOOLCHAIN_COMMANDS_H
#define TOOLROOT_CLIENT_TOOLCHAIN_COMMANDS_H

#include <jansson.h>

#include "base/arena.h"
#include "cas/digest.h"
#include "client/client_options.h"
#include "client/toolchain_service.h"

struct cas_client;

int toolchain_commands_add(char **argv);
int toolchain_commands_list(char **argv);
int toolchain_commands_show(char **argv);
int toolchain_commands_diff(char **argv);
int toolchain_commands_rm(char **argv);

/* --- a server ------------------------------------------------------------- */

struct toolchain_server {
	struct toolchain_service service;
	struct cas_client *cas; /* NULL unless asked for */
	struct arena arena;     /* for its answers */
};

int toolchain_commands_open(struct toolchain_server *server,
    const struct client_options *options, bool cas, struct error *err);
/* All zero is allowed. */
void toolchain_commands_close(struct toolchain_server *server);
/* NULL on error; *root is checked. */
Toolchainapi__Toolchain *toolchain_commands_get(struct toolchain_server *server,
    const char *name, struct digest *root, struct error *err);

/* --- printing ------------------------------------------------------------- */

/* Names in a toolchain and texts of a server may hold anything: control
 * characters become "?". */
void toolchain_commands_clean(char *text);
/* Line by line after the indent. */
void toolchain_commands_print_text(const char *indent, const char *text);
/* The lines for .bazelrc and for a platform(). */
void toolchain_commands_print_use(
    const Toolchainapi__Toolchain *toolchain, const struct digest *root);
/* The toolchain as JSON; the caller owns it. */
json_t *toolchain_commands_json(
    const Toolchainapi__Toolchain *toolchain, const struct digest *root);
/* Prints, and releases the value. */
void toolchain_commands_print_json(json_t *json);

#endif
