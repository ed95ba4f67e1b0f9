/* SPDX-License-Identifier: Apache-2.0 */
/* A table of what gRPC and OpenSSL say. */
#include "rpc/connect_hint.h"

#include <stddef.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"

struct hint {
	bool tls; /* of addresses with TLS, or of those without */
	bool final;
	const char *text;
	const char *remedy;
};

static const struct hint hints[] = {
    {true, true, "certificate verify failed",
	"its certificate is of no authority that is trusted here: name who "
	"signed it with --tls-ca"},
    {true, true, "not in peer certificate",
	"its certificate is for another name: use a name that stands in it"},
    {true, true, "wrong version number",
	"it speaks no TLS: grpc:// instead of grpcs://"},
    {true, false, "Socket closed",
	"it may want a certificate that it trusts (its tls-client-ca): "
	"--tls-cert and --tls-key"},
    {false, false, "Socket closed",
	"it may speak TLS: grpcs:// instead of grpc://"},
};

const char *
rpc_connect_hint(const char *address, const struct error *err)
{
	bool tls = str_starts_with(str_from(address), STR("grpcs://"));

	if (err->code != ERROR_UNAVAILABLE)
		return NULL;
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		if (hints[i].tls == tls &&
		    strstr(err->text, hints[i].text) != NULL)
			return hints[i].remedy;
	}
	return NULL;
}

bool
rpc_connect_is_final(const struct error *err)
{
	if (err->code != ERROR_UNAVAILABLE)
		return false;
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		if (hints[i].final && strstr(err->text, hints[i].text) != NULL)
			return true;
	}
	return false;
}
