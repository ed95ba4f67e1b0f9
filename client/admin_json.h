/* SPDX-License-Identifier: Apache-2.0 */
/* JSON of the commands that administer a store. Values are the caller's to
 * pass on (jansson's references). Main thread. */
#ifndef TOOLROOT_CLIENT_ADMIN_JSON_H
#define TOOLROOT_CLIENT_ADMIN_JSON_H

#include <jansson.h>

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

struct admin_use;
struct error;

/* Bytes that may be no UTF-8: what is none becomes "?". */
json_t *admin_json_bytes(ProtobufCBinaryData data);
/* "HASH/SIZE". */
json_t *admin_json_digest(const Reapi__Digest *digest);
/* An instance, with what it has. */
json_t *admin_json_use(const struct admin_use *use);
/* One line on standard output. Takes the value; NULL is our mistake in the
 * format, and INTERNAL. */
int admin_json_print(json_t *value, struct error *err);

#endif
