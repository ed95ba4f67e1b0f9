#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""lose_outputs.py ADDRESS STATS ENDING: takes the outputs with this ending out
of the cached results of a build through the cargo front, as a cache would have
them that keeps less than it was given. Prints how many results it changed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import remote  # noqa: E402

CACHE = "/build.bazel.remote.execution.v2.ActionCache/"


def lose(client: remote.Client, action: str, ending: str) -> bool:
    """Whether the result of the action had such outputs."""
    api = remote.api
    digest = api.Digest(
        hash=action.split("/")[0], size_bytes=int(action.split("/")[1])
    )
    result = client.unary(
        CACHE + "GetActionResult",
        api.GetActionResultRequest(action_digest=digest),
        api.ActionResult,
    )
    kept = [f for f in result.output_files if not f.path.endswith(ending)]
    if len(kept) == len(result.output_files):
        return False
    del result.output_files[:]
    result.output_files.extend(kept)
    client.unary(
        CACHE + "UpdateActionResult",
        api.UpdateActionResultRequest(
            action_digest=digest, action_result=result
        ),
        api.ActionResult,
    )
    return True


def main() -> int:
    """All actions of the build."""
    address, stats, ending = sys.argv[1:]
    remote.load_messages()
    client = remote.connect(address)
    rows = json.loads(Path(stats).read_text(encoding="utf-8"))["crates"]
    print(sum(lose(client, row["action"], ending) for row in rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
