# SPDX-License-Identifier: Apache-2.0
"""Hostile digests and oversized requests."""

from __future__ import annotations

from functools import partial

from grpc import StatusCode

from conformance.context import Context
from conformance.digests import HASHLIB_NAMES, digest_of, with_size
from conformance.harness import (
    attempt,
    expect,
    expect_code,
    expect_equal,
    expect_status,
)
from conformance.messages import api, protobuf

from .common import INVALID, calls_with, expect_codes, group, still_well

DIGEST = "Digest"
CAS = "/build.bazel.remote.execution.v2.ContentAddressableStorage/"
MANY = 200_000
FLOOD_BYTES = 72 << 20


@group.practice(
    "HOS-DIG-01",
    "A hash in capitals is INVALID_ARGUMENT in every call",
    spec=DIGEST + ".hash",
)
def capitals_are_refused(context: Context) -> None:
    data = b"data in capitals"
    digest = context.put(data)
    digest.hash = digest.hash.upper()
    expect_codes(
        calls_with(context, digest, data), "a hash in capitals", INVALID
    )
    still_well(context)


@group.practice(
    "HOS-DIG-02",
    "A hash of another length or alphabet is INVALID_ARGUMENT in every call",
    spec=DIGEST + ".hash",
)
def malformed_hashes_are_refused(context: Context) -> None:
    good = context.absent(4)
    for bad in (
        "",
        "0",
        good.hash[:-1],
        good.hash + "0",
        good.hash * 100,
        "g" + good.hash[1:],
        "\x00" + good.hash[1:],
        good.hash[:-1] + "\x00",
        "../" + good.hash[3:],
        " " + good.hash[1:],
    ):
        digest = api.Digest(hash=bad, size_bytes=4)
        expect_codes(
            calls_with(context, digest), f"hash {bad[:80]!r}", INVALID
        )
    still_well(context)


@group.practice(
    "HOS-DIG-03",
    "A negative size is INVALID_ARGUMENT in every call",
    spec=DIGEST + ".size_bytes",
)
def negative_sizes_are_refused(context: Context) -> None:
    for size in (-1, -(1 << 63)):
        digest = with_size(context.absent(), size)
        expect_codes(calls_with(context, digest), f"size {size}", INVALID)
    still_well(context)


@group.practice(
    "HOS-DIG-04",
    "The empty blob's hash with another size is never accepted",
    spec=DIGEST + ".size_bytes",
)
def empty_hash_with_size_is_refused(context: Context) -> None:
    digest = with_size(context.digest(b""), 4)
    codes = calls_with(context, digest, b"data")
    for name in ("BatchUpdateBlobs", "Write"):
        expect_code(codes[name], [INVALID], name)
    for name in ("BatchReadBlobs", "Read", "GetTree"):
        expect_code(codes[name], [INVALID, StatusCode.NOT_FOUND], name)
    found = attempt(lambda: context.client.find_missing([digest]))
    expect(
        found.code == INVALID or found.value == [digest],
        "FindMissingBlobs takes it for the empty blob",
    )
    zero = with_size(context.absent(), 0)
    found = attempt(lambda: context.client.find_missing([zero]))
    expect(
        found.code == INVALID or found.value == [zero],
        "FindMissingBlobs takes a size of 0 for the empty blob",
    )
    still_well(context)


@group.practice(
    "HOS-DIG-05",
    "Digests of two functions in one request are INVALID_ARGUMENT, or each "
    "is answered under its own",
    spec="FindMissingBlobsRequest.blob_digests",
)
def mixed_functions_are_kept_apart(context: Context) -> None:
    other = 2 if context.function != 2 else 1
    data = context.fresh()
    stored = context.put(data)
    mixed = [stored, digest_of(data, other)]
    outcome = attempt(lambda: context.client.find_missing(mixed))
    expect_code(
        outcome.code,
        [StatusCode.OK, INVALID],
        "FindMissingBlobs",
        outcome.message,
    )
    if outcome.ok:
        expect_equal(outcome.value, mixed[1:], "missing")


@group.practice(
    "HOS-DIG-06",
    "A digest function that is not announced, or does "
    "not fit the hash, is INVALID_ARGUMENT",
    spec="FindMissingBlobsRequest.digest_function",
)
def wrong_functions_are_refused(context: Context) -> None:
    announced = context.cache.digest_functions
    for function in HASHLIB_NAMES:
        if function not in announced:
            digest = digest_of(context.fresh(), function)
            expect_status(
                partial(context.client.find_missing, [digest], function),
                INVALID,
                what=f"digest function {function}, not announced",
            )
    for function in (99, 2 if context.function != 2 else 1):
        expect_status(
            partial(context.client.find_missing, [context.absent()], function),
            INVALID,
            what=f"digest function {function}, of another length",
        )


@group.practice(
    "HOS-DIG-07",
    "A huge declared size costs nothing: uploads that "
    "do not fill it are INVALID_ARGUMENT, reads are NOT_FOUND",
    spec=DIGEST + ".size_bytes",
)
def huge_sizes_cost_nothing(context: Context) -> None:
    full = StatusCode.RESOURCE_EXHAUSTED
    for size in (1 << 40, (1 << 63) - 1):
        digest = with_size(context.absent(), size)
        codes = calls_with(context, digest)
        absent = [StatusCode.NOT_FOUND, INVALID]
        for name, wanted in {
            "BatchUpdateBlobs": [INVALID],
            "Write": [INVALID, full],
            "Read": absent,
            "BatchReadBlobs": absent,
            "GetTree": absent,
        }.items():
            expect_code(codes[name], wanted, f"{name} of {size} bytes")
    two = [with_size(context.absent(), (1 << 63) - 1) for _ in range(2)]
    outcome = attempt(lambda: context.client.batch_read(two))
    expect_code(
        outcome.code,
        [StatusCode.OK, INVALID],
        "sizes whose sum overflows",
        outcome.message,
    )
    still_well(context)


@group.practice(
    "HOS-DIG-08",
    "200,000 digests in one request are answered, or "
    "refused with RESOURCE_EXHAUSTED or INVALID_ARGUMENT",
    spec="ContentAddressableStorage.FindMissingBlobs",
)
def many_digests_are_answered(context: Context) -> None:
    present = context.put(context.fresh())
    request = [context.absent(16) for _ in range(MANY)]
    # Replies of that size do not fit gRPC's default limit, so most digests
    # are of the one blob that is there.
    asked = request[:1000] + [present] * (MANY - 1000)
    outcome = attempt(lambda: context.client.find_missing(asked))
    expect_code(
        outcome.code,
        [StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED, INVALID],
        "FindMissingBlobs",
        outcome.message,
    )
    if outcome.ok:
        expect_equal(len(outcome.value), 1000, "number missing")
    outcome = attempt(lambda: context.client.find_missing(request))
    expect_code(
        outcome.code,
        [StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED, INVALID],
        "with all of them missing",
        outcome.message,
    )
    still_well(context)


@group.practice(
    "HOS-DIG-09",
    "Bytes that are no request are refused",
    spec="gRPC status codes",
)
def garbage_requests_are_refused(context: Context) -> None:
    for method in ("FindMissingBlobs", "BatchUpdateBlobs", "BatchReadBlobs"):
        for body in (
            b"\xff" * 10,
            b"\x12\xff\xff\xff\xff\x0f",
            b"\x12\x05\x0a",
            b"\x0b" * 5000,
        ):
            outcome = attempt(
                partial(
                    context.client.unary, CAS + method, body, protobuf.Empty
                )
            )
            expect_code(
                outcome.code,
                [INVALID, StatusCode.INTERNAL],
                f"{method} of {body[:6]!r}",
                outcome.message,
            )
    still_well(context)


@group.practice(
    "HOS-DIG-10",
    "A message above the receive limit is "
    "RESOURCE_EXHAUSTED, and the connection goes on",
    spec="gRPC status codes",
)
def oversized_message_is_refused(context: Context) -> None:
    data = bytes(FLOOD_BYTES)
    digest = context.absent()
    outcome = attempt(lambda: context.client.batch_update([(digest, data)]))
    expect_code(
        outcome.code,
        [StatusCode.RESOURCE_EXHAUSTED, INVALID],
        f"{FLOOD_BYTES >> 20} MiB",
        outcome.message,
    )
    still_well(context)
