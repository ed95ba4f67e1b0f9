/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target: any bytes as a reflection request, answered from our own
 * descriptor set; every answer must be a response that echoes the request. The
 * same bytes are tried as a descriptor set. Seeds:
 * tests/fuzz/corpus/reflection.
 */
#include <stdlib.h>

#include "base/buffer.h"
#include "base/error.h"
#include "frontend/reflection_index.h"
#include "protos/descriptor_set.h"
#include "protos/wire.h"

#define RESPONSE_LIMIT ((size_t)4 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct reflection_index *
our_index(void)
{
	static struct reflection_index *index;
	struct str set = {(const char *)descriptor_set, descriptor_set_size};
	struct error err;

	if (index == NULL)
		index = reflection_index_new(set, &err);
	if (index == NULL)
		abort();
	return index;
}

static void
check_response(struct str response, struct str request)
{
	struct wire_field field;
	int more, fields = 0;

	while ((more = wire_next(&response, &field)) == 1) {
		if (field.number == 2 && !str_equal(field.bytes, request))
			abort();
		fields++;
	}
	/* Host, request, and the answer. */
	if (more != 0 || fields != 3)
		abort();
}

static void
ask(const struct reflection_index *index, struct str request)
{
	struct buffer response;
	struct error err;

	buffer_init(&response, RESPONSE_LIMIT);
	if (reflection_index_answer(index, request, &response, &err) == 0)
		check_response(buffer_str(&response), request);
	buffer_clear(&response);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str bytes = {(const char *)data, size};
	struct reflection_index *index;
	struct error err;

	ask(our_index(), bytes);
	index = reflection_index_new(bytes, &err);
	if (index != NULL)
		ask(index, bytes);
	reflection_index_free(index);
	return 0;
}
