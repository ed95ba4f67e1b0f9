# SPDX-License-Identifier: Apache-2.0
"""Rules of ByteStream.Read for uncompressed blobs."""

from __future__ import annotations

from functools import partial

from grpc import StatusCode

from .context import Context
from .digests import digest_of, with_size
from .harness import Group, expect, expect_equal, expect_error, expect_status

group = Group("bytestream")
READ = "ByteStream.Read"
OFFSET = "ReadRequest.read_offset"
LIMIT = "ReadRequest.read_limit"
NAMES = "ContentAddressableStorage, on names of reads"
NAME_HEADER = "build.bazel.remote.execution.v2.resource-name"


@group.must("BSR-GET-01", "A blob is returned byte for byte", spec=READ)
def blob_is_returned(context: Context) -> None:
    for size in (1, 1000, 300_000):
        data = context.fresh(size)
        name = context.read_name(context.put(data))
        expect_equal(context.client.read(name), data, f"{size} bytes")


@group.must(
    "BSR-GET-02",
    "A blob larger than one message is returned in "
    "messages that default clients can receive",
    spec=READ,
)
def large_blob_is_returned(context: Context) -> None:
    data = context.fresh(9 << 20)
    name = context.read_name(context.put(data))
    expect(context.client.read(name) == data, "the data differ")


@group.must("BSR-GET-03", "A blob that is absent is NOT_FOUND", spec=READ)
def absent_blob_is_not_found(context: Context) -> None:
    name = context.read_name(context.absent())
    expect_status(
        lambda: context.client.read(name), StatusCode.NOT_FOUND, what="Read"
    )


@group.must(
    "BSR-GET-04",
    "The empty blob can be read without an upload",
    spec="ContentAddressableStorage, on empty blobs",
)
def empty_blob_can_be_read(context: Context) -> None:
    for function in context.functions():
        name = context.read_name(digest_of(b"", function))
        expect_equal(
            context.client.read(name), b"", f"digest function {function}"
        )


@group.must(
    "BSR-GET-05",
    "A stored hash with another size is not that blob",
    spec="Digest, on the size as a part of it",
)
def size_is_part_of_name(context: Context) -> None:
    digest = context.put(context.fresh(100))
    for size in (0, 99, 101):
        name = context.read_name(with_size(digest, size))
        expect_status(
            partial(context.client.read, name),
            StatusCode.NOT_FOUND,
            StatusCode.INVALID_ARGUMENT,
            what=f"Read with size {size}",
        )


@group.must("BSR-OFF-01", "An offset skips that many bytes", spec=OFFSET)
def offset_skips(context: Context) -> None:
    data = context.fresh(100_000)
    name = context.read_name(context.put(data))
    for offset in (1, 50_000, 99_999):
        expect_equal(
            context.client.read(name, offset=offset),
            data[offset:],
            f"data from {offset}",
        )


@group.must("BSR-OFF-02", "An offset at the end returns nothing", spec=OFFSET)
def offset_at_end_is_empty(context: Context) -> None:
    name = context.read_name(context.put(context.fresh(1000)))
    expect_equal(context.client.read(name, offset=1000), b"", "data")


@group.must(
    "BSR-OFF-03", "An offset behind the end is OUT_OF_RANGE", spec=OFFSET
)
def offset_behind_end_is_refused(context: Context) -> None:
    name = context.read_name(context.put(context.fresh(1000)))
    for offset in (1001, 1 << 62):
        expect_status(
            partial(context.client.read, name, offset=offset),
            StatusCode.OUT_OF_RANGE,
            what=f"offset {offset}",
        )


@group.must("BSR-OFF-04", "A negative offset is OUT_OF_RANGE", spec=OFFSET)
def negative_offset_is_refused(context: Context) -> None:
    name = context.read_name(context.put(context.fresh(1000)))
    expect_status(
        lambda: context.client.read(name, offset=-1),
        StatusCode.OUT_OF_RANGE,
        what="offset -1",
    )


@group.must("BSR-OFF-05", "The empty blob has no offset but zero", spec=OFFSET)
def empty_blob_has_one_offset(context: Context) -> None:
    name = context.read_name(context.digest(b""))
    expect_equal(context.client.read(name, offset=0), b"", "data from 0")
    expect_status(
        lambda: context.client.read(name, offset=1),
        StatusCode.OUT_OF_RANGE,
        what="offset 1",
    )


@group.must("BSR-LIM-01", "A limit bounds the sum of all messages", spec=LIMIT)
def limit_bounds_the_sum(context: Context) -> None:
    data = context.fresh(5 << 20)
    name = context.read_name(context.put(data))
    for limit in (1, 1000, (4 << 20) + 1):
        expect(
            context.client.read(name, limit=limit) == data[:limit],
            f"limit {limit}: the data differ",
        )


@group.must(
    "BSR-LIM-02", "A limit beyond the end returns all there is", spec=LIMIT
)
def limit_beyond_end_returns_all(context: Context) -> None:
    data = context.fresh(1000)
    name = context.read_name(context.put(data))
    for limit in (1000, 1001, 1 << 62):
        expect_equal(
            context.client.read(name, limit=limit),
            data,
            f"data with limit {limit}",
        )


@group.must("BSR-LIM-03", "A negative limit is an error", spec=LIMIT)
def negative_limit_is_refused(context: Context) -> None:
    name = context.read_name(context.put(context.fresh(1000)))
    expect_error(lambda: context.client.read(name, limit=-1), "limit -1")


@group.must(
    "BSR-LIM-04",
    "Offset and limit together give a middle part",
    spec=f"{OFFSET}, {LIMIT}",
)
def offset_and_limit_combine(context: Context) -> None:
    data = context.fresh(1000)
    name = context.read_name(context.put(data))
    expect_equal(
        context.client.read(name, 100, 50), data[100:150], "50 bytes from 100"
    )
    expect_equal(
        context.client.read(name, 990, 50), data[990:], "50 bytes from 990"
    )


@group.must(
    "BSR-NAM-01",
    "The name may also be given in a header",
    spec="ContentAddressableStorage, on the resource-name header",
)
def name_header_is_accepted(context: Context) -> None:
    data = context.fresh()
    name = context.read_name(context.put(data))
    expect_equal(
        context.client.read(name, metadata=[(NAME_HEADER, name)]), data, "data"
    )


@group.practice(
    "BSR-NAM-02",
    "A name that cannot be parsed is INVALID_ARGUMENT",
    spec=NAMES,
)
def malformed_name_is_refused(context: Context) -> None:
    good = context.read_name(context.put(context.fresh()))
    stem, size = good.rsplit("/", 1)
    for name in (
        "",
        "/",
        "blobs",
        "no/such/form",
        stem,
        stem + "/",
        stem + "/x",
        stem + "/-1",
        stem + "/" + size + "x",
        good.replace("blobs/", "blob/"),
    ):
        expect_status(
            partial(context.client.read, name),
            StatusCode.INVALID_ARGUMENT,
            what=f"name {name!r}",
        )
