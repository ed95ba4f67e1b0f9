# SPDX-License-Identifier: Apache-2.0
"""What the hostile rules share: calls by digest, and the server's health."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grpc import StatusCode

from conformance.context import Context
from conformance.execute import execute
from conformance.harness import Group, attempt, expect

group = Group("hostile")
INVALID = StatusCode.INVALID_ARGUMENT
PATIENCE_SECONDS = 5.0
_CODES = {code.value[0]: code for code in StatusCode}


def peak_memory(pid: int) -> int:
    """Peak resident bytes of a local process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found.group(1)) << 10 if found else 0


def still_well(context: Context) -> None:
    """Fail unless the server answers quickly, within its memory budget."""
    began = time.monotonic()
    digest = context.put(context.fresh())
    expect(not context.is_missing(digest), "a stored blob is missing")
    took = time.monotonic() - began
    expect(took < PATIENCE_SECONDS, f"a store and a look-up took {took:.1f} s")
    pid = context.settings.server_pid
    if pid:
        peak = peak_memory(pid)
        limit = context.settings.memory_limit
        expect(
            peak <= limit,
            f"the server's memory reached {peak >> 20} MiB "
            f"of {limit >> 20} MiB",
        )


def of_first(responses: list[Any]) -> StatusCode:
    """The status of the only blob of a batch."""
    return _CODES[responses[0].status.code]


def _code(call: Callable[[], Any]) -> StatusCode:
    """The status of a call, or of the one blob that it answers for."""
    outcome = attempt(call)
    if outcome.ok and isinstance(outcome.value, StatusCode):
        return outcome.value
    return outcome.code


def calls_with(
    context: Context, digest: Any, data: bytes = b"data"
) -> dict[str, StatusCode]:
    """The status of each call that takes a digest, for this digest."""
    client = context.client
    codes = {
        "FindMissingBlobs": _code(lambda: client.find_missing([digest])),
        "BatchUpdateBlobs": _code(
            lambda: of_first(client.batch_update([(digest, data)]))
        ),
        "BatchReadBlobs": _code(lambda: of_first(client.batch_read([digest]))),
        "GetTree": _code(lambda: client.get_tree(digest)),
        "GetActionResult": _code(lambda: client.get_result(digest)),
        "Read": _code(lambda: client.read(context.read_name(digest))),
        "Write": _code(
            lambda: client.write_all(context.write_name(digest), data)
        ),
    }
    if context.capabilities.execution_capabilities.exec_enabled:
        codes["Execute"] = execute(context, digest).code
    return codes


def expect_codes(
    codes: dict[str, StatusCode], what: str, *wanted: StatusCode
) -> None:
    """Fail with all calls that answered with another status."""
    wrong = {
        name: code.name for name, code in codes.items() if code not in wanted
    }
    names = " or ".join(each.name for each in wanted)
    expect(not wrong, f"{what}: {wrong}, expected {names}")
