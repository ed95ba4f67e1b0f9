/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of toolroot.toolchain.v1.Toolchains, as the commands make them.
 * Messages live in the arena that is given. Any thread; block.
 */
#ifndef TOOLROOT_CLIENT_TOOLCHAIN_SERVICE_H
#define TOOLROOT_CLIENT_TOOLCHAIN_SERVICE_H

#include <toolroot/toolchain/v1/toolchain.pb-c.h>

#include "base/str.h"
#include "cas/digest.h"

struct arena;
struct error;
struct rpc_channel;

struct toolchain_service {
	struct rpc_channel *channel;
	const char *address; /* for errors */
	const char *instance;
	struct arena *arena;
};

/* NULL on error; UNIMPLEMENTED says that the server is no Toolroot. */
Toolchainapi__PutResponse *toolchain_service_put(
    const struct toolchain_service *service, Toolchainapi__Toolchain *toolchain,
    struct error *err);
Toolchainapi__Toolchain *toolchain_service_get(
    const struct toolchain_service *service, const char *name,
    struct error *err);
/* One page. */
Toolchainapi__ListResponse *toolchain_service_list(
    const struct toolchain_service *service, ProtobufCBinaryData page_token,
    struct error *err);
int toolchain_service_delete(const struct toolchain_service *service,
    const char *name, struct error *err);

/* The root of a toolchain, checked. */
int toolchain_service_root(const Toolchainapi__Toolchain *toolchain,
    struct digest *root, struct error *err);

#endif
