# SPDX-License-Identifier: Apache-2.0
"""Clients that stop, connections that idle, bytes that are no HTTP/2."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from grpc import StatusCode

from conformance.context import Context
from conformance.execute import Job, start
from conformance.harness import Skip, attempt, expect, expect_equal
from conformance.messages import bytestream

from .common import group, still_well

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
EMPTY_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
READERS = 16
WRITERS = 64
SPARE_DESCRIPTORS = 200


@group.practice(
    "HOS-LOD-01",
    "Readers that stop reading hold up nobody, and cost no memory",
    spec="ByteStream.Read",
)
def stalled_readers_are_harmless(context: Context) -> None:
    name = context.read_name(context.put(context.fresh(32 << 20)))
    client = context.new_client()
    calls = [client.open_read(name) for _ in range(READERS)]
    first = [next(call).data for call in calls]
    time.sleep(0.5)
    still_well(context)
    for call in calls:
        call.cancel()
    client.channel.close()
    expect(all(first), "a first message was empty")
    still_well(context)


@group.practice(
    "HOS-LOD-02",
    "Writers that stop writing hold up nobody, and "
    "what they sent is never visible",
    spec="ByteStream.Write",
)
def stalled_writers_are_harmless(context: Context) -> None:
    data = context.fresh(1 << 20)
    done = threading.Event()
    client = context.new_client()
    digests = [context.absent(2 << 20) for _ in range(WRITERS)]

    def part(name: str) -> Iterator[Any]:
        yield bytestream.WriteRequest(resource_name=name, data=data)
        done.wait(context.settings.deadline)

    calls = [
        client.open_write(part(context.write_name(each))) for each in digests
    ]
    time.sleep(0.5)
    try:
        still_well(context)
        missing = context.client.find_missing(digests)
        expect_equal(len(missing), WRITERS, "number missing")
    finally:
        for call in calls:
            call.cancel()
        done.set()
        client.channel.close()
    still_well(context)


@group.practice(
    "HOS-LOD-03",
    "A thousand idle connections leave room for another",
    spec="gRPC over HTTP/2",
)
def idle_connections_are_harmless(context: Context) -> None:
    wanted = context.settings.connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_DESCRIPTORS
    if hard not in (resource.RLIM_INFINITY,) and hard < needed:
        raise Skip(f"only {hard} file descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    with ExitStack() as stack:
        for _ in range(wanted):
            link = stack.enter_context(_connect(context))
            if context.settings.tls_ca is None:
                link.sendall(PREFACE + EMPTY_SETTINGS)
        client = context.new_client()
        began = time.monotonic()
        outcome = attempt(client.capabilities)
        took = time.monotonic() - began
        client.channel.close()
        expect(
            outcome.ok,
            f"a further client got {outcome.code.name}: {outcome.message}",
        )
        expect(took < 5, f"a further client waited {took:.1f} s")
        still_well(context)
    still_well(context)


def _connect(context: Context) -> socket.socket:
    host, port = context.settings.address.rsplit(":", 1)
    return socket.create_connection(
        (host.strip("[]"), int(port)), timeout=context.settings.deadline
    )


@group.practice(
    "HOS-LOD-04",
    "Bytes that are no HTTP/2 end their own connection only",
    spec="gRPC over HTTP/2",
)
def garbage_bytes_are_harmless(context: Context) -> None:
    for body in (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(4096),
        PREFACE[:10],
        PREFACE + b"\xff" * 64,
        PREFACE + EMPTY_SETTINGS + b"\xff\xff\xff\x00\x00" * 8,
        PREFACE + EMPTY_SETTINGS * 5000,
    ):
        with _connect(context) as link:
            try:
                link.sendall(body)
                link.settimeout(0.2)
                link.recv(4096)
            except OSError:
                pass  # closed or silent: both are fine
    still_well(context)


@group.practice(
    "HOS-LOD-05",
    "A thousand calls that are given up at once leave the server well",
    spec="gRPC status codes",
)
def cancelled_calls_are_harmless(context: Context) -> None:
    name = context.read_name(context.put(context.fresh(4 << 20)))
    client = context.new_client()
    for _ in range(1000):
        client.open_read(name).cancel()
    client.channel.close()
    still_well(context)


@group.practice(
    "HOS-LOD-06",
    "Executions whose clients leave at once do not block the next one",
    spec="Execution.Execute",
)
def abandoned_executions_end(context: Context) -> None:
    context.need_execution()
    for _ in range(20):
        start(context, "sleep 0.05")[0].cancel()
    run = Job(context, "echo next").run()
    run.expect_code(StatusCode.OK)
    expect_equal(run.stdout(), b"next\n", "standard output")
    still_well(context)
