# SPDX-License-Identifier: Apache-2.0
"""Rules of ByteStream names with compressed-blobs/zstd."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

from grpc import StatusCode

from . import zstd
from .client import write_requests
from .context import Context
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
from .resume import go_on, settled_status
from .write import request

group = Group("bytestream")
CAS = "ContentAddressableStorage"
UPLOADS = CAS + ", on compressed uploads"
READS = CAS + ", on compressed downloads"
ZSTD = "zstd"


def _read(context: Context, digest: Any, offset: int = 0) -> bytes:
    """A compressed read, decompressed."""
    body = context.client.read(context.read_name(digest, ZSTD), offset)
    return zstd.decompress(body, int(digest.size_bytes))


@group.must(
    "BSZ-PUT-01", "A compressed upload stores the blob itself", spec=UPLOADS
)
def compressed_upload_is_stored(context: Context) -> None:
    context.need_zstd()
    for data in (
        context.compressible(100_000),
        context.fresh(100_000),
        context.fresh(1),
    ):
        digest = context.digest(data)
        context.client.write_all(
            context.write_name(digest, ZSTD), zstd.compress(data)
        )
        expect_equal(context.get(digest), data, "the blob read back")


@group.must(
    "BSZ-PUT-02",
    "Later offsets count compressed bytes",
    spec=UPLOADS + ", write_offset",
)
def offsets_count_compressed_bytes(context: Context) -> None:
    context.need_zstd()
    data = context.fresh(500_000)
    digest = context.digest(data)
    context.client.write_all(
        context.write_name(digest, ZSTD), zstd.compress(data), piece=10_000
    )
    expect(context.get(digest) == data, "the blob read back differs")


@group.practice(
    "BSZ-PUT-03",
    "The committed size of a compressed upload is "
    "its compressed size, its full size or -1",
    spec="WriteResponse.committed_size",
)
def committed_size_is_plausible(context: Context) -> None:
    context.need_zstd()
    data = context.compressible(100_000)
    body = zstd.compress(data)
    name = context.write_name(context.digest(data), ZSTD)
    committed = context.client.write_all(name, body)
    expect(
        committed in (len(body), len(data), -1),
        f"committed_size is {committed} for {len(body)} compressed and "
        f"{len(data)} full bytes",
    )


@group.must(
    "BSZ-PUT-04",
    "A compressed upload of a blob that exists is answered with -1",
    spec=CAS + ", on uploads that another client completed",
)
def existing_blob_is_minus_one(context: Context) -> None:
    context.need_zstd()
    data = context.compressible(1 << 20)
    digest = context.put(data)
    name = context.write_name(digest, ZSTD)
    done = threading.Event()

    def stalled() -> Iterator[Any]:
        yield request(name, 0, zstd.compress(data)[:20])
        done.wait(context.settings.deadline)

    outcome = attempt(context.client.open_write(stalled()).result)
    done.set()
    expect_code(outcome.code, [StatusCode.OK], "Write", outcome.message)
    expect_equal(int(outcome.value.committed_size), -1, "committed_size")


@group.practice(
    "BSZ-PUT-05",
    "A blob may come in several frames, or in one that does not tell its size",
    spec=UPLOADS,
)
def any_frames_are_accepted(context: Context) -> None:
    context.need_zstd()
    one = context.compressible(200_000)
    two = context.compressible(200_000)
    for data, body in (
        (one, zstd.raw_frame(one)),
        (two, zstd.compress(two[:100]) + zstd.compress(two[100:])),
    ):
        digest = context.digest(data)
        context.client.write_all(context.write_name(digest, ZSTD), body)
        expect(context.get(digest) == data, "the blob read back differs")


@group.must(
    "BSZ-PUT-06",
    "Segments after the size are allowed",
    spec=UPLOADS + ", optional_metadata",
)
def metadata_segments_are_accepted(context: Context) -> None:
    context.need_zstd()
    data = context.compressible(10_000)
    digest = context.digest(data)
    context.client.write_all(
        context.write_name(digest, ZSTD, metadata="a/b.txt"),
        zstd.compress(data),
    )
    expect_equal(context.get(digest), data, "the blob read back")


@group.must(
    "BSZ-PUT-07",
    "Each announced digest function is inferred from the length of the hash",
    spec=UPLOADS + ", digest_function",
)
def function_is_inferred(context: Context) -> None:
    context.need_zstd()
    for function in context.functions():
        data = context.compressible(10_000)
        digest = digest_of(data, function)
        context.client.write_all(
            context.write_name(digest, ZSTD), zstd.compress(data)
        )
        what = f"digest function {function}"
        expect_equal(context.get(digest), data, f"{what}, read plain")
        expect_equal(_read(context, digest), data, f"{what}, compressed")


@group.must(
    "BSZ-SUM-01",
    "Data that expands to another blob is INVALID_ARGUMENT and is not stored",
    spec=UPLOADS,
)
def wrong_hash_is_refused(context: Context) -> None:
    context.need_zstd()
    data = context.compressible(10_000)
    digest = context.absent(10_000)
    name = context.write_name(digest, ZSTD)
    expect_status(
        lambda: context.client.write_all(name, zstd.compress(data)),
        StatusCode.INVALID_ARGUMENT,
        what="Write",
    )
    expect(context.is_missing(digest), "the refused blob was stored")


@group.must(
    "BSZ-SUM-02",
    "Data that expands to another size is INVALID_ARGUMENT",
    spec=UPLOADS,
)
def wrong_size_is_refused(context: Context) -> None:
    context.need_zstd()
    data = context.compressible(10_000)
    for size in (9_999, 10_001):
        digest = with_size(context.digest(data), size)
        name = context.write_name(digest, ZSTD)
        expect_status(
            partial(context.client.write_all, name, zstd.compress(data)),
            StatusCode.INVALID_ARGUMENT,
            what=f"size {size}",
        )
    expect(context.is_missing(context.digest(data)), "the data were stored")


@group.must(
    "BSZ-SUM-03",
    "Data that is not whole frames is INVALID_ARGUMENT",
    spec=UPLOADS,
)
def broken_frames_are_refused(context: Context) -> None:
    context.need_zstd()
    data = context.compressible(10_000)
    digest = context.digest(data)
    body = zstd.compress(data)
    for what, broken in {
        "no frame": context.fresh(100),
        "no data": b"",
        "the data itself": data,
        "a truncated frame": body[:-3],
        "a frame and more": body + b"more",
    }.items():
        name = context.write_name(digest, ZSTD)
        expect_status(
            partial(context.client.write_all, name, broken),
            StatusCode.INVALID_ARGUMENT,
            what=what,
        )
        expect(context.is_missing(digest), f"{what} was stored")


@group.must(
    "BSZ-GET-01",
    "What was uploaded plain can be read compressed",
    spec=CAS + ", on all formats of a blob",
)
def plain_blob_reads_compressed(context: Context) -> None:
    context.need_zstd()
    for data in (
        context.compressible(300_000),
        context.fresh(300_000),
        context.fresh(1),
    ):
        digest = context.put(data)
        expect_equal(_read(context, digest), data, "the blob read back")


@group.must(
    "BSZ-GET-02",
    "What was uploaded compressed can be read "
    "compressed, plain and in batches",
    spec=CAS + ", on all formats of a blob",
)
def compressed_blob_reads_all_ways(context: Context) -> None:
    context.need_zstd()
    data = context.compressible(300_000)
    digest = context.digest(data)
    context.client.write_all(
        context.write_name(digest, ZSTD), zstd.compress(data)
    )
    expect_equal(_read(context, digest), data, "read compressed")
    expect_equal(context.get(digest), data, "read plain")
    responses = context.client.batch_read([digest])
    expect_equal([each.data for each in responses], [data], "read in a batch")


@group.must(
    "BSZ-GET-03",
    "A limit on a compressed read is INVALID_ARGUMENT",
    spec=READS + ", read_limit",
)
def limit_is_refused(context: Context) -> None:
    context.need_zstd()
    digest = context.put(context.compressible(10_000))
    name = context.read_name(digest, ZSTD)
    expect_status(
        lambda: context.client.read(name, limit=100),
        StatusCode.INVALID_ARGUMENT,
        what="limit 100",
    )


@group.must(
    "BSZ-GET-04",
    "The offset of a compressed read counts bytes of the blob",
    spec=READS + ", read_offset",
)
def offset_counts_plain_bytes(context: Context) -> None:
    context.need_zstd()
    data = context.compressible(300_000)
    plain = context.put(data)
    other = context.compressible(300_000)
    packed = context.digest(other)
    context.client.write_all(
        context.write_name(packed, ZSTD), zstd.compress(other)
    )
    for offset in (1, 150_000, 299_999):
        expect_equal(
            _read(context, plain, offset),
            data[offset:],
            f"from {offset} of a blob uploaded plain",
        )
        expect_equal(
            _read(context, packed, offset),
            other[offset:],
            f"from {offset} of a blob uploaded compressed",
        )


@group.must(
    "BSZ-GET-05",
    "An offset out of the blob is OUT_OF_RANGE",
    spec="ReadRequest.read_offset",
)
def offset_out_of_range_is_refused(context: Context) -> None:
    context.need_zstd()
    digest = context.put(context.compressible(10_000))
    name = context.read_name(digest, ZSTD)
    for offset in (-1, 10_001):
        expect_status(
            partial(context.client.read, name, offset=offset),
            StatusCode.OUT_OF_RANGE,
            what=f"offset {offset}",
        )


@group.must("BSZ-GET-06", "A blob that is absent is NOT_FOUND", spec=READS)
def absent_blob_is_not_found(context: Context) -> None:
    context.need_zstd()
    name = context.read_name(context.absent(), ZSTD)
    expect_status(
        lambda: context.client.read(name), StatusCode.NOT_FOUND, what="Read"
    )


@group.must(
    "BSZ-GET-07",
    "The empty blob can be read compressed",
    spec=CAS + ", on empty blobs",
)
def empty_blob_reads_compressed(context: Context) -> None:
    context.need_zstd()
    name = context.read_name(context.digest(b""), ZSTD)
    body = context.client.read(name)
    if body:
        expect_equal(zstd.decompress(body, 1), b"", "the blob")


@group.practice(
    "BSZ-NAM-01",
    "A compressor that is not advertised is INVALID_ARGUMENT",
    spec=CAS + ", compressor in names",
)
def unknown_compressor_is_refused(context: Context) -> None:
    digest = context.put(context.fresh())
    offered = context.cache.supported_compressors
    names = {1: "zstd", 2: "deflate", 3: "brotli", 99: "nonsense"}
    for number, name in names.items():
        if number in offered:
            continue
        where = context.read_name(digest, name)
        expect_status(
            partial(context.client.read, where),
            StatusCode.INVALID_ARGUMENT,
            what=f"Read with {name}",
        )


def _interrupted(context: Context, data: bytes) -> tuple[str, int]:
    """Upload half of a compressed blob and break the stream; the name, and
    how many bytes of the content the server has."""
    body = zstd.compress(data)
    name = context.write_name(context.digest(data), ZSTD)
    done = threading.Event()

    def part() -> Iterator[Any]:
        half = body[: len(body) // 2]
        yield from write_requests(name, half, 64 << 10, finish=False)
        done.wait(context.settings.deadline)

    call = context.client.open_write(part())
    status = settled_status(context, name, len(data) // 4)
    call.cancel()
    done.set()
    if not status.ok:
        raise Skip("the server keeps no interrupted uploads")
    expect(not status.value.complete, "complete is true")
    return name, int(status.value.committed_size)


def _go_on(context: Context, name: str, data: bytes, offset: int) -> None:
    """Send the content from the offset as a compressed stream of its own."""
    body = zstd.compress(data[offset:])
    outcome = go_on(context, name, body, offset)
    expect_code(outcome.code, [StatusCode.OK], "Write", outcome.message)
    expect(
        context.get(context.digest(data)) == data, "the blob read back differs"
    )


@group.must(
    "BSZ-RES-02",
    "An interrupted compressed upload goes on at its committed size, which "
    "counts uncompressed bytes",
    spec=UPLOADS + ", write_offset of compressed blobs",
)
def interrupted_upload_resumes(context: Context) -> None:
    context.need_zstd()
    data = context.fresh(1 << 20)
    name, committed = _interrupted(context, data)
    _go_on(context, name, data, committed)


@group.practice(
    "BSZ-RES-03",
    "An interrupted compressed upload keeps what was received, so that "
    "resuming saves traffic, at an earlier offset too",
    spec=UPLOADS + ", write_offset of compressed blobs",
)
def interrupted_upload_resumes_earlier(context: Context) -> None:
    context.need_zstd()
    for back in (1, 100_000):
        data = context.fresh(1 << 20)
        name, committed = _interrupted(context, data)
        expect(committed > back, f"only {committed} bytes were kept")
        _go_on(context, name, data, committed - back)


@group.must(
    "BSZ-RES-04",
    "A compressed upload that goes on with other content is INVALID_ARGUMENT",
    spec=UPLOADS + ", uncompressed_hash",
)
def resumed_upload_is_verified(context: Context) -> None:
    context.need_zstd()
    data = context.fresh(1 << 20)
    name, committed = _interrupted(context, data)
    body = zstd.compress(bytes(len(data) - committed))
    outcome = go_on(context, name, body, committed)
    expect_code(
        outcome.code,
        [StatusCode.INVALID_ARGUMENT],
        "Write",
        outcome.message,
    )


@group.practice(
    "BSZ-RES-01",
    "An interrupted compressed upload can be uploaded again at once",
    spec=UPLOADS,
)
def interrupted_upload_restarts(context: Context) -> None:
    context.need_zstd()
    data = context.fresh(1 << 20)
    body = zstd.compress(data)
    digest = context.digest(data)
    name = context.write_name(digest, ZSTD)
    done = threading.Event()

    def part() -> Iterator[Any]:
        yield from write_requests(name, body[:500_000], 64 << 10, finish=False)
        done.wait(context.settings.deadline)

    call = context.client.open_write(part())
    status = settled_status(context, name, 1)
    call.cancel()
    done.set()
    expect(not (status.ok and status.value.complete), "complete is true")
    context.client.write_all(context.write_name(digest, ZSTD), body)
    expect(context.get(digest) == data, "the blob read back differs")
