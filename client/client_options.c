/* SPDX-License-Identifier: Apache-2.0 */
/* From settings to a connection. */
#include "client/client_options.h"

#include "base/error.h"
#include "base/log.h"
#include "client/cas_client.h"
#include "rpc/channel.h"
#include "rpc/connect_hint.h"

void
client_options_unreachable(const char *server, struct error *err)
{
	const char *hint = rpc_connect_hint(server, err);

	if (err->code == ERROR_UNAVAILABLE)
		error_prefix(err, "server %s (%s)", server,
		    hint != NULL ? hint
				 : "--server, TOOLROOT_SERVER or [client] in "
				   "the config file name another");
}

int
client_options_function(const struct client_options *options,
    enum digest_function *function, struct error *err)
{
	*function = digest_function_parse(str_from(options->digest_function));
	if (*function == DIGEST_UNKNOWN)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--digest-function \"%s\" is none of sha256, sha384, "
		    "sha512, sha1",
		    options->digest_function);
	return 0;
}

struct rpc_channel *
client_options_channel(const struct client_options *options, struct error *err)
{
	const struct rpc_channel_options channel = {
	    .address = options->server,
	    .tls_ca = options->tls_ca,
	    .tls_certificate = options->tls_certificate,
	    .tls_key = options->tls_key,
	};

	if ((options->tls_certificate == NULL) != (options->tls_key == NULL)) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "--tls-cert and --tls-key go together");
		return NULL;
	}
	/* What gRPC logs of a connection that fails stands in the error. */
	log_set_level(LOG_WARN);
	return rpc_channel_open(&channel, err);
}

struct cas_client *
client_options_cas(const struct client_options *options,
    struct rpc_channel *channel, struct error *err)
{
	struct cas_client_options cas = {
	    .channel = channel,
	    .instance = options->instance,
	    .compress = options->compress,
	};
	struct cas_client *client;

	if (client_options_function(options, &cas.function, err) < 0)
		return NULL;
	client = cas_client_open(&cas, err);
	if (client == NULL)
		client_options_unreachable(options->server, err);
	return client;
}
