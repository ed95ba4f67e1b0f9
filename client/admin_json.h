/* SPDX-License-Identifier: Apache-2.0 */
/* JSON of the commands that administer a store. Values are the caller's to
 * pass on (jansson's references). Main thread. */
#ifndef TOOLROOT_CLIENT_ADMIN_JSON_H
#define TOOLROOT_CLIENT_ADMIN_JSON_H

#include <jansson.h>

#include <toolroot/admin/v1/admin.pb-c.h>

struct error;

/* Bytes that may be no UTF-8: what is none becomes "?". */
json_t *admin_json_bytes(ProtobufCBinaryData data);
/* "HASH/SIZE". */
json_t *admin_json_digest(const Reapi__Digest *digest);
/* Instances, each with what it has. */
json_t *admin_json_uses(Adminapi__InstanceUse *const *uses, size_t count);
/* One line on standard output. Takes the value; NULL is our mistake in the
 * format, and INTERNAL. */
int admin_json_print(json_t *value, struct error *err);

#endif
