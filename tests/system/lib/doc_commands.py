# SPDX-License-Identifier: Apache-2.0
"""Commands of this program that documents show, against its own help.

    doc_commands.py PROGRAM FILE...

Takes each `toolroot COMMAND ...` of code blocks and code spans, and prints
those whose command, subcommand or options the program does not have.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SPAN = re.compile(r"`([^`]+)`")
CALL = re.compile(r"(?:^|[|;&(] *|sudo )toolroot ([^|;&#]*)")
# What it prints, and tables.
NO_CALL = re.compile(r"^ready |\S  +\S")
WITH_SUBCOMMANDS = ("toolchain", "store")
# What follows is cargo's, not ours.
CARGO_ENDS = re.compile(r"^(\+|[a-z])")


@functools.cache
def words_of_help(program: str, *command: str) -> frozenset[str]:
    """Commands and options that the help of a command lists."""
    done = subprocess.run(
        [program, *command, "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"^  (--[a-z-]+|[a-z]+)\b", done.stdout, re.MULTILINE)
    return frozenset([*found, "--help", "--version"])


def snippets(text: str) -> Iterator[str]:
    """Lines of code blocks, and code spans."""
    text = re.sub(r"\\\n\s*", " ", text)
    for line in text.splitlines():
        if line.startswith("    "):
            yield line.strip()
        else:
            yield from SPAN.findall(line)


def complaint(program: str, call: str) -> str:
    """What is wrong with one call, or nothing."""
    words = call.split()
    if not words or not re.fullmatch(r"[a-z]+", words[0]):
        return ""
    command = [words.pop(0)]
    if command[0] not in words_of_help(program):
        return f"there is no command {command[0]}"
    if command[0] in WITH_SUBCOMMANDS and words:
        if not re.fullmatch(r"[a-z]+", words[0]):
            return ""
        command.append(words.pop(0))
        if command[1] not in words_of_help(program, command[0]):
            return f"there is no subcommand {command[1]}"
    known = words_of_help(program, *command)
    for word in words:
        option = word.split("=")[0].rstrip(",.)")
        if command[0] == "cargo" and CARGO_ENDS.match(word):
            break
        if re.fullmatch(r"--[a-z][a-z-]*", option) and option not in known:
            return f"there is no option {option}"
    return ""


def main() -> int:
    """The exit status: 1 when something is wrong."""
    program, files = sys.argv[1], sys.argv[2:]
    count, wrong = 0, 0
    for name in files:
        for snippet in snippets(Path(name).read_text(encoding="utf-8")):
            for call in CALL.findall(snippet):
                if NO_CALL.search(call):
                    continue
                count += 1
                said = complaint(program, call)
                if said:
                    wrong += 1
                    print(f"{name}: toolroot {call.strip()}: {said}")
    print(f"{count} calls", file=sys.stderr)
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main())
