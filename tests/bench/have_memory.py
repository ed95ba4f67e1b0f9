# SPDX-License-Identifier: Apache-2.0
"""Memory that a bench finds on the machine, instead of having to wait for it."""

from __future__ import annotations

from pathlib import Path


def have_memory(folder: Path, size: int) -> None:
    """Thrice as much as that is this machine's and free.

    A virtual machine may have to ask its host for each page that it has not used
    for a while. What a file in memory has just left is what the next file gets
    (of what a process has left, it is not).
    """
    if size == 0:
        return
    path = folder / "memory"
    piece = bytes(1 << 20)
    with path.open("wb", buffering=0) as file:
        for _ in range(0, 3 * size, len(piece)):
            file.write(piece)
    path.unlink()
