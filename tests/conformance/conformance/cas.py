# SPDX-License-Identifier: Apache-2.0
"""Rules of FindMissingBlobs, BatchUpdateBlobs and BatchReadBlobs."""

from __future__ import annotations

from functools import partial
from typing import Any

from grpc import StatusCode

from . import zstd
from .context import ZSTD, Context
from .digests import digest_of, with_size
from .harness import (
    Group,
    Skip,
    attempt,
    expect,
    expect_code,
    expect_equal,
    expect_status,
)

group = Group("cas")
FIND = "ContentAddressableStorage.FindMissingBlobs"
UPDATE = "ContentAddressableStorage.BatchUpdateBlobs"
READ = "ContentAddressableStorage.BatchReadBlobs"
OK = StatusCode.OK.value[0]
NOT_FOUND = StatusCode.NOT_FOUND.value[0]
INVALID = StatusCode.INVALID_ARGUMENT.value[0]


def keys(digests: list[Any]) -> list[tuple[str, int]]:
    """Digests in a form that sorts and compares."""
    return sorted((each.hash, each.size_bytes) for each in digests)


# --- FindMissingBlobs -------------------------------------------------------


@group.must(
    "CAS-FMB-01",
    "The empty blob is never missing, under any announced digest function",
    spec="ContentAddressableStorage, on empty blobs",
)
def empty_blob_is_never_missing(context: Context) -> None:
    for function in context.functions():
        empty = digest_of(b"", function)
        expect_equal(
            context.client.find_missing([empty]),
            [],
            f"digest function {function}, missing",
        )


@group.must("CAS-FMB-02", "A blob that was never stored is missing", spec=FIND)
def unknown_blob_is_missing(context: Context) -> None:
    digest = context.absent()
    expect_equal(context.client.find_missing([digest]), [digest], "missing")


@group.must(
    "CAS-FMB-03", "A blob that was just stored is not missing", spec=FIND
)
def stored_blob_is_not_missing(context: Context) -> None:
    digest = context.put(context.fresh())
    expect_equal(context.client.find_missing([digest]), [], "missing")


@group.must(
    "CAS-FMB-04",
    "Of many blobs, exactly those absent are returned",
    spec="FindMissingBlobsResponse.missing_blob_digests",
)
def exactly_the_absent_are_returned(context: Context) -> None:
    present = context.put_all([context.fresh() for _ in range(20)])
    absent = [context.absent() for _ in range(20)]
    mixed = [
        each for pair in zip(present, absent, strict=True) for each in pair
    ]
    expect_equal(
        keys(context.client.find_missing(mixed)), keys(absent), "missing"
    )


@group.must(
    "CAS-FMB-05",
    "A digest that is asked for twice is answered as "
    "if asked once or twice, and disturbs no other",
    spec=FIND,
)
def repeated_digests_are_harmless(context: Context) -> None:
    present = context.put(context.fresh())
    absent = context.absent()
    asked = [absent, present, absent, present]
    missing = keys(context.client.find_missing(asked))
    expect(
        missing in (keys([absent]), keys([absent, absent])),
        f"missing: {missing}",
    )


@group.must(
    "CAS-FMB-06", "An empty list of digests has nothing missing", spec=FIND
)
def empty_list_has_nothing_missing(context: Context) -> None:
    expect_equal(context.client.find_missing([]), [], "missing")


@group.must(
    "CAS-FMB-07",
    "A stored hash with another size is not that blob",
    spec="Digest, on the size as a part of it",
)
def size_is_part_of_digest(context: Context) -> None:
    digest = with_size(context.put(context.fresh(100)), 99)
    outcome = attempt(lambda: context.client.find_missing([digest]))
    if outcome.code != StatusCode.INVALID_ARGUMENT:
        expect_code(outcome.code, [StatusCode.OK], "FindMissingBlobs")
        expect_equal(outcome.value, [digest], "missing")


@group.practice("CAS-FMB-08", "10,000 digests fit one request", spec=FIND)
def ten_thousand_digests_fit(context: Context) -> None:
    present = context.put(context.fresh())
    absent = [context.absent(32) for _ in range(9_999)]
    found = context.client.find_missing([*absent, present])
    expect_equal(len(found), len(absent), "number missing")


@group.practice(
    "CAS-FMB-09", "A digest that is not one is refused", spec="Digest.hash"
)
def malformed_digest_is_refused(context: Context) -> None:
    good = context.absent()
    for bad in (
        type(good)(hash="", size_bytes=1),
        type(good)(hash="xyz", size_bytes=1),
        type(good)(hash=good.hash[:-1], size_bytes=1),
        type(good)(hash=good.hash[:-1] + "g", size_bytes=1),
        with_size(good, -1),
    ):
        expect_status(
            partial(context.client.find_missing, [bad]),
            StatusCode.INVALID_ARGUMENT,
            what=f"digest {bad.hash!r}/{bad.size_bytes}",
        )


# --- BatchUpdateBlobs -------------------------------------------------------


@group.must(
    "CAS-BUB-01",
    "Each blob of an upload gets a response of its own",
    spec="BatchUpdateBlobsResponse.responses",
)
def each_blob_gets_a_response(context: Context) -> None:
    blobs = [context.fresh(size) for size in (1, 10, 1000, 100_000)]
    pairs = [(context.digest(data), data) for data in blobs]
    responses = context.client.batch_update(pairs)
    expect_equal(
        keys([each.digest for each in responses]),
        keys([digest for digest, _ in pairs]),
        "digests answered",
    )
    expect_equal(
        [each.status.code for each in responses], [OK] * 4, "statuses"
    )
    expect_equal(
        context.client.find_missing([each for each, _ in pairs]),
        [],
        "missing afterwards",
    )


@group.must(
    "CAS-BUB-02",
    "Data with another hash is INVALID_ARGUMENT",
    spec=UPDATE + ", errors of single requests",
)
def wrong_hash_is_refused(context: Context) -> None:
    digest = context.absent(64)
    responses = context.client.batch_update([(digest, context.fresh(64))])
    expect_equal(
        [each.status.code for each in responses], [INVALID], "statuses"
    )
    expect(context.is_missing(digest), "the refused blob was stored")


@group.must(
    "CAS-BUB-03",
    "Data of another size is INVALID_ARGUMENT",
    spec="Digest.size_bytes; " + UPDATE,
)
def wrong_size_is_refused(context: Context) -> None:
    data = context.fresh(64)
    for size in (0, 63, 65, 1 << 40):
        digest = with_size(context.digest(data), size)
        outcome = attempt(
            partial(context.client.batch_update, [(digest, data)])
        )
        if outcome.ok:
            expect_equal(
                [each.status.code for each in outcome.value],
                [INVALID],
                f"statuses for size {size}",
            )
        else:
            expect_code(
                outcome.code,
                [StatusCode.INVALID_ARGUMENT],
                f"size {size}",
                outcome.message,
            )
    expect(
        context.is_missing(context.digest(data)), "the refused blob was stored"
    )


@group.must(
    "CAS-BUB-04",
    "One refused blob does not spoil the others",
    spec=UPDATE + ", on independence",
)
def blobs_are_independent(context: Context) -> None:
    good = [context.fresh() for _ in range(3)]
    bad = context.absent()
    pairs = [(context.digest(data), data) for data in good]
    pairs.insert(1, (bad, context.fresh()))
    responses = context.client.batch_update(pairs)
    codes = {each.digest.hash: each.status.code for each in responses}
    wanted = {digest.hash: OK for digest, _ in pairs}
    wanted[bad.hash] = INVALID
    expect_equal(codes, wanted, "statuses")


@group.must(
    "CAS-BUB-05",
    "More than the advertised total is INVALID_ARGUMENT for the whole call, "
    "or else stored whole",
    spec=UPDATE + ", errors",
)
def too_large_batch_is_refused(context: Context) -> None:
    half = context.batch_limit() // 2 + 1
    blobs = [context.fresh(half), context.fresh(half)]
    pairs = [(context.digest(data), data) for data in blobs]
    outcome = attempt(lambda: context.client.batch_update(pairs))
    if outcome.ok:
        expect_equal(
            [each.status.code for each in outcome.value], [OK, OK], "statuses"
        )
    else:
        expect_code(
            outcome.code,
            [StatusCode.INVALID_ARGUMENT],
            "BatchUpdateBlobs",
            outcome.message,
        )


@group.must(
    "CAS-BUB-06", "A blob that exists can be uploaded again", spec=UPDATE
)
def existing_blob_is_accepted(context: Context) -> None:
    data = context.fresh()
    digest = context.put(data)
    responses = context.client.batch_update([(digest, data)])
    expect_equal([each.status.code for each in responses], [OK], "statuses")


@group.must(
    "CAS-BUB-07",
    "The empty blob can be uploaded",
    spec="ContentAddressableStorage, on empty blobs",
)
def empty_blob_can_be_uploaded(context: Context) -> None:
    responses = context.client.batch_update([(context.digest(b""), b"")])
    expect_equal([each.status.code for each in responses], [OK], "statuses")


@group.practice(
    "CAS-BUB-08", "An upload of no blobs is answered with none", spec=UPDATE
)
def empty_upload_is_accepted(context: Context) -> None:
    expect_equal(context.client.batch_update([]), [], "responses")


@group.must(
    "CAS-BUB-09",
    "An advertised compressor is understood",
    spec="BatchUpdateBlobsRequest.Request.compressor",
)
def zstd_upload_is_stored(context: Context) -> None:
    context.need_batch_zstd()
    data = context.compressible(10_000)
    digest = context.digest(data)
    responses = context.client.batch_update(
        [(digest, zstd.compress(data))], compressor=ZSTD
    )
    expect_equal([each.status.code for each in responses], [OK], "statuses")
    expect_equal(context.get(digest), data, "the blob read back")


@group.must(
    "CAS-BUB-10",
    "Compressed data is checked against the digest",
    spec=UPDATE + ", errors of single requests",
)
def zstd_upload_is_verified(context: Context) -> None:
    context.need_batch_zstd()
    data = context.compressible(10_000)
    digest = context.absent(10_000)
    bodies = {
        "another blob": zstd.compress(data),
        "no zstd": context.fresh(100),
        "a truncated frame": zstd.compress(context.fresh(10_000))[:-10],
    }
    for what, body in bodies.items():
        responses = context.client.batch_update(
            [(digest, body)], compressor=ZSTD
        )
        expect_equal(
            [each.status.code for each in responses],
            [INVALID],
            f"statuses for {what}",
        )
    expect(context.is_missing(digest), "the refused blob was stored")


@group.must(
    "CAS-BUB-11",
    "A compressor that is not advertised is refused",
    spec="BatchUpdateBlobsRequest.Request.compressor",
)
def unknown_compressor_is_refused(context: Context) -> None:
    offered = context.cache.supported_batch_update_compressors
    others = [each for each in (1, 2, 3) if each not in offered]
    if not others:
        raise Skip("every compressor is advertised")
    data = context.fresh()
    digest = context.digest(data)
    for compressor in others:
        outcome = attempt(
            partial(
                context.client.batch_update,
                [(digest, data)],
                compressor=compressor,
            )
        )
        if outcome.ok:
            codes = [each.status.code for each in outcome.value]
            expect(OK not in codes, f"compressor {compressor} was accepted")
        else:
            expect_code(
                outcome.code,
                [StatusCode.INVALID_ARGUMENT, StatusCode.UNIMPLEMENTED],
                f"compressor {compressor}",
                outcome.message,
            )
    expect(context.is_missing(digest), "the refused blob was stored")


# --- BatchReadBlobs ---------------------------------------------------------


@group.must(
    "CAS-BRB-01",
    "Each blob of a download gets a response of its own, with the data",
    spec="BatchReadBlobsResponse.responses",
)
def each_blob_is_returned(context: Context) -> None:
    blobs = [context.fresh(size) for size in (1, 10, 1000, 100_000)]
    digests = context.put_all(blobs)
    responses = context.client.batch_read(digests)
    found = {each.digest.hash: each.data for each in responses}
    wanted = {
        each.hash: data for each, data in zip(digests, blobs, strict=True)
    }
    expect_equal(len(responses), 4, "number of responses")
    expect_equal(found, wanted, "data")


@group.must(
    "CAS-BRB-02",
    "An absent blob is NOT_FOUND in its own status, "
    "and the others are returned",
    spec=READ,
)
def absent_blob_is_not_found(context: Context) -> None:
    data = context.fresh()
    present, absent = context.put(data), context.absent()
    responses = context.client.batch_read([absent, present])
    found = {each.digest.hash: each for each in responses}
    expect_equal(
        found[absent.hash].status.code, NOT_FOUND, "status of the absent blob"
    )
    expect_equal(found[absent.hash].data, b"", "data of the absent blob")
    expect_equal(
        found[present.hash].status.code, OK, "status of the other blob"
    )
    expect_equal(found[present.hash].data, data, "data of the other blob")


@group.must(
    "CAS-BRB-03",
    "The empty blob can be read without an upload",
    spec="ContentAddressableStorage, on empty blobs",
)
def empty_blob_can_be_read(context: Context) -> None:
    for function in context.functions():
        responses = context.client.batch_read([digest_of(b"", function)])
        expect_equal(
            [(each.status.code, each.data) for each in responses],
            [(OK, b"")],
            f"digest function {function}",
        )


@group.must(
    "CAS-BRB-04",
    "Data comes uncompressed unless the client accepts more",
    spec="BatchReadBlobsRequest.acceptable_compressors",
)
def identity_is_the_default(context: Context) -> None:
    data = context.compressible(50_000)
    digest = context.put(data)
    responses = context.client.batch_read([digest])
    expect_equal(
        [(each.compressor, each.data) for each in responses],
        [(0, data)],
        "the blob",
    )


@group.must(
    "CAS-BRB-05",
    "Data comes only in an encoding that the client accepts",
    spec="BatchReadBlobsResponse.Response.compressor",
)
def only_accepted_compressors_are_used(context: Context) -> None:
    data = context.compressible(50_000)
    digest = context.put(data)
    for accepted in ([ZSTD], [2], [0, ZSTD]):
        responses = context.client.batch_read([digest], accepted)
        expect_equal(
            [each.status.code for each in responses],
            [OK],
            f"statuses when {accepted} is accepted",
        )
        used = responses[0].compressor
        expect(
            used == 0 or used in accepted,
            f"compressor {used} when {accepted} is accepted",
        )
        body = responses[0].data
        if used == ZSTD and zstd.available():
            body = zstd.decompress(body, len(data))
        if used in (0, ZSTD):
            expect_equal(body, data, f"the blob in compressor {used}")


@group.must(
    "CAS-BRB-06",
    "More than the advertised total is INVALID_ARGUMENT for the whole call, "
    "or else returned whole, in a message that clients can receive",
    spec=READ + ", errors",
)
def too_large_download_is_refused(context: Context) -> None:
    half = context.batch_limit() // 2 + 1
    digests = [context.put(context.fresh(half)) for _ in range(2)]
    expect_status(
        lambda: context.client.batch_read(digests),
        StatusCode.INVALID_ARGUMENT,
        StatusCode.OK,
        what="BatchReadBlobs",
    )


@group.must(
    "CAS-BRB-07",
    "A stored hash with another size is not returned",
    spec="Digest, on the size as a part of it",
)
def size_is_part_of_read(context: Context) -> None:
    digest = with_size(context.put(context.fresh(100)), 99)
    outcome = attempt(lambda: context.client.batch_read([digest]))
    if outcome.ok:
        codes = [each.status.code for each in outcome.value]
        expect(codes in ([NOT_FOUND], [INVALID]), f"statuses: {codes}")
    else:
        expect_code(
            outcome.code,
            [StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND],
            "BatchReadBlobs",
        )


@group.practice(
    "CAS-BRB-08",
    "A malformed digest is refused alone: its own "
    "status, or INVALID_ARGUMENT for the call",
    spec=READ,
)
def malformed_digest_in_read(context: Context) -> None:
    data = context.fresh()
    good = context.put(data)
    bad = type(good)(hash="xyz", size_bytes=3)
    outcome = attempt(lambda: context.client.batch_read([good, bad]))
    if not outcome.ok:
        expect_code(
            outcome.code,
            [StatusCode.INVALID_ARGUMENT],
            "BatchReadBlobs",
            outcome.message,
        )
        return
    codes = {each.digest.hash: each.status.code for each in outcome.value}
    expect_equal(codes[good.hash], OK, "status of the good one")
    expect(
        codes["xyz"] in (INVALID, NOT_FOUND),
        f"status of the malformed one: {codes['xyz']}",
    )
