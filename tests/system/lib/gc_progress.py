# SPDX-License-Identifier: Apache-2.0
"""`toolroot gc` against a server of this script's, whose collections last until
they were watched. See 84-gc-progress.sh.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
from collect import run
from process import program
from tap import Tap

ADMIN = "/toolroot.admin.v1.Admin/"
PATIENCE_SECONDS = 30.0
SHORT = 3
# Phase, done, total, bytes that went.
STEPS = [
    (5, 0, 0, 77 << 20),
    (2, 10, 100, 0),
    (3, 0, 100, 0),
    (3, 50, 100, 3 << 20),
    (4, 9, 10, 4 << 20),
]


def varint(value: int) -> bytes:
    """As protobuf has it."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def message(fields: dict[int, int]) -> bytes:
    """Of varints alone."""
    return b"".join(
        varint(number << 3) + varint(value) for number, value in fields.items()
    )


class Slow(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Collect answers when all steps were seen, or at once."""

    def __init__(self, watchable: bool, short: bool) -> None:
        self._watchable = watchable
        self._short = short
        self._lock = threading.Lock()
        self._steps = list(STEPS)
        self._seen = threading.Event()
        self.asked = 0

    def service(self, call: Any) -> Any:
        """The method of a path."""
        methods: dict[str, Callable[[bytes, Any], bytes]] = {
            ADMIN + "Collect": self._collect
        }
        if self._watchable:
            methods[ADMIN + "WatchCollection"] = self._watch
        method = methods.get(call.method)
        if method is None:
            return None
        return grpc.unary_unary_rpc_method_handler(method)

    def _collect(self, _request: bytes, _context: Any) -> bytes:
        if self._watchable:
            self._seen.wait(PATIENCE_SECONDS)
        return message({4: 12, 5: 5 << 20, 20: int(self._short)})

    def _watch(self, _request: bytes, _context: Any) -> bytes:
        with self._lock:
            self.asked += 1
            phase, done, total, dropped = self._steps.pop(0)
            if not self._steps:
                self._steps.append(STEPS[-1])
                self._seen.set()
        return message({1: phase, 2: done, 3: total, 4: dropped})


class Served:
    """One of them on loopback."""

    def __init__(self, watchable: bool = True, short: bool = False) -> None:
        self.handler = Slow(watchable, short)
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((self.handler,))
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.there = ("--server", f"grpc://127.0.0.1:{port}")
        self._server.start()

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()


def on_terminal(*arguments: str) -> tuple[int, str]:
    """Exit status and standard error of the program on a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [str(program()), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        told = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:
                break
            if not piece:
                break
            told += piece
        os.close(ours)
        status = process.wait(PATIENCE_SECONDS)
    return status, told.decode()


def main() -> None:
    with Tap() as tap:
        with Served() as served:
            status, told = on_terminal("gc", *served.there, "--run")
            tap.equal(status, 0, "a collection is watched on a terminal")
            tap.ok(
                "[###...........................]  10 %  counting by age"
                in told
                and "[###############...............]  50 %  dropping, 3.0 MiB"
                in told
                and " 90 %  compacting segments" in told,
                "a bar says phase, part and bytes",
                repr(told),
            )
            tap.ok("77" not in told, "and nothing of an earlier collection")
            tap.ok(told.endswith("\r\x1b[K"), "it is gone in the end", told)
        with Served(short=True) as served:
            done = run("gc", *served.there, "--run")
            tap.equal(done.returncode, SHORT, "the exit status is the answer's")
            tap.equal(
                done.stderr.splitlines(),
                [
                    "toolroot gc: counting by age, 10 %, 0 B dropped",
                    "toolroot gc: dropping, 0 %, 0 B dropped",
                    "toolroot gc: compacting segments, 90 %, 4.0 MiB dropped",
                    "toolroot gc: done, 5.0 MiB dropped",
                ],
                "elsewhere each phase is a line",
            )
            tap.ok("12 blobs" in done.stdout, "the report is as ever", done)
        with Served(watchable=False) as served:
            done = run("gc", *served.there, "--run")
            tap.equal(
                (done.returncode, done.stderr),
                (0, "toolroot gc: done, 5.0 MiB dropped\n"),
                "a server that cannot be watched is collected all the same",
            )
            done = run("gc", *served.there, "--run", "--json")
            tap.equal(done.stderr, "", "JSON is not accompanied")
            tap.equal(json.loads(done.stdout)["blobs"], 12, "and whole")
            done = run("gc", *served.there)
            tap.equal(done.stderr, "", "nor is a plan, without a terminal")


main()
