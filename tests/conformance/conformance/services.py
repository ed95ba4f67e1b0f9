# SPDX-License-Identifier: Apache-2.0
"""Rules of the gRPC services beside the API: health and reflection."""

from __future__ import annotations

from functools import partial
from typing import Any

import grpc
from grpc import StatusCode

from .client import Client
from .context import Context
from .harness import (
    Group,
    Skip,
    attempt,
    expect,
    expect_code,
    expect_equal,
    expect_status,
)
from .messages import api, health, protobuf, reflection

group = Group("services")
HEALTH = "grpc.health.v1.Health"
REFLECTION = "ServerReflection.ServerReflectionInfo"
VERSIONS = ("v1", "v1alpha")
API = "build.bazel.remote.execution.v2."
SERVING = 1


def _check(context: Context, service: str) -> Any:
    return context.client.unary(
        f"/{HEALTH}/Check",
        health.HealthCheckRequest(service=service),
        health.HealthCheckResponse,
    )


@group.practice(
    "SRV-HLT-01", "The server as a whole is SERVING", spec=HEALTH + ".Check"
)
def server_is_serving(context: Context) -> None:
    _need_health(context)
    expect_equal(_check(context, "").status, SERVING, "status")


def _need_health(context: Context) -> None:
    if attempt(lambda: _check(context, "")).code == StatusCode.UNIMPLEMENTED:
        raise Skip("the health service is not implemented")


@group.practice(
    "SRV-HLT-02",
    "The health of an unknown service is NOT_FOUND",
    spec=HEALTH + ".Check",
)
def unknown_service_is_not_found(context: Context) -> None:
    _need_health(context)
    expect_status(
        lambda: _check(context, "no.such.Service"),
        StatusCode.NOT_FOUND,
        what="Check",
    )


@group.practice(
    "SRV-HLT-03",
    "A watcher gets the present status at once",
    spec=HEALTH + ".Watch",
)
def watch_tells_the_status(context: Context) -> None:
    _need_health(context)
    call = context.client.server_stream(
        f"/{HEALTH}/Watch",
        health.HealthCheckRequest(),
        health.HealthCheckResponse,
    )
    try:
        expect_equal(next(call).status, SERVING, "first status")
    except grpc.RpcError as error:
        if error.code() == StatusCode.UNIMPLEMENTED:
            raise Skip("Watch is not implemented") from error
        raise
    finally:
        call.cancel()


def _reflect(client: Client, version: str, **question: Any) -> Any:
    """One question over the reflection stream."""
    call = client.channel.stream_stream(
        f"/grpc.reflection.{version}.{REFLECTION.replace('.', '/')}",
        lambda message: message.SerializeToString(),
        reflection.ServerReflectionResponse.FromString,
    )
    asked = reflection.ServerReflectionRequest(**question)
    return next(call(iter([asked]), timeout=client.deadline))


def _reflection_versions(context: Context) -> list[str]:
    found = [
        version
        for version in VERSIONS
        if attempt(
            partial(_reflect, context.client, version, list_services="")
        ).ok
    ]
    if not found:
        raise Skip("server reflection is not implemented")
    return found


@group.practice(
    "SRV-REF-01",
    "Reflection lists the services of the API",
    spec=REFLECTION + ", list_services",
)
def reflection_lists_services(context: Context) -> None:
    wanted = {
        API + "ContentAddressableStorage",
        API + "Capabilities",
        "google.bytestream.ByteStream",
    }
    for version in _reflection_versions(context):
        reply = _reflect(context.client, version, list_services="")
        names = {each.name for each in reply.list_services_response.service}
        expect(wanted <= names, f"{version} lacks {sorted(wanted - names)}")


@group.practice(
    "SRV-REF-02",
    "Reflection gives the file of a service, with that service in it",
    spec=REFLECTION + ", file_containing_symbol",
)
def reflection_describes_services(context: Context) -> None:
    symbol = API + "ContentAddressableStorage"
    for version in _reflection_versions(context):
        reply = _reflect(
            context.client, version, file_containing_symbol=symbol
        )
        files = reply.file_descriptor_response.file_descriptor_proto
        parsed = [
            protobuf.FileDescriptorProto.FromString(each) for each in files
        ]
        found = [
            f"{file.package}.{service.name}"
            for file in parsed
            for service in file.service
        ]
        expect(symbol in found, f"{version} describes {found}")


@group.practice(
    "SRV-REF-03",
    "Reflection of an unknown symbol is an error "
    "reply with NOT_FOUND, on a stream that goes on",
    spec=REFLECTION + ", file_containing_symbol",
)
def reflection_of_unknown_symbol(context: Context) -> None:
    for version in _reflection_versions(context):
        reply = _reflect(
            context.client, version, file_containing_symbol="no.such.Symbol"
        )
        expect_equal(
            reply.error_response.error_code,
            StatusCode.NOT_FOUND.value[0],
            f"{version}, code",
        )


@group.must(
    "SRV-UNI-01",
    "A method that nobody serves is UNIMPLEMENTED",
    spec="gRPC status codes",
)
def unknown_method_is_unimplemented(context: Context) -> None:
    for path in (
        "/no.such.Service/Method",
        f"/{API}ContentAddressableStorage/NoSuchMethod",
    ):
        expect_status(
            partial(context.client.unary, path, b"", protobuf.Empty),
            StatusCode.UNIMPLEMENTED,
            what=path,
        )


@group.practice(
    "SRV-CMP-01",
    "A message that gRPC compressed is taken, or UNIMPLEMENTED, and nothing "
    "else goes wrong",
    spec="gRPC, message compression",
)
def compressed_message_is_understood(context: Context) -> None:
    call = context.client.channel.unary_unary(
        f"/{API}ContentAddressableStorage/FindMissingBlobs",
        api.FindMissingBlobsRequest.SerializeToString,
        api.FindMissingBlobsResponse.FromString,
    )
    absent = context.absent()
    request = api.FindMissingBlobsRequest(
        instance_name=context.settings.instance, blob_digests=[absent] * 100
    )
    outcome = attempt(
        lambda: call(
            request,
            compression=grpc.Compression.Gzip,
            timeout=context.settings.deadline,
        )
    )
    expect_code(
        outcome.code,
        [StatusCode.OK, StatusCode.UNIMPLEMENTED],
        "FindMissingBlobs",
        outcome.message,
    )
    if outcome.ok:
        expect(
            absent in outcome.value.missing_blob_digests,
            "the absent blob is not missing",
        )
    expect(context.is_missing(absent), "the absent blob is not missing")
