/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gRPC server reflection services, v1 and v1alpha: generic tools (grpcurl
 * and the like) learn from it what this server serves. It shows the services
 * of the methods that it is given, itself included; see
 * frontend/reflection_index.h for the answers.
 */
#ifndef TOOLROOT_FRONTEND_REFLECTION_H
#define TOOLROOT_FRONTEND_REFLECTION_H

struct error;
struct reflection_service;
struct method_table;

/* INTERNAL when the built-in descriptor set is damaged. */
struct reflection_service *reflection_service_new(struct error *err);
/* Not before the server has stopped. NULL is allowed. */
void reflection_service_free(struct reflection_service *service);

void reflection_service_add(
    struct method_table *table, struct reflection_service *service);
/* Tells which methods the server has, once the table is whole and before the
 * server starts. */
void reflection_service_show(
    struct reflection_service *service, const struct method_table *table);

#endif
