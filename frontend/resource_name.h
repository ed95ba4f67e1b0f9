/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resource names of ByteStream, as REAPI defines them:
 *
 *   [instance/]blobs/[function/]hash/size
 *   [instance/]compressed-blobs/zstd/[function/]hash/size
 *   [instance/]uploads/uuid/<either of these>[/anything]
 *
 * The instance may have several segments, none of them a keyword. Pure; the
 * parts point into the text. Source: ContentAddressableStorage in the
 * specification.
 */
#ifndef TOOLROOT_FRONTEND_RESOURCE_NAME_H
#define TOOLROOT_FRONTEND_RESOURCE_NAME_H

#include <stdbool.h>

#include "base/str.h"
#include "cas/digest.h"
#include "cas/store.h"

struct error;

struct resource_name {
	struct str instance;
	struct str uuid; /* of an upload; len 0 for a read */
	enum encoding encoding;
	struct digest digest;
};

#define RESOURCE_NAME_MAX 4096

/* INVALID_ARGUMENT quotes the name and says what is wrong with it. */
int resource_name_parse_read(
    struct str text, struct resource_name *name, struct error *err);
int resource_name_parse_upload(
    struct str text, struct resource_name *name, struct error *err);
/* Empty, or segments of printable UTF-8 without keywords. */
bool resource_name_instance_valid(struct str instance);
/* The same; INVALID_ARGUMENT quotes it after prefix, "" or where it is from. */
int resource_name_check_instance(
    struct str instance, const char *prefix, struct error *err);

#endif
