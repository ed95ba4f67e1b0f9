/* SPDX-License-Identifier: Apache-2.0 */
/* Channels and blocking unary calls. A call has a completion queue of its own,
 * on which its thread waits; no other threads, no locks. */
#include "rpc/channel.h"

#include <assert.h>
#include <grpc/byte_buffer.h>
#include <grpc/grpc_security.h>
#include <stdlib.h>
#include <time.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/printable.h"
#include "rpc/channel_core.h"
#include "rpc/connect_hint.h"
#include "rpc/message.h"
#include "rpc/status.h"
#include "rpc/tls.h"

#define CHANNEL_RECEIVE_MAX (64 << 20)
#define CHANNEL_METADATA_MAX 65536
/* A server that vanished is noticed within the sum of both while a call or a
 * stream is open. */
#define CHANNEL_KEEPALIVE_MS 60000
#define CHANNEL_KEEPALIVE_TIMEOUT_MS 20000
/* Reconnecting: soon at first, never rarer than this. */
#define CHANNEL_RECONNECT_FIRST_MS 200
#define CHANNEL_RECONNECT_LAST_MS 5000
/* Pauses between tries: the first, and the longest of our own choice. */
#define CHANNEL_PAUSE_FIRST_MS 100
#define CHANNEL_PAUSE_LAST_MS 5000

/* --- opening ---------------------------------------------------------------
 */

/* What gRPC takes as target; NULL for a form that we do not know. */
static const char *
channel_target(const char *address, bool *tls)
{
	struct str text = str_from(address);
	const char *target = NULL;

	*tls = str_starts_with(text, STR("grpcs://"));
	if (*tls)
		target = address + strlen("grpcs://");
	else if (str_starts_with(text, STR("grpc://")))
		target = address + strlen("grpc://");
	else if (str_starts_with(text, STR("unix:")))
		return text.len > strlen("unix:") ? address : NULL;
	if (target == NULL || *target == '\0' || *target == ':' ||
	    strchr(target, '/') != NULL || strrchr(target, ':') == NULL)
		return NULL;
	return target;
}

static grpc_channel *
channel_create(const char *target, size_t max_receive,
    grpc_channel_credentials *credentials)
{
	grpc_arg args[] = {
	    rpc_core_integer(
		GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)max_receive),
	    rpc_core_integer(GRPC_ARG_MAX_METADATA_SIZE, CHANNEL_METADATA_MAX),
	    /* A channel is a connection; else equal channels share one. */
	    rpc_core_integer(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
	    /* Retries are ours: they honour RetryInfo. */
	    rpc_core_integer(GRPC_ARG_ENABLE_RETRIES, 0),
	    rpc_core_integer(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1),
	    rpc_core_integer(GRPC_ARG_ENABLE_CHANNELZ, 0),
	    rpc_core_integer(
		GRPC_ARG_MAX_CHANNEL_TRACE_EVENT_MEMORY_PER_NODE, 0),
	    rpc_core_integer(GRPC_ARG_KEEPALIVE_TIME_MS, CHANNEL_KEEPALIVE_MS),
	    rpc_core_integer(
		GRPC_ARG_KEEPALIVE_TIMEOUT_MS, CHANNEL_KEEPALIVE_TIMEOUT_MS),
	    rpc_core_integer(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
	    rpc_core_integer(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
		CHANNEL_RECONNECT_FIRST_MS),
	    rpc_core_integer(
		GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, CHANNEL_RECONNECT_LAST_MS),
	    /* A proxy for downloads is not one for this; who wants one says
	     * so to gRPC alone. */
	    rpc_core_integer(
		GRPC_ARG_ENABLE_HTTP_PROXY, getenv("grpc_proxy") != NULL),
	};
	grpc_channel_args list = {sizeof(args) / sizeof(args[0]), args};

	return grpc_channel_create(target, credentials, &list);
}

/* An empty setting takes back what the settings file has. */
static const char *
file_name(const char *name)
{
	return name != NULL && name[0] != '\0' ? name : NULL;
}

/* Whoever names certificates wants them looked at. */
static int
channel_check_plain(
    const char *address, const struct rpc_tls_files *files, struct error *err)
{
	const char *option = files->ca != NULL            ? "--tls-ca"
			     : files->certificate != NULL ? "--tls-cert"
			     : files->key != NULL         ? "--tls-key"
							  : NULL;

	if (option == NULL ||
	    !str_starts_with(str_from(address), STR("grpc://")))
		return 0;
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "server address \"%s\" is without TLS, and %s is for TLS: "
	    "grpcs://, or leave it out (%s= does)",
	    address, option, option);
}

struct rpc_channel *
rpc_channel_open(const struct rpc_channel_options *options, struct error *err)
{
	const struct rpc_tls_files files = {file_name(options->tls_certificate),
	    file_name(options->tls_key), file_name(options->tls_ca)};
	size_t max_receive = options->max_receive_bytes > 0
				 ? options->max_receive_bytes
				 : CHANNEL_RECEIVE_MAX;
	struct rpc_channel *channel = NULL;
	grpc_channel_credentials *credentials;
	bool tls;
	const char *target = channel_target(options->address, &tls);

	assert(max_receive <= INT32_MAX);
	if (target == NULL) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "server address \"%s\": wanted grpc://HOST:PORT, "
		    "grpcs://HOST:PORT (TLS) or unix:PATH",
		    options->address);
		return NULL;
	}
	if (channel_check_plain(options->address, &files, err) < 0)
		return NULL;
	grpc_init();
	credentials = tls ? rpc_tls_channel_credentials(&files, err)
			  : grpc_insecure_credentials_create();
	if (credentials == NULL) {
		grpc_shutdown();
		return NULL;
	}
	channel = xmalloc(sizeof(*channel));
	channel->core = channel_create(target, max_receive, credentials);
	grpc_channel_credentials_release(credentials);
	return channel;
}

void
rpc_channel_close(struct rpc_channel *channel)
{
	if (channel == NULL)
		return;
	grpc_channel_destroy(channel->core);
	free(channel);
	grpc_shutdown();
}

/* --- metadata and status ---------------------------------------------------
 */

int
rpc_client_metadata_init(struct rpc_client_metadata *metadata,
    const struct rpc_call_options *options, struct error *err)
{
	*metadata = (struct rpc_client_metadata){NULL, 0};
	if (options->metadata_count == 0)
		return 0;
	metadata->entries =
	    xcalloc(options->metadata_count, sizeof(grpc_metadata));
	for (size_t i = 0; i < options->metadata_count; i++) {
		const struct rpc_metadata *from = &options->metadata[i];
		grpc_slice key = grpc_slice_from_copied_string(from->key);
		grpc_slice value = grpc_slice_from_copied_buffer(
		    from->value.data, from->value.len);
		bool legal = grpc_header_key_is_legal(key) &&
			     (grpc_is_binary_header(key) ||
				 grpc_header_nonbin_value_is_legal(value));

		metadata->entries[metadata->count++] =
		    (grpc_metadata){.key = key, .value = value};
		if (!legal) {
			rpc_client_metadata_clear(metadata);
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "metadata \"%s\": gRPC allows lower case keys "
			    "and printable ASCII values",
			    from->key);
		}
	}
	return 0;
}

void
rpc_client_metadata_clear(struct rpc_client_metadata *metadata)
{
	for (size_t i = 0; i < metadata->count; i++) {
		grpc_slice_unref(metadata->entries[i].key);
		grpc_slice_unref(metadata->entries[i].value);
	}
	free(metadata->entries);
	*metadata = (struct rpc_client_metadata){NULL, 0};
}

void
rpc_client_status_init(struct rpc_client_status *status)
{
	status->code = GRPC_STATUS_UNKNOWN;
	status->text = grpc_empty_slice();
	grpc_metadata_array_init(&status->trailing);
}

void
rpc_client_status_clear(struct rpc_client_status *status)
{
	grpc_slice_unref(status->text);
	status->text = grpc_empty_slice();
	grpc_metadata_array_destroy(&status->trailing);
	grpc_metadata_array_init(&status->trailing);
}

grpc_op
rpc_client_status_op(struct rpc_client_status *status)
{
	grpc_op op = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};

	op.data.recv_status_on_client.status = &status->code;
	op.data.recv_status_on_client.status_details = &status->text;
	op.data.recv_status_on_client.trailing_metadata = &status->trailing;
	return op;
}

int
rpc_client_status_error(
    const struct rpc_client_status *status, struct error *err)
{
	struct str text = rpc_core_str(&status->text);
	struct str details;

	if (status->code == GRPC_STATUS_OK)
		return 0;
	/* A number that no gRPC has means no more than UNKNOWN. */
	error_set(err,
	    (int)status->code > 0 && status->code <= GRPC_STATUS_UNAUTHENTICATED
		? (enum error_code)status->code
		: ERROR_UNKNOWN,
	    "%.*s", STR_ARG(text));
	/* It ends on a terminal or in a log. */
	printable_make(err->text, strlen(err->text), PRINTABLE_LINES);
	details = rpc_core_metadata(
	    &status->trailing, STR("grpc-status-details-bin"));
	if (details.data != NULL)
		err->retry_delay_ms = rpc_status_retry_delay(details);
	return -1;
}

/* --- unary calls -----------------------------------------------------------
 */

struct unary {
	struct rpc_channel *channel;
	const char *path;
	struct rpc_message *request; /* borrowed */
	struct rpc_client_metadata metadata;
	int64_t deadline_ms;
};

static grpc_event
unary_run(grpc_completion_queue *queue, grpc_call *call, const grpc_op *ops,
    size_t count)
{
	rpc_core_start(call, ops, count, call);
	/* The call has the deadline; gRPC ends the batch when it passes. */
	return grpc_completion_queue_pluck(
	    queue, call, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
}

static int
unary_try(
    const struct unary *unary, struct rpc_message **response, struct error *err)
{
	grpc_completion_queue *queue =
	    grpc_completion_queue_create_for_pluck(NULL);
	grpc_slice path = grpc_slice_from_copied_string(unary->path);
	grpc_call *call = grpc_channel_create_call(unary->channel->core, NULL,
	    0, queue, path, NULL, rpc_core_time(unary->deadline_ms), NULL);
	/* gRPC takes the slices of what it sends: give it other references. */
	grpc_byte_buffer *request =
	    grpc_byte_buffer_copy(rpc_message_buffer(unary->request));
	grpc_byte_buffer *received = NULL;
	grpc_metadata_array initial;
	struct rpc_client_status status;
	grpc_op ops[6] = {
	    {.op = GRPC_OP_SEND_INITIAL_METADATA},
	    {.op = GRPC_OP_SEND_MESSAGE},
	    {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
	    {.op = GRPC_OP_RECV_INITIAL_METADATA},
	    {.op = GRPC_OP_RECV_MESSAGE},
	};
	int rc;

	grpc_metadata_array_init(&initial);
	rpc_client_status_init(&status);
	ops[0].data.send_initial_metadata.count = unary->metadata.count;
	ops[0].data.send_initial_metadata.metadata = unary->metadata.entries;
	ops[1].data.send_message.send_message = request;
	ops[3].data.recv_initial_metadata.recv_initial_metadata = &initial;
	ops[4].data.recv_message.recv_message = &received;
	ops[5] = rpc_client_status_op(&status);
	rpc_core_count_sent(rpc_message_size(unary->request));
	unary_run(queue, call, ops, 6);
	rc = rpc_client_status_error(&status, err);
	if (rc == 0 && received == NULL)
		rc = error_set(err, ERROR_INTERNAL,
		    "%s: the server ended the call without a response",
		    unary->path);
	if (rc == 0) {
		*response = rpc_message_from_buffer(received);
		received = NULL;
	}
	if (received != NULL)
		grpc_byte_buffer_destroy(received);
	grpc_byte_buffer_destroy(request);
	grpc_metadata_array_destroy(&initial);
	rpc_client_status_clear(&status);
	grpc_call_unref(call);
	grpc_slice_unref(path);
	grpc_completion_queue_shutdown(queue);
	grpc_completion_queue_destroy(queue);
	return rc;
}

/* Between half and all of it, so that many clients do not come back at once;
 * what a server asked for is only lengthened. */
static int64_t
unary_pause_ms(unsigned tried, const struct error *err)
{
	int64_t pause = CHANNEL_PAUSE_FIRST_MS;

	if (err->retry_delay_ms > 0)
		return err->retry_delay_ms +
		       arc4random_uniform(err->retry_delay_ms / 4 + 1);
	for (unsigned i = 0; i < tried && pause < CHANNEL_PAUSE_LAST_MS; i++)
		pause *= 2;
	if (pause > CHANNEL_PAUSE_LAST_MS)
		pause = CHANNEL_PAUSE_LAST_MS;
	return pause / 2 + arc4random_uniform((uint32_t)(pause / 2 + 1));
}

static void
unary_sleep(int64_t ms)
{
	struct timespec left = {
	    .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	while (nanosleep(&left, &left) == -1)
		continue;
}

int
rpc_channel_call(struct rpc_channel *channel, const char *path,
    struct rpc_message *request, const struct rpc_call_options *options,
    struct rpc_message **response, struct error *err)
{
	struct unary unary = {.channel = channel,
	    .path = path,
	    .request = request,
	    .deadline_ms = clock_monotonic_ms() + options->timeout_ms};
	int rc;

	*response = NULL;
	if (rpc_client_metadata_init(&unary.metadata, options, err) < 0)
		return -1;
	for (unsigned tried = 0;; tried++) {
		int64_t pause;

		rc = unary_try(&unary, response, err);
		if (rc == 0 || tried >= options->retries ||
		    rpc_connect_is_final(err) ||
		    (err->code != ERROR_UNAVAILABLE &&
			err->code != ERROR_RESOURCE_EXHAUSTED))
			break;
		pause = unary_pause_ms(tried, err);
		if (clock_monotonic_ms() + pause >= unary.deadline_ms)
			break;
		unary_sleep(pause);
	}
	rpc_client_metadata_clear(&unary.metadata);
	return rc;
}
