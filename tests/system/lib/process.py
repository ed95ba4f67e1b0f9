# SPDX-License-Identifier: Apache-2.0
"""A `toolroot serve` of a test: started, killed, stopped, started again.

It listens on loopback; the ports that the first start was given are taken
again by the later ones, as clients expect of a server that comes back. What
was started is ended with the script, and nothing else.
"""

from __future__ import annotations

import atexit
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
READY = re.compile(r"toolroot ready (\S+) (\S+)\n")
# Generous: sanitizers, and a busy machine.
START_SECONDS = 60.0
STOP_SECONDS = 60.0
SANITIZERS = re.compile(rb"__(asan|tsan|ubsan|sanitizer)_")
FAULTS = re.compile(r"(Address|Thread|Leak)Sanitizer: |: runtime error: ")


class StartError(Exception):
    """The server did not get ready; the text is what it said."""


def build_folder() -> Path:
    """Where the Makefile built the programs."""
    return Path(os.environ.get("TOOLROOT_BUILD", ROOT / "build"))


def program() -> Path:
    """The program under test."""
    return Path(os.environ.get("TOOLROOT", build_folder() / "toolroot"))


def sanitized() -> bool:
    """Whether it was built with a sanitizer, which costs time and memory."""
    return bool(SANITIZERS.search(program().read_bytes()))


def work_folder() -> Path:
    """A folder that goes away with the script, unless KEEP is set."""
    folder = Path(tempfile.mkdtemp(prefix="toolroot-test."))
    if not os.environ.get("KEEP"):
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def memory(pid: int, field: str) -> int:
    """Bytes of a field of /proc/PID/status, such as VmHWM."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found.group(1)) << 10 if found else 0


class Server:
    """One server, over all its runs: the same store, options and ports."""

    def __init__(self, work: Path, *options: str) -> None:
        self.options = list(options)
        self.store = work / "store"
        self.log = work / "server.log"
        self.listen = "127.0.0.1:0"
        self.http = "127.0.0.1:0"
        self.ready_ms = 0.0
        self.own_group = False  # of processes, as a shell's jobs have
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.kill)

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    @property
    def address(self) -> str:
        """HOST:PORT of gRPC."""
        return self.listen

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    def spawn(self) -> None:
        """Start it and do not wait."""
        command = [str(program()), "serve", "--store", str(self.store)]
        command += ["--listen", self.listen, "--http", self.http]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command + self.options,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                process_group=0 if self.own_group else None,
            )

    def start(self) -> None:
        """Start it and wait until it is ready."""
        began = time.monotonic()
        self.spawn()
        assert self._process is not None and self._process.stdout is not None
        out = self._process.stdout
        waited, _, _ = select.select([out], [], [], START_SECONDS)
        line = out.readline().decode() if waited else ""
        self.ready_ms = (time.monotonic() - began) * 1000
        found = READY.fullmatch(line)
        if found is None:
            self.kill()
            raise StartError(f"{line!r}; its log ends:\n{self.log_end()}")
        self.listen = found.group(1).split("://")[-1]
        self.http = found.group(2).split("://")[-1]

    def kill(self) -> None:
        """As a crash would, without a word."""
        self.signal(signal.SIGKILL)
        self._reap(STOP_SECONDS)

    def signal(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self.running():
            os.kill(self.pid, number)

    def stop(self) -> int:
        """SIGTERM; its exit status, or -SIGKILL when it had to be killed."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Until it has ended; as stop."""
        try:
            return self._reap(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            return self._reap(STOP_SECONDS)

    def _reap(self, seconds: float) -> int:
        if self._process is None:
            return 0
        status = self._process.wait(seconds)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status

    def log_end(self) -> str:
        """The last lines of its log."""
        if not self.log.exists():
            return ""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-20:])

    def faults(self) -> list[str]:
        """What sanitizers found, over all runs."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return [line for line in text.splitlines() if FAULTS.search(line)]


def refused(*arguments: str) -> tuple[int, str]:
    """Run `toolroot ARGUMENTS...`, which must end by itself: its exit status
    and what it wrote to standard error."""
    done = subprocess.run(
        [str(program()), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=START_SECONDS,
        check=False,
    )
    return done.returncode, done.stderr.decode(errors="replace")
