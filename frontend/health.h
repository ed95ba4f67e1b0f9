/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gRPC health service, asked by load balancers and supervisors: Check, List
 * and Watch of grpc.health.v1. All services of a server share one state: not
 * serving until health_service_set, and again once it stops. The empty name
 * stands for the server as a whole.
 *
 * Source: protos/grpc/health/v1/health.proto. Any thread.
 */
#ifndef TOOLROOT_FRONTEND_HEALTH_H
#define TOOLROOT_FRONTEND_HEALTH_H

#include <stdbool.h>

struct health_service;
struct method_table;

struct health_service *health_service_new(void);
/* Not before the server has stopped. NULL is allowed. */
void health_service_free(struct health_service *service);

void health_service_add(
    struct method_table *table, struct health_service *service);
/* Tells which methods the server has, once the table is whole and before the
 * server starts: their services are the names that are known. Paths are
 * borrowed. */
void health_service_show(
    struct health_service *service, const struct method_table *table);

/* Watchers are told. */
void health_service_set(struct health_service *service, bool serving);
/* Not serving from now on; watchers are told, then their streams end with
 * UNAVAILABLE. */
void health_service_stop(struct health_service *service);

#endif
