# SPDX-License-Identifier: Apache-2.0
"""Hostile resource names and instance names."""

from __future__ import annotations

import uuid
from functools import partial

from grpc import StatusCode

from conformance.client import Client
from conformance.context import Context
from conformance.harness import attempt, expect, expect_code, expect_status

from .common import INVALID, group, still_well

NAMES = "ContentAddressableStorage, on resource names"
UPLOAD = "uploads/b6a0a3a6-5b0c-4c53-9c0e-6c1e0a6d0f11/"


def _bad_tails(context: Context) -> list[str]:
    """What may not follow an instance name, for reads and uploads."""
    digest = context.put(b"named blob")
    value, size = digest.hash, digest.size_bytes
    sizes = [
        "",
        "+10",
        " 10",
        "10 ",
        "0x0a",
        "1e1",
        "-10",
        "ten",
        "99999999999999999999",
        "10\x00",
        "1\u0660",
    ]
    tails = [f"blobs/{value}/{each}" for each in sizes]
    tails += [
        "blobs",
        "blobs/",
        f"blobs/{value}",
        f"blobs//{value}/{size}",
        f"blobs/{value}//{size}",
        f"blobs/{size}/{value}",
        f"blobs/{value.upper()}/{size}",
        f"blobs/{value[:-1]}/{size}",
        f"blobs/{value}0/{size}",
        f"blobs/../{value}/{size}",
        f"blobs/{value}\x00/{size}",
        f"blobs/nonsense/{value}/{size}",
        f"compressed-blobs/{value}/{size}",
        f"compressed-blobs//{value}/{size}",
        f"compressed-blobs/identity/{value}/{size}",
        f"compressed-blobs/nonsense/{value}/{size}",
        f"compressed-blobs/ZSTD/{value}/{size}",
        f"compressed-blobs/zstd/{value}",
        "compressed-blobs",
        "blobs/" + "a" * 4000 + f"/{size}",
        "blobs/" + "/" * 1000,
    ]
    return tails


def _prefixed(context: Context, tail: str) -> str:
    instance = context.settings.instance
    return f"{instance}/{tail}" if instance else tail


@group.practice(
    "HOS-NAM-01",
    "Each of some 30 malformed names of a read is INVALID_ARGUMENT",
    spec=NAMES,
)
def bad_read_names_are_refused(context: Context) -> None:
    tails = [*_bad_tails(context), "", "/", "//", "\x00", "uploads"]
    names = [_prefixed(context, tail) for tail in tails]
    names.append("/" + context.read_name(context.digest(b"named blob")))
    for name in names:
        expect_status(
            partial(context.client.read, name),
            INVALID,
            what=f"Read of {name[:90]!r}",
        )
    still_well(context)


@group.practice(
    "HOS-NAM-02",
    "Each of some 30 malformed names of an upload is INVALID_ARGUMENT",
    spec=NAMES,
)
def bad_write_names_are_refused(context: Context) -> None:
    tails = [UPLOAD + tail for tail in _bad_tails(context)]
    digest = context.digest(b"named blob")
    blob = f"blobs/{digest.hash}/{digest.size_bytes}"
    tails += [
        blob,
        f"uploads/{blob}",
        f"uploads//{blob}",
        "uploads",
        f"upload/{uuid.uuid4()}/{blob}",
        f"{UPLOAD}{UPLOAD}{blob}",
    ]
    for tail in tails:
        name = _prefixed(context, tail)
        expect_status(
            partial(context.client.write_all, name, b"named blob"),
            INVALID,
            what=f"Write to {tail[:90]!r}",
        )
    still_well(context)


@group.practice(
    "HOS-NAM-03",
    "A status query with a malformed name is INVALID_ARGUMENT",
    spec="ByteStream.QueryWriteStatus",
)
def bad_query_names_are_refused(context: Context) -> None:
    for tail in ("", "blobs", UPLOAD, UPLOAD + "blobs/xyz/3"):
        name = _prefixed(context, tail)
        outcome = attempt(partial(context.client.write_status, name))
        expect_code(
            outcome.code,
            [INVALID, StatusCode.UNIMPLEMENTED],
            f"QueryWriteStatus of {tail!r}",
            outcome.message,
        )


@group.practice("HOS-NAM-04", "A name of a mebibyte is refused", spec=NAMES)
def endless_name_is_refused(context: Context) -> None:
    name = "a/" * (1 << 19) + "blobs"
    expect_status(lambda: context.client.read(name), INVALID, what="Read")
    still_well(context)


@group.practice(
    "HOS-NAM-05",
    "An instance name with a segment that is a keyword "
    "of resource names is refused",
    spec=NAMES + ", instance_name",
)
def keyword_instances_are_refused(context: Context) -> None:
    for word in (
        "blobs",
        "uploads",
        "actions",
        "actionResults",
        "operations",
        "capabilities",
        "compressed-blobs",
    ):
        client = Client(
            context.client.channel, f"a/{word}/b", context.settings.deadline
        )
        digest = context.absent()
        outcome = attempt(partial(client.find_missing, [digest]))
        expect_code(
            outcome.code,
            [INVALID, StatusCode.NOT_FOUND],
            f"instance a/{word}/b",
            outcome.message,
        )


@group.practice(
    "HOS-NAM-06",
    "An instance name that climbs, or has a NUL, names no file of the server",
    spec=NAMES + ", instance_name",
)
def climbing_instances_are_harmless(context: Context) -> None:
    for instance in ("../..", "/etc", "a//b", "a\x00b", "." * 300, "x" * 5000):
        client = Client(
            context.client.channel, instance, context.settings.deadline
        )
        digest = context.absent()
        outcome = attempt(partial(client.find_missing, [digest]))
        expect_code(
            outcome.code,
            [
                StatusCode.OK,
                INVALID,
                StatusCode.NOT_FOUND,
                StatusCode.PERMISSION_DENIED,
            ],
            f"instance {instance[:20]!r}",
            outcome.message,
        )
        if outcome.ok:
            expect(outcome.value == [digest], "an absent blob is there")
    still_well(context)
