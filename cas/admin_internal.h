/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of cas/admin.h share: admin.c (the table), admin_collect.c,
 * admin_pins.c, admin_results.c, admin_statistics.c. Not for others.
 */
#ifndef TOOLROOT_CAS_ADMIN_INTERNAL_H
#define TOOLROOT_CAS_ADMIN_INTERNAL_H

#include <toolroot/admin/v1/admin.pb-c.h>

#include "base/str.h"
#include "cas/admin.h"
#include "cas/digest.h"

/* As run in struct admin_method. */
const ProtobufCMessage *admin_collect(const struct admin_target *target,
    const ProtobufCMessage *request, struct arena *arena, struct error *err);
const ProtobufCMessage *admin_watch_collection(
    const struct admin_target *target, const ProtobufCMessage *request,
    struct arena *arena, struct error *err);
const ProtobufCMessage *admin_set_pin(const struct admin_target *target,
    const ProtobufCMessage *request, struct arena *arena, struct error *err);
const ProtobufCMessage *admin_remove_pin(const struct admin_target *target,
    const ProtobufCMessage *request, struct arena *arena, struct error *err);
const ProtobufCMessage *admin_list_pins(const struct admin_target *target,
    const ProtobufCMessage *request, struct arena *arena, struct error *err);
const ProtobufCMessage *admin_remove_results(const struct admin_target *target,
    const ProtobufCMessage *request, struct arena *arena, struct error *err);
const ProtobufCMessage *admin_get_statistics(const struct admin_target *target,
    const ProtobufCMessage *request, struct arena *arena, struct error *err);

/* What instances have, the largest first, limit at most; NULL on failure. */
Adminapi__InstanceUse **admin_uses(struct arena *arena, struct store *store,
    size_t limit, size_t *count, struct error *err);

/* A copy in the arena. -1 when that is full. */
int admin_copy(struct arena *arena, struct str text, ProtobufCBinaryData *data,
    struct error *err);
/* A message in the arena; NULL when that is full. */
Reapi__Digest *admin_digest(
    struct arena *arena, const struct digest *digest, struct error *err);
Google__Protobuf__Timestamp *admin_time(
    struct arena *arena, int64_t ns, struct error *err);
/* Sets err. */
void *admin_no_memory(struct error *err);

#endif
