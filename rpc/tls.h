/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates: a server's, read anew when their files change, and a client's.
 *
 * Before a handshake the files' inodes, sizes and times are compared; new files
 * are taken over only when they parse and the key fits the certificate, so that
 * a half-done replacement leaves the old ones in force (with one line in the
 * log).
 */
#ifndef TOOLROOT_RPC_TLS_H
#define TOOLROOT_RPC_TLS_H

#include <grpc/grpc_security.h>
#include <stdint.h>

struct error;
struct rpc_tls;

struct rpc_tls_files {
	const char *certificate; /* PEM, chain */
	const char *key;
	const char *ca; /* NULL: peers need no certificate (server), or the
			 * system's authorities (client) */
};

/* Reads the files. FAILED_PRECONDITION names the one that is no good. */
struct rpc_tls *rpc_tls_new(
    const struct rpc_tls_files *files, struct error *err);
/* After the server that uses its credentials. NULL is allowed. */
void rpc_tls_free(struct rpc_tls *tls);
/* When the server's certificate runs out, in seconds since 1970; 0 when it does
 * not say. Any thread. */
int64_t rpc_tls_not_after(struct rpc_tls *tls);
/* The caller releases them. */
grpc_server_credentials *rpc_tls_server_credentials(struct rpc_tls *tls);

/* The name that the peer's certificate proves: SPIFFE id, else the first
 * subject alternative name, else the common name; "" without one. The caller
 * frees it. */
char *rpc_tls_identity(grpc_call *call);

/* certificate and key may be NULL together. NULL with FAILED_PRECONDITION. */
grpc_channel_credentials *rpc_tls_channel_credentials(
    const struct rpc_tls_files *files, struct error *err);

#endif
