# SPDX-License-Identifier: Apache-2.0
"""Hostile zstd data."""

from __future__ import annotations

import time
from functools import partial

from grpc import StatusCode

from conformance import zstd
from conformance.context import ZSTD, Context
from conformance.digests import with_size
from conformance.harness import (
    attempt,
    expect,
    expect_code,
    expect_equal,
    expect_status,
)

from .common import INVALID, group, of_first, still_well

UPLOADS = "ContentAddressableStorage, on compressed uploads"
BOMB_BYTES = 4 << 30
QUICK_SECONDS = 3.0


def _write(context: Context, size: int, body: bytes) -> None:
    """Upload a frame for a blob of a declared size; must be refused."""
    digest = with_size(context.absent(), size)
    name = context.write_name(digest, "zstd")
    began = time.monotonic()
    expect_status(
        lambda: context.client.write_all(name, body),
        INVALID,
        what=f"{len(body)} bytes for a blob of {size}",
    )
    took = time.monotonic() - began
    expect(took < QUICK_SECONDS, f"the refusal took {took:.1f} s")


@group.practice(
    "HOS-ZST-01",
    "A bomb is INVALID_ARGUMENT as soon as it exceeds the declared size",
    spec=UPLOADS,
)
def bombs_are_refused(context: Context) -> None:
    context.need_zstd()
    body = zstd.bomb(BOMB_BYTES)
    for size in (0, 1, 100, 1 << 20):
        _write(context, size, body)
    still_well(context)


@group.practice(
    "HOS-ZST-02",
    "A few bytes that declare gigabytes are "
    "INVALID_ARGUMENT, and cost no memory",
    spec=UPLOADS,
)
def lying_frames_are_refused(context: Context) -> None:
    context.need_zstd()
    for declared in (2 << 30, 1 << 62):
        body = zstd.lying_frame(declared, b"short")
        _write(context, 2 << 30, body)
        _write(context, 5, body)
    still_well(context)


@group.practice(
    "HOS-ZST-03",
    "A frame that asks for a huge window is refused, "
    "or stored right, and costs no memory",
    spec=UPLOADS,
)
def wide_windows_are_bounded(context: Context) -> None:
    context.need_zstd()
    for log in (27, 30, 31, 41):
        data = context.fresh(100)
        name = context.write_name(context.digest(data), "zstd")
        body = zstd.wide_window_frame(data, log)
        outcome = attempt(partial(context.client.write_all, name, body))
        expect_code(
            outcome.code,
            [StatusCode.OK, INVALID],
            f"a window of 2**{log} bytes",
            outcome.message,
        )
        if outcome.ok:
            expect_equal(
                context.get(context.digest(data)), data, "the blob read back"
            )
    still_well(context)


@group.practice(
    "HOS-ZST-04", "A frame cut off anywhere is INVALID_ARGUMENT", spec=UPLOADS
)
def truncated_frames_are_refused(context: Context) -> None:
    context.need_zstd()
    data = context.fresh(1000)
    digest = context.digest(data)
    body = zstd.compress(data)
    for length in (0, 1, 4, 5, 6, 9, len(body) // 2, len(body) - 1):
        name = context.write_name(digest, "zstd")
        expect_status(
            partial(context.client.write_all, name, body[:length]),
            INVALID,
            what=f"{length} of {len(body)} bytes",
        )
    expect(context.is_missing(digest), "the blob is there")
    still_well(context)


@group.practice(
    "HOS-ZST-05",
    "Tens of thousands of frames without content do not hang the server",
    spec=UPLOADS,
)
def empty_frames_end(context: Context) -> None:
    context.need_zstd()
    data = context.fresh(100)
    skippable = b"\x50\x2a\x4d\x18\x00\x00\x00\x00"
    for filler in (zstd.raw_frame(b""), skippable):
        body = filler * 50_000 + zstd.compress(data)
        name = context.write_name(context.digest(data), "zstd")
        outcome = attempt(partial(context.client.write_all, name, body))
        expect_code(
            outcome.code, [StatusCode.OK, INVALID], "Write", outcome.message
        )
    still_well(context)


@group.practice(
    "HOS-ZST-06",
    "Bombs, lies and truncated frames in a batch are INVALID_ARGUMENT each",
    spec="BatchUpdateBlobsRequest",
)
def batch_frames_are_refused(context: Context) -> None:
    context.need_batch_zstd()
    for size, body in (
        (100, zstd.bomb(BOMB_BYTES)),
        (5, zstd.lying_frame(2 << 30, b"short")),
        (1000, zstd.compress(context.fresh(1000))[:-1]),
        (1000, b""),
    ):
        digest = with_size(context.absent(), size)
        outcome = attempt(
            partial(context.client.batch_update, [(digest, body)], ZSTD)
        )
        code = of_first(outcome.value) if outcome.ok else outcome.code
        expect_code(code, [INVALID], f"{len(body)} bytes for {size}")
    still_well(context)
