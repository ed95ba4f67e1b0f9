/* SPDX-License-Identifier: Apache-2.0 */
/* Unary calls with retries. */
#include "client/toolchain_service.h"

#include "base/arena.h"
#include "base/error.h"
#include "cas/digest_message.h"
#include "client/client_options.h"
#include "rpc/channel.h"
#include "rpc/message.h"

#define SERVICE "/toolroot.toolchain.v1.Toolchains/"
#define TIMEOUT_MS 120000
#define RETRIES 5

static ProtobufCBinaryData
binary(const char *text)
{
	return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static void *
call(const struct toolchain_service *service, const char *path,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *descriptor, struct error *err)
{
	const struct rpc_call_options options = {
	    .timeout_ms = TIMEOUT_MS, .retries = RETRIES};
	struct rpc_message *message = rpc_message_pack(request);
	struct rpc_message *response = NULL;
	void *unpacked = NULL;

	if (rpc_channel_call(
		service->channel, path, message, &options, &response, err) == 0)
		unpacked = rpc_message_unpack(
		    response, descriptor, service->arena, err);
	else if (err->code == ERROR_UNIMPLEMENTED)
		error_prefix(err, "the server keeps no names for toolchains");
	else
		client_options_unreachable(service->address, err);
	rpc_message_free(message);
	rpc_message_free(response);
	return unpacked;
}

Toolchainapi__PutResponse *
toolchain_service_put(const struct toolchain_service *service,
    Toolchainapi__Toolchain *toolchain, struct error *err)
{
	Toolchainapi__PutRequest request = TOOLCHAINAPI__PUT_REQUEST__INIT;

	request.instance_name = binary(service->instance);
	request.toolchain = toolchain;
	return call(service, SERVICE "Put", &request.base,
	    &toolchainapi__put_response__descriptor, err);
}

Toolchainapi__Toolchain *
toolchain_service_get(const struct toolchain_service *service, const char *name,
    struct error *err)
{
	Toolchainapi__GetRequest request = TOOLCHAINAPI__GET_REQUEST__INIT;

	request.instance_name = binary(service->instance);
	request.name = binary(name);
	return call(service, SERVICE "Get", &request.base,
	    &toolchainapi__toolchain__descriptor, err);
}

Toolchainapi__ListResponse *
toolchain_service_list(const struct toolchain_service *service,
    ProtobufCBinaryData page_token, struct error *err)
{
	Toolchainapi__ListRequest request = TOOLCHAINAPI__LIST_REQUEST__INIT;

	request.instance_name = binary(service->instance);
	request.page_token = page_token;
	return call(service, SERVICE "List", &request.base,
	    &toolchainapi__list_response__descriptor, err);
}

int
toolchain_service_delete(const struct toolchain_service *service,
    const char *name, struct error *err)
{
	Toolchainapi__DeleteRequest request =
	    TOOLCHAINAPI__DELETE_REQUEST__INIT;

	request.instance_name = binary(service->instance);
	request.name = binary(name);
	return call(service, SERVICE "Delete", &request.base,
		   &toolchainapi__delete_response__descriptor, err) != NULL
		   ? 0
		   : -1;
}

int
toolchain_service_root(const Toolchainapi__Toolchain *toolchain,
    struct digest *root, struct error *err)
{
	return digest_from_message(
	    (enum digest_function)toolchain->digest_function,
	    toolchain->root_digest, root, err);
}
