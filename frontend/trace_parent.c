/* SPDX-License-Identifier: Apache-2.0 */
/* Field by field. */
#include "frontend/trace_parent.h"

#include "rpc/call.h"

/* "00-" 32 digits "-" 16 digits "-" 2 digits */
#define LENGTH 55
/* Of later versions; more is nothing to log. */
#define LENGTH_MAX 255

/* The digits and what ends them; *zero: they are all 0. */
static bool
take_digits(struct str *text, size_t count, bool *zero)
{
	*zero = true;
	if (text->len < count)
		return false;
	for (size_t i = 0; i < count; i++) {
		char c = text->data[i];

		if ((c < '0' || c > '9') && (c < 'a' || c > 'f'))
			return false;
		*zero = *zero && c == '0';
	}
	text->data += count;
	text->len -= count;
	if (text->len == 0)
		return true;
	if (text->data[0] != '-')
		return false;
	text->data++;
	text->len--;
	return true;
}

bool
trace_parent_valid(struct str text)
{
	bool first = str_starts_with(text, STR("00"));
	bool trace_zero, parent_zero, ignored;

	if (text.len < LENGTH || text.len > (first ? LENGTH : LENGTH_MAX) ||
	    str_starts_with(text, STR("ff")))
		return false;
	return take_digits(&text, 2, &ignored) &&
	       take_digits(&text, 32, &trace_zero) && !trace_zero &&
	       take_digits(&text, 16, &parent_zero) && !parent_zero &&
	       take_digits(&text, 2, &ignored);
}

struct str
trace_parent_of(const struct rpc_call *call)
{
	struct str text = rpc_call_metadata(call, STR("traceparent"));

	return text.data != NULL && trace_parent_valid(text) ? text : STR("");
}
