# SPDX-License-Identifier: Apache-2.0
"""Rules of ByteStream.Write, uncompressed."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from grpc import StatusCode

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
    expect_error,
    expect_status,
)
from .messages import bytestream
from .read import NAME_HEADER

group = Group("bytestream")
WRITE = "ByteStream.Write"
NAMES = "ContentAddressableStorage, on names of uploads"
MISMATCH = "ContentAddressableStorage, on uploads that do not match"
OFFSET = "WriteRequest.write_offset"
NAME = "WriteRequest.resource_name"


def request(name: str, offset: int, data: bytes, finish: bool = False) -> Any:
    """One WriteRequest."""
    return bytestream.WriteRequest(
        resource_name=name, write_offset=offset, data=data, finish_write=finish
    )


@group.must(
    "BSW-PUT-01",
    "A finished upload commits the whole blob",
    spec="WriteResponse.committed_size",
)
def finished_upload_is_committed(context: Context) -> None:
    for size in (1, 1000, 300_000):
        data = context.fresh(size)
        digest = context.digest(data)
        committed = context.client.write_all(context.write_name(digest), data)
        expect_equal(committed, size, "committed_size")
        expect_equal(context.get(digest), data, "the blob read back")


@group.must(
    "BSW-PUT-02",
    "A blob may come in many messages, with the name in the first only",
    spec=NAME,
)
def name_is_needed_once(context: Context) -> None:
    data = context.fresh(9 << 20)
    digest = context.digest(data)
    committed = context.client.write_all(
        context.write_name(digest), data, piece=64 << 10
    )
    expect_equal(committed, len(data), "committed_size")
    expect(context.get(digest) == data, "the blob read back differs")


@group.must(
    "BSW-PUT-03",
    "The empty blob can be uploaded",
    spec="ContentAddressableStorage, on empty blobs",
)
def empty_blob_can_be_written(context: Context) -> None:
    name = context.write_name(context.digest(b""))
    expect_equal(context.client.write_all(name, b""), 0, "committed_size")


@group.must(
    "BSW-PUT-04",
    "Messages without data are allowed anywhere",
    spec="WriteRequest.data",
)
def messages_may_be_empty(context: Context) -> None:
    data = context.fresh(100)
    digest = context.digest(data)
    name = context.write_name(digest)
    committed = context.client.write(
        [
            request(name, 0, b""),
            request("", 0, data[:50]),
            request("", 50, b""),
            request("", 50, data[50:]),
            request("", 100, b"", finish=True),
        ]
    )
    expect_equal(committed, 100, "committed_size")
    expect_equal(context.get(digest), data, "the blob read back")


@group.must(
    "BSW-PUT-05",
    "Each announced digest function is inferred from the length of the hash",
    spec=NAMES,
)
def function_is_inferred(context: Context) -> None:
    for function in context.functions():
        data = context.fresh()
        digest = digest_of(data, function)
        committed = context.client.write_all(context.write_name(digest), data)
        what = f"digest function {function}"
        expect_equal(committed, len(data), f"{what}, committed_size")
        expect_equal(context.get(digest), data, f"{what}, read back")


@group.must("BSW-PUT-06", "One UUID may be used for several blobs", spec=NAMES)
def uuid_can_be_reused(context: Context) -> None:
    upload = str(uuid.uuid4())
    for _ in range(3):
        data = context.fresh()
        digest = context.digest(data)
        name = context.write_name(digest, upload=upload)
        context.client.write_all(name, data)
        expect_equal(context.get(digest), data, "the blob read back")


@group.must(
    "BSW-PUT-07",
    "One blob may be uploaded by many at once",
    spec="ContentAddressableStorage, on concurrent uploads",
)
def concurrent_uploads_succeed(context: Context) -> None:
    data = context.fresh(1 << 20)
    digest = context.digest(data)
    names = [context.write_name(digest) for _ in range(8)]
    with ThreadPoolExecutor(len(names)) as pool:
        committed = list(
            pool.map(
                lambda name: context.client.write_all(name, data, 64 << 10),
                names,
            )
        )
    expect_equal(committed, [len(data)] * len(names), "committed_size")
    expect(context.get(digest) == data, "the blob read back differs")


@group.must(
    "BSW-NAM-01",
    "Segments after the size are allowed and may be ignored",
    spec=NAMES + ", optional_metadata",
)
def metadata_segments_are_accepted(context: Context) -> None:
    for metadata in ("file.txt", "a/b/c.txt"):
        data = context.fresh()
        digest = context.digest(data)
        name = context.write_name(digest, metadata=metadata)
        expect_equal(
            context.client.write_all(name, data),
            len(data),
            f"committed_size with {metadata}",
        )
        expect_equal(context.get(digest), data, "the blob read back")


@group.must("BSW-NAM-02", "Every message may repeat the name", spec=NAME)
def name_may_be_repeated(context: Context) -> None:
    data = context.fresh(100)
    digest = context.digest(data)
    name = context.write_name(digest)
    committed = context.client.write(
        [request(name, 0, data[:50]), request(name, 50, data[50:], True)]
    )
    expect_equal(committed, 100, "committed_size")
    expect_equal(context.get(digest), data, "the blob read back")


@group.must(
    "BSW-NAM-03", "A later message with another name is refused", spec=NAME
)
def name_may_not_change(context: Context) -> None:
    data = context.fresh(100)
    digest = context.digest(data)
    first, second = context.write_name(digest), context.write_name(digest)
    expect_status(
        lambda: context.client.write(
            [
                request(first, 0, data[:50]),
                request(second, 50, data[50:], True),
            ]
        ),
        StatusCode.INVALID_ARGUMENT,
        what="Write",
    )
    expect(context.is_missing(digest), "the refused blob was stored")


@group.must(
    "BSW-NAM-04", "A first message without a name is refused", spec=NAME
)
def first_name_is_needed(context: Context) -> None:
    expect_status(
        lambda: context.client.write([request("", 0, b"data", True)]),
        StatusCode.INVALID_ARGUMENT,
        what="Write",
    )


@group.must(
    "BSW-NAM-05",
    "The name may also be given in a header",
    spec="ContentAddressableStorage, on the resource-name header",
)
def name_header_is_accepted(context: Context) -> None:
    data = context.fresh()
    name = context.write_name(context.digest(data))
    committed = context.client.write_all(
        name, data, metadata=[(NAME_HEADER, name)]
    )
    expect_equal(committed, len(data), "committed_size")


@group.practice(
    "BSW-NAM-06",
    "A name that cannot be parsed is INVALID_ARGUMENT",
    spec=NAMES,
)
def malformed_name_is_refused(context: Context) -> None:
    data = context.fresh()
    good = context.write_name(context.digest(data))
    read = context.read_name(context.digest(data))
    stem = good.rsplit("/", 1)[0]
    for name in (
        "/",
        "no/such/form",
        read,
        stem,
        stem + "/x",
        stem + "/-1",
        good.replace("uploads/", "upload/"),
    ):
        expect_status(
            partial(context.client.write_all, name, data),
            StatusCode.INVALID_ARGUMENT,
            what=f"name {name!r}",
        )


@group.must(
    "BSW-SUM-01",
    "Data with another hash is INVALID_ARGUMENT and is not stored",
    spec=MISMATCH,
)
def wrong_hash_is_refused(context: Context) -> None:
    for size in (100, 1 << 20):
        digest = context.absent(size)
        data = context.fresh(size)
        name = context.write_name(digest)
        expect_status(
            partial(context.client.write_all, name, data, 64 << 10),
            StatusCode.INVALID_ARGUMENT,
            what=f"{size} bytes",
        )
        expect(context.is_missing(digest), "the refused blob was stored")
        expect(
            context.is_missing(context.digest(data)),
            "the data were stored under their own digest, unasked",
        )


@group.must(
    "BSW-SUM-02",
    "A finish before the announced size is INVALID_ARGUMENT",
    spec=MISMATCH,
)
def short_data_is_refused(context: Context) -> None:
    data = context.fresh(100)
    digest = context.digest(data)
    for part in (b"", data[:99]):
        name = context.write_name(digest)
        expect_status(
            partial(context.client.write_all, name, part),
            StatusCode.INVALID_ARGUMENT,
            what=f"{len(part)} of 100 bytes",
        )
    expect(context.is_missing(digest), "the refused blob was stored")


@group.must(
    "BSW-SUM-03", "More data than announced is INVALID_ARGUMENT", spec=MISMATCH
)
def long_data_is_refused(context: Context) -> None:
    data = context.fresh(100)
    digest = context.digest(data)
    name = context.write_name(digest)
    expect_status(
        lambda: context.client.write_all(name, data + b"x", piece=100),
        StatusCode.INVALID_ARGUMENT,
        what="101 bytes in two messages",
    )
    name = context.write_name(digest)
    expect_status(
        lambda: context.client.write_all(name, data + b"x"),
        StatusCode.INVALID_ARGUMENT,
        what="101 bytes in one",
    )
    expect(context.is_missing(digest), "the refused blob was stored")


@group.must(
    "BSW-SUM-04",
    "The right hash with another size is INVALID_ARGUMENT",
    spec="Digest, on the size as a part of it",
)
def wrong_size_is_refused(context: Context) -> None:
    data = context.fresh(100)
    for size in (99, 101):
        digest = with_size(context.digest(data), size)
        name = context.write_name(digest)
        expect_status(
            partial(context.client.write_all, name, data),
            StatusCode.INVALID_ARGUMENT,
            what=f"size {size}",
        )
    expect(context.is_missing(context.digest(data)), "the data were stored")


@group.must(
    "BSW-OFF-01",
    "A later offset other than the sum so far is an error",
    spec=OFFSET,
)
def wrong_later_offset_is_refused(context: Context) -> None:
    for offset in (0, 49, 51):
        data = context.fresh(100)
        name = context.write_name(context.digest(data))
        expect_error(
            partial(
                context.client.write,
                [
                    request(name, 0, data[:50]),
                    request("", offset, data[50:], True),
                ],
            ),
            f"offset {offset} after 50 bytes",
        )
        expect(
            context.is_missing(context.digest(data)),
            "the refused blob was stored",
        )


@group.must(
    "BSW-OFF-02",
    "A first offset other than the committed size is an error",
    spec=OFFSET,
)
def wrong_first_offset_is_refused(context: Context) -> None:
    for offset in (50, -1):
        data = context.fresh(100)
        name = context.write_name(context.digest(data))
        expect_error(
            partial(
                context.client.write, [request(name, offset, data[50:], True)]
            ),
            f"first offset {offset} of a fresh upload",
        )
        expect(
            context.is_missing(context.digest(data)),
            "the refused blob was stored",
        )


@group.must("BSW-FIN-01", "Nothing is visible before finish_write", spec=WRITE)
def unfinished_upload_is_invisible(context: Context) -> None:
    data = context.fresh(100)
    digest = context.digest(data)
    name = context.write_name(digest)
    outcome = attempt(
        lambda: context.client.write([request(name, 0, data[:60])])
    )
    if outcome.ok:
        expect(
            outcome.value <= 60,
            f"committed_size {outcome.value} of 60 bytes sent",
        )
    expect(context.is_missing(digest), "a part of a blob is visible")
    expect_status(
        lambda: context.client.read(context.read_name(digest)),
        StatusCode.NOT_FOUND,
        what="Read",
    )


@group.must(
    "BSW-FIN-02",
    "A message after finish_write is an error, or "
    "came too late; the blob is whole in any case",
    spec="WriteRequest.finish_write",
)
def nothing_follows_the_finish(context: Context) -> None:
    data = context.fresh(100)
    digest = context.digest(data)
    name = context.write_name(digest)
    outcome = attempt(
        lambda: context.client.write(
            [request(name, 0, data, True), request("", 100, b"more", True)]
        )
    )
    if outcome.ok:
        expect_equal(outcome.value, 100, "committed_size")
        expect_equal(context.get(digest), data, "the blob read back")
    else:
        expect(
            outcome.code != StatusCode.DEADLINE_EXCEEDED,
            "the call was never answered",
        )
        if not context.is_missing(digest):
            expect_equal(context.get(digest), data, "the blob read back")


@group.must(
    "BSW-FIN-03",
    "A client that ends its side before finish_write is told how much was "
    "committed, and nothing is visible",
    spec=WRITE + ", on closing the request channel",
)
def end_without_finish(context: Context) -> None:
    data = context.fresh(1 << 20)
    digest = context.digest(data)
    name = context.write_name(digest)
    half = 512 << 10
    outcome = attempt(
        lambda: context.client.write(
            write_requests(name, data[:half], 64 << 10, finish=False)
        )
    )
    if outcome.ok:
        expect(
            0 <= outcome.value <= half, f"committed_size is {outcome.value}"
        )
    else:
        expect(
            outcome.code != StatusCode.DEADLINE_EXCEEDED,
            "the call was never answered",
        )
    expect(context.is_missing(digest), "half a blob is visible")


@group.must(
    "BSW-DUP-01",
    "An upload of a blob that exists succeeds with its full size",
    spec="ContentAddressableStorage, on uploads that another client completed",
)
def existing_blob_is_committed(context: Context) -> None:
    data = context.fresh(1 << 20)
    digest = context.put(data)
    committed = context.client.write_all(context.write_name(digest), data)
    expect_equal(committed, len(data), "committed_size")


@group.must(
    "BSW-DUP-02",
    "An upload of a blob that exists ends at once, "
    "though its client has sent a part only",
    spec="ContentAddressableStorage, on uploads that another client completed",
)
def existing_blob_ends_early(context: Context) -> None:
    data = context.fresh(1 << 20)
    digest = context.put(data)
    name = context.write_name(digest)
    done = threading.Event()

    def stalled() -> Iterator[Any]:
        yield request(name, 0, data[:1000])
        done.wait(context.settings.deadline)

    call = context.client.open_write(stalled())
    outcome = attempt(call.result)
    done.set()
    expect_code(outcome.code, [StatusCode.OK], "Write", outcome.message)
    expect_equal(
        int(outcome.value.committed_size), len(data), "committed_size"
    )


@group.should(
    "BSW-MAX-01",
    "A blob above the advertised limit is INVALID_ARGUMENT",
    spec="CacheCapabilities.max_cas_blob_size_bytes",
)
def too_large_blob_is_refused(context: Context) -> None:
    limit = int(context.cache.max_cas_blob_size_bytes)
    if limit <= 0:
        raise Skip("no limit on blob sizes is advertised")
    digest = with_size(context.absent(), limit + 1)
    name = context.write_name(digest)
    expect_status(
        lambda: context.client.write([request(name, 0, b"start")]),
        StatusCode.INVALID_ARGUMENT,
        what="Write",
    )
