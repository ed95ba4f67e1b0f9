# SPDX-License-Identifier: Apache-2.0
"""Rules of SplitBlob and SpliceBlob."""

from __future__ import annotations

from typing import Any

from grpc import StatusCode

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

group = Group("cas")
SPLIT = "ContentAddressableStorage.SplitBlob"
SPLICE = "ContentAddressableStorage.SpliceBlob"
SIZE = 3 << 20
FAST_CDC_2020 = 1
REP_MAX_CDC = 2


def _need_split(context: Context) -> None:
    if not context.cache.split_blob_support:
        raise Skip("SplitBlob is not advertised")


def _need_splice(context: Context) -> None:
    if not context.cache.splice_blob_support:
        raise Skip("SpliceBlob is not advertised")


def _pieces(context: Context) -> tuple[bytes, list[Any]]:
    """A fresh blob, and the digests of its stored pieces."""
    pieces = [context.fresh(70_000) for _ in range(3)]
    return b"".join(pieces), context.put_all(pieces)


@group.must(
    "CAS-SPL-01",
    "The chunks of a blob are stored, and make it up in their order",
    spec=SPLIT,
)
def chunks_make_up_the_blob(context: Context) -> None:
    _need_split(context)
    data = context.fresh(SIZE)
    chunks = context.client.split_blob(context.put(data)).chunk_digests
    expect_equal(context.client.find_missing(chunks), [], "missing chunks")
    joined = b"".join(context.get(each) for each in chunks)
    expect(joined == data, "the chunks do not make up the blob")


@group.must(
    "CAS-SPL-02",
    "Chunks have digests of the same function",
    spec="SplitBlobResponse.chunk_digests",
)
def chunks_have_the_same_function(context: Context) -> None:
    _need_split(context)
    digest = context.put(context.fresh(SIZE))
    for chunk in context.client.split_blob(digest).chunk_digests:
        expect_equal(len(chunk.hash), len(digest.hash), "hash length")


@group.must("CAS-SPL-03", "A blob that is absent is NOT_FOUND", spec=SPLIT)
def absent_blob_cannot_be_split(context: Context) -> None:
    _need_split(context)
    expect_status(
        lambda: context.client.split_blob(context.absent()),
        StatusCode.NOT_FOUND,
        what="SplitBlob",
    )


@group.must(
    "CAS-SPC-01", "Stored chunks are put together to the blob", spec=SPLICE
)
def chunks_are_spliced(context: Context) -> None:
    _need_splice(context)
    data, chunks = _pieces(context)
    digest = context.digest(data)
    reply = context.client.splice_blob(digest, chunks)
    expect_equal(reply.blob_digest, digest, "blob_digest")
    expect(context.get(digest) == data, "the blob read back differs")


@group.must(
    "CAS-SPC-02",
    "Chunks that make up another blob are "
    "INVALID_ARGUMENT, and nothing is stored",
    spec=SPLICE,
)
def splice_is_verified(context: Context) -> None:
    _need_splice(context)
    data, chunks = _pieces(context)
    digest = context.digest(data)
    wrong = list(reversed(chunks))
    expect_status(
        lambda: context.client.splice_blob(digest, wrong),
        StatusCode.INVALID_ARGUMENT,
        what="SpliceBlob",
    )
    expect(context.is_missing(digest), "the refused blob was stored")


@group.must("CAS-SPC-03", "An absent chunk is NOT_FOUND", spec=SPLICE)
def absent_chunk_is_not_found(context: Context) -> None:
    _need_splice(context)
    first = context.fresh(70_000)
    second = context.fresh(70_000)
    chunks = [context.put(first), context.digest(second)]
    digest = context.digest(first + second)
    expect_status(
        lambda: context.client.splice_blob(digest, chunks),
        StatusCode.NOT_FOUND,
        what="SpliceBlob",
    )


@group.must(
    "CAS-SPC-04",
    "A blob that exists is accepted, or ALREADY_EXISTS",
    spec=SPLICE,
)
def existing_blob_is_accepted(context: Context) -> None:
    _need_splice(context)
    data, chunks = _pieces(context)
    digest = context.put(data)
    outcome = attempt(lambda: context.client.splice_blob(digest, chunks))
    expect_code(
        outcome.code,
        [StatusCode.OK, StatusCode.ALREADY_EXISTS],
        "SpliceBlob",
        outcome.message,
    )


@group.practice(
    "CAS-SPL-04",
    "What is not advertised is UNIMPLEMENTED",
    spec=f"{SPLIT}, {SPLICE}",
)
def unadvertised_calls_are_unimplemented(context: Context) -> None:
    digest = context.put(context.fresh())
    if not context.cache.split_blob_support:
        expect_status(
            lambda: context.client.split_blob(digest),
            StatusCode.UNIMPLEMENTED,
            what="SplitBlob",
        )
    if not context.cache.splice_blob_support:
        expect_status(
            lambda: context.client.splice_blob(digest, [digest]),
            StatusCode.UNIMPLEMENTED,
            what="SpliceBlob",
        )
    if context.cache.split_blob_support and context.cache.splice_blob_support:
        raise Skip("both are advertised")


def _chunk_sizes(context: Context, size: int, chunking: int) -> list[int]:
    """Of all chunks but the last, where that function was used."""
    _need_split(context)
    digest = context.put(context.fresh(size))
    reply = context.client.split_blob(digest, chunking)
    if reply.chunking_function not in (0, chunking):
        raise Skip("the server splits by another function")
    return [each.size_bytes for each in reply.chunk_digests[:-1]]


@group.must(
    "CAS-SPL-05",
    "Chunks of FastCDC have from a quarter to four times the average size",
    spec="FastCdc2020Params",
)
def fast_cdc_sizes_are_bounded(context: Context) -> None:
    average = context.cache.fast_cdc_2020_params.avg_chunk_size_bytes
    if average == 0:
        raise Skip("FastCDC is not advertised")
    for size in _chunk_sizes(context, average * 20, FAST_CDC_2020):
        expect(
            average // 4 <= size <= average * 4,
            f"a chunk of {size} bytes with an average of {average}",
        )


@group.must(
    "CAS-SPL-06",
    "Chunks of RepMaxCDC have from once to below twice the minimum size",
    spec="RepMaxCdcParams.min_chunk_size_bytes",
)
def rep_max_cdc_sizes_are_bounded(context: Context) -> None:
    least = context.cache.rep_max_cdc_params.min_chunk_size_bytes
    if least == 0:
        raise Skip("RepMaxCDC is not advertised")
    for size in _chunk_sizes(context, least * 20, REP_MAX_CDC):
        expect(
            least <= size < least * 2,
            f"a chunk of {size} bytes with a minimum of {least}",
        )
