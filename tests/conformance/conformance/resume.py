# SPDX-License-Identifier: Apache-2.0
"""Rules of QueryWriteStatus, and of uploads that are interrupted and go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from grpc import StatusCode

from .client import write_requests
from .context import Context
from .harness import (
    Group,
    Outcome,
    Skip,
    attempt,
    expect,
    expect_code,
    expect_equal,
    expect_status,
)

group = Group("bytestream")
WRITE = "ByteStream.Write"
QUERY = "ByteStream.QueryWriteStatus"
# A server may need a moment to see that a stream has ended.
SETTLE_TRIES = 20
# It may say so to a client that goes on at once, which then tries again.
BUSY = (StatusCode.UNAVAILABLE, StatusCode.ABORTED)
BUSY_SECONDS = 30


def settled_status(context: Context, name: str, at_least: int) -> Outcome:
    """QueryWriteStatus, repeated until that much is committed or it is
    clear that it will not be."""
    outcome = attempt(lambda: context.client.write_status(name))
    for _ in range(SETTLE_TRIES):
        if outcome.code == StatusCode.UNIMPLEMENTED or (
            outcome.ok and outcome.value.committed_size >= at_least
        ):
            break
        time.sleep(0.05)
        outcome = attempt(lambda: context.client.write_status(name))
    return outcome


def go_on(context: Context, name: str, body: bytes, offset: int) -> Outcome:
    """Send the rest of an interrupted upload, again while the server has not
    seen the end of the stream before."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        outcome = attempt(
            lambda: context.client.write(
                write_requests(name, body, 64 << 10, offset=offset)
            )
        )
        if outcome.code not in BUSY or time.monotonic() > until:
            return outcome
        time.sleep(0.05)


@group.must(
    "BSW-RES-01", "The status of an unknown upload is NOT_FOUND", spec=QUERY
)
def unknown_upload_is_not_found(context: Context) -> None:
    name = context.write_name(context.absent())
    _status_or_skip(context, name, StatusCode.NOT_FOUND)


def _status_or_skip(
    context: Context, name: str, *wanted: StatusCode
) -> Outcome:
    outcome = attempt(lambda: context.client.write_status(name))
    if outcome.code == StatusCode.UNIMPLEMENTED:
        raise Skip("QueryWriteStatus is not implemented")
    expect_code(outcome.code, wanted, "QueryWriteStatus", outcome.message)
    return outcome


@group.must(
    "BSW-RES-02",
    "The status of a finished upload is complete, with the whole size",
    spec="QueryWriteStatusResponse.complete",
)
def finished_upload_is_complete(context: Context) -> None:
    data = context.fresh(1000)
    name = context.write_name(context.digest(data))
    context.client.write_all(name, data)
    status = _status_or_skip(context, name, StatusCode.OK).value
    expect(status.complete, "complete is false")
    expect_equal(status.committed_size, 1000, "committed_size")


@contextmanager
def _begun(context: Context, data: bytes, sent: int) -> Iterator[str]:
    """Upload the first bytes; the stream lasts as long as the context, and
    is broken then. Gives the name."""
    name = context.write_name(context.digest(data))
    done = threading.Event()

    def part() -> Iterator[Any]:
        yield from write_requests(name, data[:sent], 64 << 10, finish=False)
        done.wait(context.settings.deadline)

    call = context.client.open_write(part())
    try:
        settled_status(context, name, sent)
        yield name
    finally:
        call.cancel()
        done.set()


def _interrupted(context: Context, data: bytes, sent: int) -> str:
    """Upload the first bytes, break the stream; returns the name."""
    with _begun(context, data, sent) as name:
        return name


@group.must(
    "BSW-RES-03",
    "The status of an interrupted upload is not "
    "complete and commits no more than was sent",
    spec=QUERY,
)
def interrupted_upload_has_a_status(context: Context) -> None:
    data = context.fresh(1 << 20)
    name = _interrupted(context, data, 512 << 10)
    outcome = _status_or_skip(
        context, name, StatusCode.OK, StatusCode.NOT_FOUND
    )
    if not outcome.ok:
        raise Skip("the server keeps no interrupted uploads")
    expect(not outcome.value.complete, "complete is true")
    expect(
        0 <= outcome.value.committed_size <= 512 << 10,
        f"committed_size is {outcome.value.committed_size}",
    )


@group.must(
    "BSW-RES-04",
    "An interrupted upload goes on at its committed size",
    spec=WRITE + ", on resuming",
)
def interrupted_upload_resumes(context: Context) -> None:
    data = context.fresh(1 << 20)
    name = _interrupted(context, data, 512 << 10)
    outcome = _status_or_skip(
        context, name, StatusCode.OK, StatusCode.NOT_FOUND
    )
    start = int(outcome.value.committed_size) if outcome.ok else 0
    outcome = go_on(context, name, data[start:], start)
    expect_code(outcome.code, [StatusCode.OK], "Write", outcome.message)
    expect_equal(outcome.value, len(data), "committed_size")
    expect(
        context.get(context.digest(data)) == data, "the blob read back differs"
    )


@group.practice(
    "BSW-RES-05",
    "An interrupted upload keeps what was "
    "received, so that resuming saves traffic",
    spec=QUERY,
)
def interrupted_upload_is_kept(context: Context) -> None:
    data = context.fresh(1 << 20)
    name = _interrupted(context, data, 512 << 10)
    status = settled_status(context, name, 1)
    if status.code == StatusCode.UNIMPLEMENTED:
        raise Skip("QueryWriteStatus is not implemented")
    expect_code(status.code, [StatusCode.OK], "QueryWriteStatus")
    expect(status.value.committed_size > 0, "nothing was kept")


@group.must(
    "BSW-RES-06", "The committed size of an upload never shrinks", spec=QUERY
)
def committed_size_never_shrinks(context: Context) -> None:
    data = context.fresh(1 << 20)
    name = _interrupted(context, data, 512 << 10)
    seen = 0
    for _ in range(10):
        outcome = _status_or_skip(
            context, name, StatusCode.OK, StatusCode.NOT_FOUND
        )
        if not outcome.ok:
            raise Skip("the server keeps no interrupted uploads")
        size = int(outcome.value.committed_size)
        expect(size >= seen, f"committed_size fell from {seen} to {size}")
        seen = size


@group.must(
    "BSW-RES-07",
    "An interrupted upload may be started again from "
    "the beginning under a new name",
    spec=WRITE,
)
def interrupted_upload_restarts(context: Context) -> None:
    data = context.fresh(1 << 20)
    _interrupted(context, data, 512 << 10)
    name = context.write_name(context.digest(data))
    expect_equal(
        context.client.write_all(name, data), len(data), "committed_size"
    )


@group.practice(
    "BSW-RES-08",
    "An interrupted upload may go on before its committed size too",
    spec=WRITE + ", on resuming",
)
def interrupted_upload_resumes_earlier(context: Context) -> None:
    for back in (1, 100_000):
        data = context.fresh(1 << 20)
        name = _interrupted(context, data, 512 << 10)
        status = settled_status(context, name, 1)
        if not status.ok:
            raise Skip("the server keeps no interrupted uploads")
        offset = max(int(status.value.committed_size) - back, 1)
        outcome = go_on(context, name, data[offset:], offset)
        expect_code(outcome.code, [StatusCode.OK], "Write", outcome.message)
        expect_equal(outcome.value, len(data), "committed_size")
        expect(
            context.get(context.digest(data)) == data,
            "the blob read back differs",
        )


@group.practice(
    "BSW-RES-09",
    "Going on while the stream before is not seen to have ended is no fault "
    "of the client, which is told to try again",
    spec=WRITE + ", on resuming",
)
def hasty_resume_may_try_again(context: Context) -> None:
    data = context.fresh(1 << 20)
    with _begun(context, data, 512 << 10) as name:
        status = settled_status(context, name, 1)
        start = int(status.value.committed_size) if status.ok else 0
        if start == 0:
            raise Skip("the server does not tell how far an upload is")
        expect_status(
            lambda: context.client.write(
                write_requests(name, data[start:], 64 << 10, offset=start)
            ),
            StatusCode.OK,
            *BUSY,
            what="Write",
        )
    outcome = go_on(context, name, data[start:], start)
    expect_code(outcome.code, [StatusCode.OK], "Write", outcome.message)


@group.practice(
    "BSW-RES-10",
    "A Write beyond the committed size is refused and leaves what was "
    "received",
    spec=WRITE + ", on resuming",
)
def refused_offset_leaves_the_upload(context: Context) -> None:
    data = context.fresh(1 << 20)
    name = _interrupted(context, data, 512 << 10)
    status = settled_status(context, name, 1)
    if not status.ok:
        raise Skip("the server keeps no interrupted uploads")
    start = int(status.value.committed_size)
    outcome = go_on(context, name, data[start + 1 :], start + 1)
    expect_code(
        outcome.code,
        [StatusCode.INVALID_ARGUMENT, StatusCode.OUT_OF_RANGE],
        "Write beyond",
        outcome.message,
    )
    outcome = go_on(context, name, data[start:], start)
    expect_code(outcome.code, [StatusCode.OK], "Write", outcome.message)
