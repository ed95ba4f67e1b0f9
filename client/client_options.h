/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings that every command which talks to a server has, and the
 * connection that follows from them: [client] in the config file, TOOLROOT_*
 * in the environment. For the start of a command.
 */
#ifndef TOOLROOT_CLIENT_CLIENT_OPTIONS_H
#define TOOLROOT_CLIENT_CLIENT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/settings.h"
#include "cas/digest.h"

struct cas_client;
struct error;
struct rpc_channel;

struct client_options {
	char *config;
	char *server;
	char *instance;
	char *digest_function;
	char *tls_ca;
	char *tls_certificate;
	char *tls_key;
	bool compress;
};

/* The rows of a command's table, for the member `client` of its options; the
 * others are for a command whose --instance means something else. */
#define CLIENT_OPTIONS_ROW(type, field) offsetof(type, client.field)
#define CLIENT_OPTIONS_TABLE(type) \
	{"instance", SETTING_TEXT, CLIENT_OPTIONS_ROW(type, instance), "NAME", \
	    "", "The instance of the server to use."}, \
	    CLIENT_OPTIONS_OTHERS(type)
#define CLIENT_OPTIONS_OTHERS(type) \
	{"config", SETTING_TEXT, CLIENT_OPTIONS_ROW(type, config), "FILE", \
	    NULL, "Read settings from this file ([client])."}, \
	    {"server", SETTING_TEXT, CLIENT_OPTIONS_ROW(type, server), \
		"ADDRESS", "grpc://127.0.0.1:8980", \
		"The server: grpc://HOST:PORT, grpcs://HOST:PORT (TLS) or\n" \
		"unix:PATH."}, \
	    {"digest-function", SETTING_TEXT, \
		CLIENT_OPTIONS_ROW(type, digest_function), "NAME", "sha256", \
		"sha256, sha384, sha512 or sha1; as the builds use it."}, \
	    {"tls-ca", SETTING_TEXT, CLIENT_OPTIONS_ROW(type, tls_ca), "FILE", \
		NULL, \
		"Certificates that may sign the server's (PEM); default: " \
		"the\nsystem's."}, \
	    {"tls-cert", SETTING_TEXT, \
		CLIENT_OPTIONS_ROW(type, tls_certificate), "FILE", NULL, \
		"Our certificate chain (PEM), for servers that ask."}, \
	    {"tls-key", SETTING_TEXT, CLIENT_OPTIONS_ROW(type, tls_key), \
		"FILE", NULL, "Its private key (PEM)."}, \
	{ \
		"compress", SETTING_FLAG, CLIENT_OPTIONS_ROW(type, compress), \
		    "", "no", "Compress on the way; for slow networks." \
	}

/* Says in an UNAVAILABLE error where we looked and how to look elsewhere. */
void client_options_unreachable(const char *server, struct error *err);
/* INVALID_ARGUMENT with the names that are valid. */
int client_options_function(const struct client_options *options,
    enum digest_function *function, struct error *err);
/* Does not connect yet. rpc_init() was called. */
struct rpc_channel *client_options_channel(
    const struct client_options *options, struct error *err);
/* Asks the server for its capabilities. */
struct cas_client *client_options_cas(const struct client_options *options,
    struct rpc_channel *channel, struct error *err);

#endif
