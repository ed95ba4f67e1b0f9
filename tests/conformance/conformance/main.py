# SPDX-License-Identifier: Apache-2.0
"""The command line: choose rules, connect, run, print TAP."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from . import messages
from .context import Context, Settings
from .harness import LEVELS, RULES, Rule, Runner, select

HERE = Path(__file__).resolve().parent
PROJECT_PROTOS = HERE.parent.parent.parent / "protos"
EXECUTION_GROUPS = ("execution", "operations")
CONFORMANCE = (
    "capabilities",
    "cas",
    "tree",
    "chunks",
    "read",
    "write",
    "resume",
    "compressed",
    "action_cache",
    "execution_requests",
    "execution_stream",
    "execution_commands",
    "execution_inputs",
    "execution_outputs",
    "execution_cache",
    "operations",
    "services",
    "execution_platform",
)
HOSTILE = ("digests", "names", "frames", "trees", "load")
DEFAULT_PORTS = {"grpc": 8980, "grpcs": 443}


class UsageError(Exception):
    """The command line asks for something that cannot be."""


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run",
        description="Try a Remote Execution API server against "
        "the rules of the API, and print TAP.",
    )
    parser.add_argument(
        "server", nargs="?", help="grpc://HOST:PORT or grpcs://HOST:PORT"
    )
    parser.add_argument(
        "--instance",
        default="",
        metavar="NAME",
        help="instance name; may contain slashes",
    )
    parser.add_argument(
        "--list",
        action="store_true",
        help="list the rules instead of trying them",
    )
    parser.add_argument(
        "--filter",
        default="",
        metavar="REGEX",
        help="only rules whose name or sentence matches",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="GROUP",
        help="only this group; may repeat",
    )
    parser.add_argument(
        "--no-execution",
        action="store_true",
        help="leave out execution and operations",
    )
    parser.add_argument(
        "--hostile", action="store_true", help="also the group of bad input"
    )
    parser.add_argument(
        "--level",
        choices=[each.lower() for each in LEVELS],
        default="practice",
        help="the weakest level whose "
        "failures count (default: practice, so all do)",
    )
    parser.add_argument(
        "--waive",
        action="append",
        default=[],
        metavar="NAME",
        help="a rule whose failure is known and does not count; may repeat",
    )
    parser.add_argument(
        "--platform",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="platform property of every action",
    )
    parser.add_argument(
        "--shell",
        default="/bin/sh",
        metavar="PATH",
        help="a POSIX shell in the action's root",
    )
    parser.add_argument(
        "--protos",
        action="append",
        default=[],
        metavar="DIR",
        help="folder with the API's .proto "
        "files; may repeat (default: the project's)",
    )
    parser.add_argument(
        "--deadline",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="of each call",
    )
    parser.add_argument(
        "--execute-deadline",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="of each execution",
    )
    parser.add_argument(
        "--time-limit",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="of the whole run",
    )
    parser.add_argument(
        "--choices",
        action="store_true",
        help="tell which status the server chose where several are allowed",
    )
    parser.add_argument("--tls-ca", type=Path, metavar="FILE")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE")
    parser.add_argument("--tls-key", type=Path, metavar="FILE")
    parser.add_argument(
        "--server-pid",
        type=int,
        default=0,
        metavar="PID",
        help="a local server, to watch its memory",
    )
    parser.add_argument(
        "--memory-limit",
        default="512M",
        metavar="SIZE",
        help="growth allowed to the server's peak RSS",
    )
    parser.add_argument(
        "--connections",
        type=int,
        default=1000,
        metavar="N",
        help="idle connections to hold open",
    )
    return parser


def _size(text: str) -> int:
    units = {"K": 10, "M": 20, "G": 30}
    number, unit = text[:-1], text[-1:].upper()
    try:
        if unit in units:
            return int(number) << units[unit]
        return int(text)
    except ValueError as error:
        raise UsageError(f"--memory-limit {text}: no size") from error


def _platform(pairs: list[str]) -> tuple[tuple[str, str], ...]:
    for pair in pairs:
        if "=" not in pair:
            raise UsageError(f"--platform {pair}: not KEY=VALUE")
    return tuple(
        (name, value)
        for name, _, value in (pair.partition("=") for pair in pairs)
    )


def _settings(arguments: argparse.Namespace) -> Settings:
    server = arguments.server or ""
    parts = urlsplit(server if "//" in server else f"grpc://{server}")
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise UsageError(f"{server!r}: not grpc://HOST:PORT")
    host = parts.hostname
    if ":" in host:
        host = f"[{host}]"
    client = None
    ca = arguments.tls_ca.read_bytes() if arguments.tls_ca else None
    if parts.scheme == "grpcs" and ca is None:
        ca = b""
    if arguments.tls_cert or arguments.tls_key:
        if not (arguments.tls_cert and arguments.tls_key):
            raise UsageError("--tls-cert and --tls-key go together")
        client = (
            arguments.tls_cert.read_bytes(),
            arguments.tls_key.read_bytes(),
        )
    return Settings(
        address=f"{host}:{parts.port or DEFAULT_PORTS[parts.scheme]}",
        instance=arguments.instance,
        deadline=arguments.deadline,
        execute_deadline=arguments.execute_deadline,
        platform=_platform(arguments.platform),
        shell=arguments.shell,
        tls_ca=ca,
        tls_client=client,
        server_pid=arguments.server_pid,
        memory_limit=_size(arguments.memory_limit),
        connections=arguments.connections,
    )


def _choose(arguments: argparse.Namespace) -> list[Rule]:
    for name in CONFORMANCE:
        importlib.import_module(f"conformance.{name}")
    for name in HOSTILE:
        importlib.import_module(f"hostile.{name}")
    groups = {rule.group for rule in RULES}
    names = {rule.name for rule in RULES}
    for name in arguments.waive:
        if name not in names:
            raise UsageError(f"--waive {name}: there is no such rule")
    for name in arguments.only:
        if name not in groups:
            raise UsageError(
                f"--only {name}: the groups are " + ", ".join(sorted(groups))
            )
    exclude = list(EXECUTION_GROUPS) if arguments.no_execution else []
    if not arguments.hostile and "hostile" not in arguments.only:
        exclude.append("hostile")
    return select(arguments.only, arguments.filter, exclude)


def _run(arguments: argparse.Namespace) -> int:
    rules = _choose(arguments)
    if arguments.list:
        for rule in rules:
            print(
                f"{rule.name}  {rule.level:8}  {rule.group:12}  "
                f"{rule.sentence} [{rule.spec}]"
            )
        return 0
    settings = _settings(arguments)
    folders = [Path(name) for name in arguments.protos] or [PROJECT_PROTOS]
    messages.load(folders)
    try:
        context = Context.connect(settings)
    except grpc.RpcError as error:
        print(
            f"Bail out! {settings.address}: GetCapabilities answered "
            f"{error.code().name}: {error.details()}"
        )
        return 1
    fatal = LEVELS[
        : [each.lower() for each in LEVELS].index(arguments.level) + 1
    ]
    runner = Runner(
        sys.stdout,
        fatal,
        arguments.waive,
        arguments.time_limit,
        arguments.choices,
    )
    return 0 if runner.run(rules, context) else 1


def main() -> int:
    """Run the suite; the exit status is 0, 1 for a failure, 2 for usage."""
    parser = _arguments()
    arguments = parser.parse_args()
    if not arguments.list and not arguments.server:
        parser.error("no server was given")
    try:
        return _run(arguments)
    except (UsageError, OSError, messages.ProtoError) as error:
        print(f"run: {error}", file=sys.stderr)
        return 2
