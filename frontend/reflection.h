/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gRPC server reflection services, v1 and v1alpha: generic tools (grpcurl
 * and the like) learn from it what this server serves. It shows the services
 * of the methods that it is given, itself included; see
 * frontend/reflection_index.h for the answers.
 */
#ifndef TOOLROOT_FRONTEND_REFLECTION_H
#define TOOLROOT_FRONTEND_REFLECTION_H

#include <stddef.h>

struct error;
struct reflection_service;
struct rpc_method;

#define REFLECTION_METHODS 2

/* INTERNAL when the built-in descriptor set is damaged. */
struct reflection_service *reflection_service_new(struct error *err);
/* Not before the server has stopped. NULL is allowed. */
void reflection_service_free(struct reflection_service *service);

/* Writes REFLECTION_METHODS entries for rpc_server_options.methods at
 * methods. */
void reflection_service_methods(
    struct reflection_service *service, struct rpc_method *methods);
/* Tells which methods the server has, once the table is whole and before the
 * server starts. */
void reflection_service_show(struct reflection_service *service,
    const struct rpc_method *methods, size_t count);

#endif
