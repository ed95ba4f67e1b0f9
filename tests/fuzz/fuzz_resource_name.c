/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target: any bytes as the resource name of a read and of an upload.
 * The parts of a name that is accepted lie in it and keep the rules. Seeds:
 * tests/fuzz/corpus/resource_name.
 */
#include <stdlib.h>

#include "base/error.h"
#include "frontend/resource_name.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_part(struct str part, struct str whole)
{
	if (part.len > 0 && (part.data < whole.data ||
				part.data + part.len > whole.data + whole.len))
		abort();
}

static void
check_name(const struct resource_name *name, struct str text)
{
	check_part(name->instance, text);
	check_part(name->uuid, text);
	if (!resource_name_instance_valid(name->instance) ||
	    name->digest.function == DIGEST_UNKNOWN)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = {(const char *)data, size};
	struct resource_name name;
	struct error err;

	if (resource_name_parse_read(text, &name, &err) == 0) {
		check_name(&name, text);
		if (name.uuid.len > 0)
			abort();
	}
	if (resource_name_parse_upload(text, &name, &err) == 0) {
		check_name(&name, text);
		if (name.uuid.len == 0)
			abort();
	}
	return 0;
}
