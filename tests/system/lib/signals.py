# SPDX-License-Identifier: Apache-2.0
"""How a server is told to end, once and again. See 65-signals.sh."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from process import Server, work_folder
from raw_http2 import RawRequest
from remote import connect, digest_of, load_messages
from tap import Tap

UPDATE_PATH = (
    "/build.bazel.remote.execution.v2.ContentAddressableStorage/"
    "BatchUpdateBlobs"
)
MIB = 1 << 20
PATIENCE = 30.0
# Signals that come together are one.
ONE_SIGNAL = 0.5


def page(server: Server, name: str) -> tuple[int, str]:
    """Status and text of an HTTP page."""
    url = f"http://{server.http}/{name}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def runs(command: str) -> bool:
    """Whether a process has just this command line."""
    done = subprocess.run(
        ["pgrep", "-xf", command], capture_output=True, check=False
    )
    return done.returncode == 0


def again(tap: Tap, work: Path) -> None:
    """With a grace of an hour, and a client that stays silent."""
    work.mkdir()
    server = Server(work, "--workers", "0", "--shutdown-grace", "1h")
    data = b"acknowledged before the second signal"
    for first in (signal.SIGTERM, signal.SIGINT):
        name = signal.Signals(first).name
        server.start()
        client = connect(server.address)
        client.batch_update([(digest_of(data), data)])
        half = RawRequest(server.address, UPDATE_PATH, MIB)
        half.stall(1000)
        half.settle()
        server.signal(first)
        server.signal(first)
        end = time.monotonic() + PATIENCE
        while page(server, "readyz")[0] == 200 and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(ONE_SIGNAL)
        tap.ok(server.running(), f"{name}: it waits for its clients")
        tap.equal(
            server.stop(),
            128 + signal.SIGTERM,
            f"{name}, then SIGTERM: it ends, with the status of a signal",
        )
        half.close()
        client.channel.close()
        server.start()
        client = connect(server.address)
        tap.equal(
            client.find_missing([digest_of(data)]),
            [],
            f"{name}, then SIGTERM: what was acknowledged is there",
        )
        client.channel.close()
        tap.equal(server.stop(), 0, f"{name}: one signal ends it cleanly")
    log = server.log.read_text(encoding="utf-8")
    tap.like(log, "told to end again", "the log tells of the second signal")
    tap.equal(server.faults(), [], "no sanitizer found a fault")


def run_action(server: Server, script: str) -> subprocess.Popen[str]:
    """An action whose result is kept."""
    program = Path(__file__).with_name("run_action.py")
    return subprocess.Popen(
        [sys.executable, str(program), server.address, script, "--cached"],
        stdout=subprocess.PIPE,
        text=True,
    )


def terminal(tap: Tap, work: Path) -> None:
    """SIGINT for the whole process group, while an action runs."""
    work.mkdir()
    server = Server(
        work, "--workers", "1", "--host-root", "--shutdown-grace", "1m"
    )
    server.own_group = True
    server.start()
    script = "sleep 5.65; echo done"
    with run_action(server, script):
        end = time.monotonic() + PATIENCE
        while not runs("sleep 5.65") and time.monotonic() < end:
            time.sleep(0.02)
        tap.ok(runs("sleep 5.65"), "^C: an action runs")
        os.killpg(server.pid, signal.SIGINT)
        tap.equal(server.wait(), 0, "^C: the server ends cleanly")
    server.start()
    with run_action(server, script) as client:
        said, _ = client.communicate()
    tap.like(
        said,
        r"exit=0\n(?s:.*)cached=True",
        "^C: what ran was finished, and its result kept",
    )
    tap.equal(server.stop(), 0, "^C: the server ends cleanly again")
    tap.equal(server.faults(), [], "^C: no sanitizer found a fault")


def main() -> None:
    """Both."""
    load_messages()
    work = work_folder()
    with Tap() as tap:
        again(tap, work / "again")
        terminal(tap, work / "terminal")


if __name__ == "__main__":
    main()
