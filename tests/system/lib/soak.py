# SPDX-License-Identifier: Apache-2.0
"""Mixed load while the metrics are read every half second: memory stays flat,
and nothing that a client can choose becomes a label without end.

    soak.py [SECONDS]

Hits, misses, executions, uploads and downloads in both encodings, calls of
unknown methods, each with its own target, invocation and platform. Memory that
only the process has is compared between the middle and the end of the time.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
import urllib.request
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True

import grpc  # noqa: E402
import process  # noqa: E402
import remote  # noqa: E402
from conformance.messages import longrunning  # noqa: E402
from tap import Tap  # noqa: E402

CACHE = "/build.bazel.remote.execution.v2.ActionCache/"
EXECUTE = "/build.bazel.remote.execution.v2.Execution/Execute"
HEADER = "build.bazel.remote.execution.v2.requestmetadata-bin"
# The history fills up to its bound, and malloc keeps some for later.
GROWTH_MAX = 64 << 20
SERIES_MAX = 8000
# Distinct platforms that are asked for; far more than get a label.
PLATFORMS = 200


class Load(threading.Thread):
    """One client until it is told to stop."""

    def __init__(self, address: str, seed: int, stop: threading.Event) -> None:
        super().__init__()
        self.random = Random(seed)
        self.stop = stop
        self.client = remote.connect(address)
        self.calls = 0
        self.failure = ""
        self.done: list[Any] = []

    def header(self) -> list[tuple[str, bytes]]:
        """A target and an invocation that nobody else has."""
        number = f"{self.random.getrandbits(64):016x}"
        metadata = remote.api.RequestMetadata(
            tool_invocation_id=f"invocation-{number[:6]}",
            target_id=f"//soak:{number}",
            action_mnemonic="Soak",
        )
        metadata.tool_details.tool_name = f"tool-{number[6:10]}"
        return [(HEADER, metadata.SerializeToString())]

    def action(self, platform: bool) -> Any:
        """A new action, uploaded."""
        api = remote.api
        blobs: dict[str, Any] = {}

        def add(data: bytes) -> Any:
            digest = remote.digest_of(data)
            blobs[digest.hash] = (digest, data)
            return digest

        source = add(self.random.randbytes(2000))
        root = api.Directory()
        root.files.add(name="source", digest=source)
        command = api.Command(
            arguments=["/bin/sh", "-c", "wc -c source"],
            output_paths=["out"],
        )
        action = api.Action(
            command_digest=add(command.SerializeToString()),
            input_root_digest=add(root.SerializeToString()),
        )
        if platform:
            action.platform.properties.add(
                name="kind", value=str(self.random.randrange(PLATFORMS))
            )
        digest = add(action.SerializeToString())
        self.client.batch_update(blobs.values())
        return digest

    def look_up(self) -> None:
        """A miss, the client's result, and hits of earlier ones."""
        api = remote.api
        digest = self.action(False)
        header = self.header()
        request = api.GetActionResultRequest(action_digest=digest)
        remote.attempt(
            lambda: self.client.unary(
                CACHE + "GetActionResult", request, api.ActionResult, header
            )
        )
        update = api.UpdateActionResultRequest(action_digest=digest)
        update.action_result.stdout_raw = b"made"
        self.client.unary(
            CACHE + "UpdateActionResult", update, api.ActionResult, header
        )
        self.done = [*self.done[-20:], digest]
        for known in self.done:
            self.client.get_result(known)
        self.calls += 3 + len(self.done)

    def execute(self) -> None:
        """An execution; now and then one that no worker can run."""
        impossible = self.random.random() < 0.3
        request = remote.api.ExecuteRequest(
            action_digest=self.action(impossible)
        )
        call = self.client.server_stream(
            EXECUTE, request, longrunning.Operation, self.header(), timeout=20
        )
        if impossible:
            next(iter(call))
            call.cancel()
        else:
            for _ in call:
                pass
        self.calls += 2

    def transfer(self) -> None:
        """A blob up and down, compressed or not."""
        data = remote.half_random(self.random, self.random.randrange(1, 400000))
        digest = remote.digest_of(data)
        name = remote.write_name(self.random, digest)
        self.client.write_all(name, data)
        if self.client.read(remote.read_name(digest)) != data:
            raise ValueError("a blob came back changed")
        self.calls += 2

    def stray(self) -> None:
        """A method that does not exist."""
        number = self.random.getrandbits(32)
        remote.attempt(
            lambda: self.client.unary(
                f"/soak.Service/Method{number}",
                remote.api.Digest(),
                remote.api.Digest,
            )
        )
        self.calls += 1

    def run(self) -> None:
        """Everything in turn."""
        steps = [self.look_up, self.execute, self.transfer, self.stray]
        while not self.stop.is_set():
            try:
                self.random.choice(steps)()
            except grpc.RpcError as error:
                # What cannot be placed is refused after a while.
                if error.code() != grpc.StatusCode.FAILED_PRECONDITION:
                    self.failure = f"{error.code()} {error.details()}"
                    return
            except ValueError as error:
                self.failure = str(error)
                return


def scrape(server: process.Server) -> tuple[int, int]:
    """Series, and how long the page is."""
    url = f"http://{server.http}/metrics"
    with urllib.request.urlopen(url, timeout=20) as answer:
        text = answer.read().decode()
    return len(re.findall(r"^[a-z]", text, re.MULTILINE)), len(text)


def watch(
    server: process.Server, seconds: float
) -> tuple[list[int], list[int]]:
    """Memory and series, every half second."""
    memory, series = [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        series.append(scrape(server)[0])
        memory.append(process.memory(server.pid, "RssAnon"))
        time.sleep(0.5)
    return memory, series


def main() -> None:
    """All of it, on one server."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600
    remote.load_messages()
    work = process.work_folder()
    server = process.Server(
        work, "--workers", "2", "--host-root", "--log-level", "warn"
    )
    stop = threading.Event()
    with Tap() as tap:
        server.start()
        loads = [Load(server.address, seed, stop) for seed in range(4)]
        for load in loads:
            load.start()
        memory, series = watch(server, seconds)
        stop.set()
        for load in loads:
            load.join()
        calls = sum(load.calls for load in loads)
        middle = max(memory[len(memory) // 3 : len(memory) // 2])
        print(
            f"# {calls} calls in {seconds:.0f} s; own memory "
            f"{middle >> 20} MiB in the middle, {memory[-1] >> 20} MiB at the "
            f"end; {series[0]} series at first, {series[-1]} at the end"
        )
        tap.equal(
            [load.failure for load in loads if load.failure],
            [],
            "no call failed that should not",
        )
        tap.ok(calls > 100, "there was load", calls)
        tap.ok(
            process.sanitized() or memory[-1] < middle + GROWTH_MAX,
            "memory is flat",
            [value >> 20 for value in memory],
        )
        tap.ok(
            series[-1] < SERIES_MAX and series[-1] < series[0] + 1000,
            "labels do not grow with what clients choose",
            series,
        )
        tap.equal(server.stop(), 0, "the server ends cleanly")
        tap.equal(server.faults(), [], "no sanitizer found a fault")


if __name__ == "__main__":
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    main()
