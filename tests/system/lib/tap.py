# SPDX-License-Identifier: Apache-2.0
"""The Test Anything Protocol for system tests that are clients in Python.

    with Tap() as tap:
        tap.ok(condition, "what is true of the server")
        tap.equal(got, wanted, "another fact")

Facts go to standard output, what explains a failure to standard error. The
plan comes last. The exit status is that of the script: 1 when a fact failed
or the script ended early. Any thread may tell facts; together() runs parts of
a script that mostly wait beside each other.
"""

from __future__ import annotations

import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

SHOWN = 400


def together(*parts: Callable[[], None]) -> None:
    """All parts at once, each on a thread of its own, to their ends. The first
    exception of one of them is raised then."""
    raised: list[BaseException] = []

    def run(part: Callable[[], None]) -> None:
        try:
            part()
        except BaseException as error:
            raised.append(error)

    threads = [
        threading.Thread(target=run, args=(part,), daemon=True)
        for part in parts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


class Tap:
    """Numbers the facts of one script, and ends it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._count = 0
        self._failed = 0

    def __enter__(self) -> Tap:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(1))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and not issubclass(kind, SystemExit):
            self.ok(False, "the script runs to its end")
            traceback.print_exception(kind, value, trace)
        elif kind is not None:
            return
        print(f"1..{self._count}", flush=True)
        sys.exit(1 if self._failed else 0)

    def ok(self, condition: object, title: str, *details: object) -> bool:
        """One fact; the details are shown when it does not hold."""
        with self._lock:
            self._count += 1
            word = "ok" if condition else "not ok"
            print(f"{word} {self._count} - {title}", flush=True)
            if not condition:
                self._failed += 1
                self.diag(f"failed: {title}")
                for detail in details:
                    self.diag(str(detail)[:SHOWN])
        return bool(condition)

    def equal(self, got: Any, wanted: Any, title: str) -> bool:
        """Both are the same."""
        return self.ok(
            got == wanted, title, f"got:    {got!r}", f"wanted: {wanted!r}"
        )

    def like(self, text: str, pattern: str, title: str) -> bool:
        """The text matches a regular expression somewhere."""
        return self.ok(
            re.search(pattern, text), title, f"no {pattern!r} in: {text}"
        )

    def todo(
        self, condition: object, title: str, reason: str, *details: object
    ) -> None:
        """A fact that is known not to hold yet; no failure, but seen."""
        with self._lock:
            self._count += 1
            word = "ok" if condition else "not ok"
            print(f"{word} {self._count} - {title} # TODO {reason}", flush=True)
            for detail in details:
                self.note(str(detail))

    def skip(self, title: str, reason: str) -> None:
        """A fact that cannot be tried here."""
        with self._lock:
            self._count += 1
            print(f"ok {self._count} - {title} # SKIP {reason}", flush=True)

    def note(self, text: str) -> None:
        """Seen with `prove -v` only."""
        with self._lock:
            for line in text.splitlines():
                print(f"# {line}", flush=True)

    def diag(self, text: str) -> None:
        """Seen always."""
        with self._lock:
            for line in text.splitlines():
                print(f"# {line}", file=sys.stderr, flush=True)
