/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be done to a store by those who run it, each as one function from a
 * message of toolroot/admin/v1/admin.proto to another: the service of a server
 * (frontend/admin.c) and the commands on an idle store (client/) are the same
 * work. Blocks; any thread.
 */
#ifndef TOOLROOT_CAS_ADMIN_H
#define TOOLROOT_CAS_ADMIN_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

#include "base/str.h"

#define ADMIN_PATH(name) "/toolroot.admin.v1.Admin/" name

struct arena;
struct collector;
struct error;
struct store;

struct admin_target {
	/* Writable, with its collector; for GetStatistics alone it may be
	 * read-only, and the collector NULL. */
	struct store *store;
	struct collector *collector;
};

struct admin_method {
	const char *path; /* of the RPC: ADMIN_PATH("Collect") */
	const ProtobufCMessageDescriptor *request;
	const ProtobufCMessageDescriptor *response;
	/* The answer, in the arena; NULL on failure. request has the type
	 * above. */
	const ProtobufCMessage *(*run)(const struct admin_target *target,
	    const ProtobufCMessage *request, struct arena *arena,
	    struct error *err);
};

/* The nth method; NULL past the last. */
const struct admin_method *admin_method_at(size_t n);
/* By its path; NULL when there is none. */
const struct admin_method *admin_method_find(struct str path);

#endif
