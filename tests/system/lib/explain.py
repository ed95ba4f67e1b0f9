# SPDX-License-Identifier: Apache-2.0
"""Why actions miss: one thing is changed at a time, and the server's metric
and `toolroot explain` must name it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
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
TARGET = "//app:server"
LEFT_OUT = "noise"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
WAIT_SECONDS = 20.0


class Build:
    """What makes one action; each test changes a part of it."""

    def __init__(self) -> None:
        self.arguments = ["/bin/sh", "-c", "cat src/*.c > out"]
        self.environment = {"MODE": "fast"}
        self.properties: dict[str, str] = {"cache-silo-key": "one"}
        self.files = {
            "src/a.c": b"int a;\nint b;\nint c;\n",
            "include/a.h": b"#define A 1\n",
            # Large enough for a file of its own in the store.
            "big": b"0123456789abcdef" * 20000,
        }
        self.tools = {"bin/cc": b"one", "include/stdio.h": b"int one;\n"}
        self.salt = b""
        self.do_not_cache = False


class Maker:
    """Makes actions and asks for them, as build tools do."""

    def __init__(self, server: process.Server) -> None:
        self.server = server
        self.client = remote.connect(server.address)
        self.blobs: dict[str, Any] = {}
        self.target = TARGET
        self.instance = ""  # of cached()

    def add(self, data: bytes) -> Any:
        """Keep a blob for the next upload; its digest."""
        digest = remote.digest_of(data)
        self.blobs[digest.hash] = (digest, data)
        return digest

    def message(self, message: Any) -> Any:
        """The same of a message."""
        return self.add(message.SerializeToString(deterministic=True))

    def tree(self, files: dict[str, bytes]) -> Any:
        """Digest of a Directory with these files."""
        directory = remote.api.Directory()
        below: dict[str, dict[str, bytes]] = {}
        for path, data in sorted(files.items()):
            name, _, rest = path.partition("/")
            if rest:
                below.setdefault(name, {})[rest] = data
            else:
                directory.files.add(name=name, digest=self.add(data))
        for name, inner in sorted(below.items()):
            directory.directories.add(name=name, digest=self.tree(inner))
        return self.message(directory)

    def action(self, build: Build) -> Any:
        """Digest of the action; all it needs is uploaded."""
        api = remote.api
        command = api.Command(arguments=build.arguments, output_paths=["out"])
        for name, value in sorted(build.environment.items()):
            command.environment_variables.add(name=name, value=value)
        tools = self.tree(build.tools)
        properties = dict(build.properties)
        if build.tools:
            properties["toolchain-root:/tc"] = (
                f"{tools.hash}/{tools.size_bytes}"
            )
        action = api.Action(
            command_digest=self.message(command),
            input_root_digest=self.tree(build.files),
            salt=build.salt,
            do_not_cache=build.do_not_cache,
        )
        for name, value in sorted(properties.items()):
            action.platform.properties.add(name=name, value=value)
        digest = self.message(action)
        self.client.batch_update(self.blobs.values())
        self.blobs.clear()
        return digest

    def header(self, invocation: str) -> list[tuple[str, bytes]]:
        """RequestMetadata of a call."""
        metadata = remote.api.RequestMetadata(
            tool_invocation_id=invocation,
            target_id=self.target,
            action_mnemonic="CppCompile",
        )
        return [(HEADER, metadata.SerializeToString())]

    def cached(self, build: Build, invocation: str) -> Any:
        """As a cache-only client: look, else make it here and store it."""
        api = remote.api
        digest = self.action(build)
        header = self.header(invocation)
        try:
            self.client.unary(
                CACHE + "GetActionResult",
                api.GetActionResultRequest(
                    action_digest=digest, instance_name=self.instance
                ),
                api.ActionResult,
                header,
            )
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
            request = api.UpdateActionResultRequest(
                action_digest=digest, instance_name=self.instance
            )
            request.action_result.stdout_raw = b"made"
            self.client.unary(
                CACHE + "UpdateActionResult", request, api.ActionResult, header
            )
        return digest

    def executed(self, build: Build, invocation: str) -> Any:
        """As a client of remote execution; the exit code too."""
        digest = self.action(build)
        operation = None
        for operation in self.client.server_stream(
            EXECUTE,
            remote.api.ExecuteRequest(action_digest=digest),
            longrunning.Operation,
            self.header(invocation),
        ):
            pass
        response = remote.api.ExecuteResponse()
        assert operation is not None and operation.response.Unpack(response)
        return digest, response.result.exit_code

    def misses(self) -> dict[str, int]:
        """The metric, by cause."""
        url = f"http://{self.server.http}/metrics"
        with urllib.request.urlopen(url, timeout=WAIT_SECONDS) as answer:
            text = answer.read().decode()
        found = re.findall(
            r'^toolroot_action_misses_total\{cause="(.*)"\} (\d+)$',
            text,
            re.MULTILINE,
        )
        return {cause: int(count) for cause, count in found}

    def new_causes(self, before: dict[str, int]) -> dict[str, int]:
        """What was counted since; waits for it, as explaining takes time."""
        end = time.monotonic() + WAIT_SECONDS
        while True:
            now = self.misses()
            new = {c: n - before[c] for c, n in now.items() if n > before[c]}
            if new or time.monotonic() > end:
                return new
            time.sleep(0.02)

    def log_lines(self) -> list[Any]:
        """What the server and its worker have logged, but for a line that is
        being written."""
        text = self.server.log.read_text(encoding="utf-8")
        return [
            json.loads(line)
            for line in text.splitlines(keepends=True)
            if line.startswith("{") and line.endswith("\n")
        ]

    def explain(self, *arguments: str) -> tuple[int, str]:
        """`toolroot explain`: exit status and standard output."""
        return self.ask("explain", *arguments)

    def ask(self, *command: str) -> tuple[int, str]:
        """The same of any command."""
        done = subprocess.run(
            [
                str(process.program()),
                *command,
                "--server",
                f"grpc://{self.server.address}",
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).decode()

    def explain_json(self, *arguments: str) -> Any:
        """The same as values."""
        return json.loads(self.explain("--json", *arguments)[1])


def changed(change: str) -> Build:
    """The plain build with one thing changed."""
    build = Build()
    if change == "source":
        build.files["src/a.c"] = b"int a;\nlong b;\nint c;\n"
    elif change == "command":
        build.arguments = ["/bin/sh", "-e", "-c", "cat src/*.c > out"]
    elif change == "environment":
        build.environment["MODE"] = "small"
    elif change == "platform":
        build.properties["cache-silo-key"] = "two"
    elif change == "toolchain":
        build.tools["include/stdio.h"] = b"int two;\n"
    elif change == "salt":
        build.salt = b"pepper"
    return build


# Cause, kind, name, before and after of the change that must be told.
EXPECTED = [
    ("source", "input", "src/a.c", "file", "file"),
    ("command", "argument", "argument 1", None, "-e"),
    ("environment", "variable", "MODE", "fast", "small"),
    ("platform", "property", "cache-silo-key", "one", "two"),
    ("toolchain", "toolchain", "/tc/include/stdio.h", "file", "file"),
    ("salt", "salt", "salt", "0 bytes", "6 bytes"),
]


def check_cause(tap: Tap, maker: Maker, row: tuple[Any, ...]) -> None:
    """The plain build is a hit; one change makes a miss of that cause."""
    cause, kind, name, before, after = row
    maker.cached(Build(), f"plain-{cause}")
    counted = maker.misses()
    digest = maker.cached(changed(cause), f"changed-{cause}")
    tap.equal(
        maker.new_causes(counted), {cause: 1}, f"{cause}: the metric says so"
    )
    answer = maker.explain_json(digest.hash)
    tap.equal(
        [miss["cause"] for miss in answer], [cause], f"{cause}: explain too"
    )
    found = [
        (c["kind"], c["name"], c.get("before"), c.get("after"))
        for c in answer[0]["changes"]
    ]
    tap.ok(
        (kind, name, before, after) in found,
        f"{cause}: it names {kind} {name}",
        found,
    )
    tap.equal(
        len(found),
        2 if cause == "toolchain" else 1,
        f"{cause}: and nothing else",
    )


def check_texts(tap: Tap, maker: Maker) -> None:
    """What people read."""
    status, text = maker.explain("changed-source")
    tap.equal(status, 0, "explain takes an invocation id")
    tap.like(text, rf"{TARGET} CppCompile: source", "it names the target")
    tap.like(text, r"changed input src/a\.c", "it names the file")
    tap.like(
        text,
        r"-int b;\n\s*\+long b;\n\s* int c;",
        "it shows the lines that differ",
    )
    digests = [
        f"{d.hash}/{d.size_bytes}"
        for d in (
            remote.digest_of(changed(change).files["src/a.c"])
            for change in ("", "source")
        )
    ]
    tap.ok(all(d in text for d in digests), "it shows both digests", text)
    text = maker.explain(TARGET)[1]
    tap.ok(
        all(f": {row[0]}\n" in text for row in EXPECTED),
        "explain takes a target",
        text,
    )
    text = maker.explain()[1]
    tap.like(text, r"CppCompile: salt", "without anything: the last build")
    status, text = maker.explain("0" * 64)
    tap.equal(status, 1, "an unknown action is a failure")
    tap.like(
        text,
        "no miss of the action .* is remembered.*"
        "only the default instance was looked at; --instance NAME",
        "that says so, and where it was looked for",
    )
    status, text = maker.explain("nonsense")
    tap.like(
        text,
        "No misses are remembered of nonsense.\n"
        "Only the default instance was looked at; --instance NAME",
        "no misses",
    )
    text = maker.explain("nonsense", "--instance", "other")[1]
    tap.like(text, "Only other was looked at", "none of another instance")
    a, b = (maker.action(changed(change)) for change in ("salt", "command"))
    answer = maker.explain_json(
        f"{a.hash}/{a.size_bytes}", "--against", f"{b.hash}/{b.size_bytes}"
    )
    tap.equal(
        sorted(c["kind"] for c in answer[0]["changes"]),
        ["argument", "salt"],
        "two actions can be compared",
    )


def check_known(tap: Tap, maker: Maker) -> None:
    """Causes that no comparison gives, with execution."""
    build = Build()
    build.tools = {}
    build.arguments = ["/bin/sh", "-c", "echo executed; cat src/a.c big > out"]
    counted = maker.misses()
    digest, code = maker.executed(build, "exec-1")
    tap.equal(code, 0, "an action is executed")
    tap.ok(maker.new_causes(counted), "its miss is counted")
    counted = maker.misses()
    maker.executed(build, "exec-2")
    text = maker.explain()[1]
    tap.like(
        text,
        "No misses are remembered of exec-2",
        "a build of hits alone has no misses",
    )
    tap.equal(maker.misses(), counted, "a hit is no miss")
    lose_output(maker, build)
    counted = maker.misses()
    maker.executed(build, "exec-3")
    tap.equal(
        maker.new_causes(counted), {"evicted": 1}, "a lost output: evicted"
    )
    tap.like(
        maker.explain(digest.hash)[1],
        "the same action had a result",
        "explain says that there was a result",
    )
    build.arguments = ["/bin/sh", "-c", "cat src/a.c > out; exit 3"]
    counted = maker.misses()
    maker.executed(build, "exec-4")
    maker.new_causes(counted)
    counted = maker.misses()
    maker.executed(build, "exec-5")
    tap.equal(
        maker.new_causes(counted), {"uncached": 1}, "failed before: uncached"
    )


def lose_output(maker: Maker, build: Build) -> None:
    """Delete the large output behind the result."""
    output = build.files["src/a.c"] + build.files["big"]
    hashed = remote.digest_of(output).hash
    for path in maker.server.store.glob("blobs/**/*"):
        if path.is_file() and path.name.startswith(hashed):
            path.unlink()


# What a terminal obeys: as an escape, as one character of 8 bits (CSI), and a
# mark that turns the direction of writing round.
TERMINAL = "\x1b[31m\x9b2J\u202e"


def check_hostile(tap: Tap, maker: Maker) -> None:
    """Names and values of clients go to a terminal, and into the log."""
    build = changed("source")
    build.environment["MODE"] = f"x{TERMINAL}\n    added variable FORGED"
    build.files[f"src/{TERMINAL}\nforged.c"] = b"int a;\n"
    build.files["include/a.h"] = f"#define A {TERMINAL}\n".encode()
    maker.cached(build, "hostile")
    text = maker.explain("hostile")[1]
    tap.ok(
        not any(c in text for c in "\x1b\x9b\u202e"),
        "nothing that a terminal obeys is printed",
        repr(text),
    )
    tap.ok(
        re.search(r"x\?\[31m\?+2J\?+    added variable FORGED\n", text)
        and re.search(r"\+#define A \?\[31m", text),
        "and no value begins a line of its own",
        repr(text),
    )
    maker.target = f"//app:{TERMINAL}"
    build.environment["MODE"] = "target"
    maker.cached(build, "hostile-target")
    maker.target = TARGET
    text = maker.ask("store", "rm", "--target", "//app:*")[1]
    tap.ok(
        "target=//app:?[31m" in text
        and not any(c in text for c in "\x1b\x9b\u202e"),
        "nor by commands that list targets",
        repr(text),
    )
    status, text = maker.explain("--json", "hostile")
    names = {change["name"] for change in json.loads(text)[0]["changes"]}
    tap.ok(
        text.isascii() and f"src/{TERMINAL}\nforged.c" in names,
        "JSON has all of it, escaped",
        repr(text),
    )
    remote.attempt(
        lambda: maker.client.unary(
            '/x" status="OK level=error',
            remote.api.Digest(),
            remote.api.Digest,
            [("traceparent", 'x" status="OK')],
        )
    )


def check_malformed(tap: Tap, maker: Maker) -> None:
    """A tree that cannot be decoded hides neither what was found before nor
    the other misses."""
    build = changed("salt")
    build.tools = {}
    for mode, directory in (("one", b"\xff\xff"), ("two", b"\xff\xfe")):
        root = maker.add(directory)
        build.environment["MODE"] = mode
        maker.tree = lambda _, root=root: root  # type: ignore
        maker.cached(build, "malformed")
        del maker.tree
    build.environment["MODE"] = "three"
    maker.cached(build, "malformed")
    status, text = maker.explain("malformed")
    tap.equal(status, 0, "a malformed tree is no failure of explain")
    tap.like(text, r"after   two\n", "what differs beside it is told")
    tap.like(text, r"incomplete: ", "and that there may be more")
    tap.equal(
        len(re.findall("^  action ", text, re.MULTILINE)),
        3,
        "the other misses are told, too",
    )


def check_log(tap: Tap, maker: Maker) -> None:
    """Each miss and each failed call is a line; also as JSON."""
    api = remote.api
    request = api.UpdateActionResultRequest(
        action_digest=(digest := maker.action(Build()))
    )
    request.action_result.stdout_digest.CopyFrom(remote.digest_of(b"absent"))
    header: list[tuple[str, Any]] = [*maker.header("in-vain")]
    header.append(("traceparent", TRACE))
    remote.attempt(
        lambda: maker.client.unary(
            CACHE + "UpdateActionResult", request, api.ActionResult, header
        )
    )
    end = time.monotonic() + WAIT_SECONDS
    # The line follows the reply.
    while True:
        lines = maker.log_lines()
        calls = [line for line in lines if line["event"] == "rpc"]
        failed = [c for c in calls if c["invocation"] == "in-vain"]
        if failed or time.monotonic() > end:
            break
        time.sleep(0.02)
    tap.ok(
        any(
            line["event"] == "action_miss"
            and line["cause"] == "source"
            and line["summary"] == "input src/a.c changed"
            and line["target"] == TARGET
            for line in lines
        ),
        "the log names the cause",
    )
    wanted = {
        "level": "info",
        "method": CACHE + "UpdateActionResult",
        "status": "FAILED_PRECONDITION",
        "target": TARGET,
        "invocation": "in-vain",
        "traceparent": TRACE,
        "action": f"{digest.hash}/{digest.size_bytes}",
    }
    tap.equal(
        [{k: line.get(k) for k in wanted} for line in failed],
        [wanted],
        "a failed call is logged with whom and what for",
    )
    tap.equal(
        [
            (line["status"], line["traceparent"])
            for line in calls
            if line["method"] == "/x'?status='OK?level=error"
        ],
        [("UNIMPLEMENTED", "")],
        "no method and no trace parent can pass for other fields",
    )
    tap.equal(
        [
            line
            for line in maker.server.log.read_text().splitlines()
            if not line.startswith("{")
        ],
        [],
        "there is nothing in it but JSON",
    )


def age(server: process.Server, hours: int) -> None:
    """As if nobody had used the store for so long; the server is down."""
    tool = process.build_folder() / "tests/system/age_store"
    subprocess.run(
        [str(tool), str(server.store), str(hours)],
        check=True,
        timeout=WAIT_SECONDS,
    )


def collect(server: process.Server, *arguments: str) -> None:
    """`toolroot gc`."""
    subprocess.run(
        [
            str(process.program()),
            "gc",
            "--server",
            f"grpc://{server.address}",
            "--run",
            *arguments,
        ],
        check=True,
        timeout=WAIT_SECONDS,
        stdout=subprocess.DEVNULL,
    )


def check_restart(tap: Tap, maker: Maker) -> None:
    """What was learned is there after a restart, and what was collected
    meanwhile is told."""
    build = changed("source")
    build.arguments = ["/bin/sh", "-c", "cat src/*.c big > out"]
    digest, _ = maker.executed(build, "restart-1")
    counted = maker.misses()
    before = maker.explain_json("changed-source")
    tap.equal(maker.server.stop(), 0, "the server stops")
    age(maker.server, 5)
    maker.server.start()
    tap.equal(
        maker.explain_json("changed-source"),
        before,
        "a restart forgets no misses",
    )
    collect(maker.server, "--max-age", "4h")
    tap.like(
        maker.explain("changed-environment")[1],
        r"(?s)variable MODE changed\n.*incomplete: .* not in the store",
        "what was found is told when what was compared is gone",
    )
    counted = maker.misses()
    maker.executed(build, "restart-2")
    tap.equal(
        maker.new_causes(counted), {"evicted": 1}, "collected: evicted"
    )
    tap.like(
        maker.explain(digest.hash)[1],
        r"evicted 0 min ago by toolroot gc, for its age; it had not been "
        r"used for 5 h",
        "explain says when and why it went",
    )
    counted = maker.misses()
    build.files["src/a.c"] += b"int more;\n"
    maker.executed(build, "restart-3")
    tap.equal(
        maker.new_causes(counted),
        {"source": 1},
        "earlier actions are found after a restart",
    )


def check_left_out(tap: Tap, maker: Maker) -> None:
    """An instance that is not explained."""
    counted = maker.misses()
    build = Build()
    build.salt = b"noise"
    maker.instance = LEFT_OUT
    digest = maker.cached(build, "noise")
    other = maker.cached(Build(), "noise")
    maker.instance = ""
    status, text = maker.explain("--instance", LEFT_OUT)
    tap.equal(status, 1, "an instance that is left out is not explained")
    tap.like(
        text,
        f'nothing of the instance "{LEFT_OUT}" is remembered.*"unexplained"',
        "and the setting is named",
    )
    pair = [f"{d.hash}/{d.size_bytes}" for d in (digest, other)]
    tap.like(
        maker.explain("--instance", LEFT_OUT, pair[0], "--against", pair[1])[1],
        "salt",
        "two of its actions can be compared",
    )
    build.salt = b"counts"
    maker.cached(build, "counts")
    # Waits until all is explained.
    maker.explain("counts")
    tap.equal(
        sum(maker.misses().values()),
        sum(counted.values()) + 1,
        "nor are its misses counted",
    )


def check_first(tap: Tap, maker: Maker) -> None:
    """The first action of all; a look-up alone is none."""
    counted = maker.misses()
    digest = maker.action(Build())
    outcome = remote.attempt(lambda: maker.client.get_result(digest))
    tap.ok(outcome.code == grpc.StatusCode.NOT_FOUND, "nothing is cached")
    tap.equal(maker.misses(), counted, "a look-up alone is no miss")
    maker.cached(Build(), "first")
    tap.equal(
        maker.new_causes(counted), {"first-seen": 1}, "the first: first-seen"
    )
    maker.cached(Build(), "again")


def main() -> None:
    """All of it, on one server."""
    remote.load_messages()
    work = process.work_folder()
    server = process.Server(
        work,
        "--workers",
        "1",
        "--host-root",
        "--log-format",
        "json",
        "--unexplained",
        LEFT_OUT,
    )
    with Tap() as tap:
        server.start()
        maker = Maker(server)
        check_first(tap, maker)
        for row in EXPECTED:
            check_cause(tap, maker, row)
        check_texts(tap, maker)
        check_known(tap, maker)
        check_hostile(tap, maker)
        check_malformed(tap, maker)
        check_log(tap, maker)
        check_left_out(tap, maker)
        check_restart(tap, maker)
        tap.equal(server.stop(), 0, "the server ends cleanly")
        tap.equal(server.faults(), [], "no sanitizer found a fault")


if __name__ == "__main__":
    main()
