# SPDX-License-Identifier: Apache-2.0
"""`toolroot store rm`, `repair`, `export`, `import`, and pins of an idle store.
See 82-store-admin.sh.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from random import Random
from typing import Any

from collect import KIB, age, make, missing, put, run, text_of, tree_of
from process import Server, program, work_folder
from remote import Client, api, connect, digest_of, load_messages
from tap import Tap

CACHE = "/build.bazel.remote.execution.v2.ActionCache/"
HEADER = "build.bazel.remote.execution.v2.requestmetadata-bin"
LOST = 3


class Results:
    """Action results of targets, and the blobs that they name."""

    def __init__(self, client: Client, random: Random) -> None:
        self.client = client
        self.random = random
        self.actions: dict[str, Any] = {}
        self.blobs: dict[str, tuple[Any, bytes]] = {}

    def add(self, target: str, toolchain: Any = None) -> None:
        """The action, its output and its result."""
        command = api.Command(arguments=["make", target])
        parts = [command.SerializeToString(), b""]
        action = api.Action(
            command_digest=digest_of(parts[0]), input_root_digest=digest_of(b"")
        )
        if toolchain is not None:
            action.platform.properties.add(
                name="toolchain-root", value=text_of(toolchain)
            )
        parts.append(action.SerializeToString())
        output = self.random.randbytes(5 * KIB)
        put(self.client, [(digest_of(b), b) for b in [*parts, output]])
        digest = digest_of(parts[2])
        request = api.UpdateActionResultRequest(action_digest=digest)
        request.action_result.output_files.add(
            path="out", digest=digest_of(output)
        )
        metadata = api.RequestMetadata(
            target_id=target, tool_invocation_id="one", action_mnemonic="Cc"
        )
        self.client.unary(
            CACHE + "UpdateActionResult",
            request,
            api.ActionResult,
            [(HEADER, metadata.SerializeToString())],
        )
        self.actions[target] = digest
        self.blobs[target] = (digest_of(output), output)

    def there(self, client: Client) -> list[str]:
        """Targets whose result the server has."""
        found = []
        for target, digest in self.actions.items():
            try:
                client.unary(
                    CACHE + "GetActionResult",
                    api.GetActionResultRequest(action_digest=digest),
                    api.ActionResult,
                )
            except Exception as error:  # noqa: BLE001
                if "NOT_FOUND" not in str(error):
                    raise
                continue
            found.append(target)
        return found


def removed(tap: Tap, server: Server, results: Results) -> None:
    """A poisoned cache."""
    client = results.client
    there = ["--server", f"grpc://{server.address}"]
    tree = tree_of(client, make(Random(1), 2, KIB))
    for number in range(6):
        results.add(f"//app:lib{number}")
    results.add("//app/sub:x")
    results.add("//other:y", tree)
    every = sorted(results.actions)
    tap.equal(sorted(results.there(client)), every, "all results are there")

    done = run("store", "rm", *there, "--target", "//app/...", "--json")
    plan = json.loads(done.stdout or "{}")
    tap.equal(plan.get("matched"), 7, f"a plan finds them {done.stderr}")
    first = plan["listed"][0]
    tap.equal(first["writer"], "ipv4:127.0.0.1", "with who wrote them")
    tap.equal(first["invocation"], "one", "and in which invocation")
    tap.equal(sorted(results.there(client)), every, "and removes nothing")
    done = run("store", "rm", *there, "--target", "//app:lib3", "--run")
    tap.ok("1 of 8" in done.stdout, "one target's is removed", done)
    left = [target for target in every if target != "//app:lib3"]
    tap.equal(sorted(results.there(client)), left, "and no other's")

    done = run("store", "rm", *there, "--toolchain", text_of(tree), "--json")
    found = json.loads(done.stdout or "{}")
    tap.equal(
        [entry["target"] for entry in found.get("listed", [])],
        ["//other:y"],
        "what a toolchain made is found",
    )
    done = run("store", "rm", *there, "--since", "1h", "--until", "30m")
    tap.ok("0 of 7" in done.stdout, "a time window", done)
    one = text_of(results.actions["//app:lib0"])
    done = run("store", "rm", *there, "--run", "--since", "1h", one)
    tap.ok("1 of 7" in done.stdout, "an action's digest", done)
    done = run("store", "rm", *there, "--run")
    tap.equal(done.returncode, 2, "not simply all of them")
    done = run("store", "rm", *there, "--worker", "*")
    tap.ok("0 of 6" in done.stdout, "no worker ran these", done)
    done = run("store", "rm", *there, "--since", "yesterday")
    tap.ok("neither a time" in done.stderr, "nonsense is told", done)
    del results.actions["//app:lib3"], results.actions["//app:lib0"]


def idle(tap: Tap, server: Server, results: Results) -> None:
    """The same, and pins, with no server."""
    there = ["--store", str(server.store)]
    done = run("store", "rm", *there, "--writer", "ipv4:*", "--json")
    tap.equal(
        json.loads(done.stdout or "{}").get("matched"),
        6,
        f"results are found without a server {done.stderr}",
    )
    digest = results.blobs["//app:lib1"][0]
    done = run("store", "pin", *there, "--blob", "mine", text_of(digest))
    tap.equal(done.returncode, 0, f"so is a pin set {done.stderr}")
    tap.like(run("store", "pins", *there).stdout, "mine", "and listed")
    pins = json.loads(run("store", "pins", *there, "--json").stdout)["pins"]
    tap.equal([pin["name"] for pin in pins], ["mine"], "as JSON, too")
    tap.ok(pins[0]["kind"] in ("tree", "blob"), "with what it is", pins)
    tap.ok("/" in pins[0]["digest"], "and what it names", pins)
    done = run("store", "stats", *there, "--json")
    stats = json.loads(done.stdout or "{}")
    tap.equal(stats.get("action_results"), 6, f"stats count {done.stderr}")
    tap.equal(stats.get("named_blobs"), 6, "what results name")
    tap.equal(
        sum(share["count"] for share in stats.get("sizes", [])),
        stats.get("blobs"),
        "by size",
    )
    state = server.store.parent / "check-state"
    state.write_text("01" + "ff" * 32)
    done = run("store", "check", *there, "--resume", str(state), "--json")
    tap.equal(
        json.loads(done.stdout or "{}").get("blobs"),
        0,
        f"a check goes on where it came to {done.stderr}",
    )
    tap.ok(not state.exists(), "and forgets where when it is done")
    done = run("store", "check", *there, "--resume", str(state), "--json")
    tap.equal(
        json.loads(done.stdout or "{}").get("blobs"),
        stats.get("blobs"),
        "the next one begins anew",
    )
    state.write_text("no position")
    done = run("store", "check", *there, "--resume", str(state))
    tap.ok("begin anew" in done.stderr, "nonsense is told", done)
    age(server.store, 100)
    done = run("gc", *there, "--max-size", "0", "--json")
    plan = json.loads(done.stdout or "{}")
    tap.equal(
        plan.get("kept", [{}])[0].get("name"), "mine", "a plan names pins"
    )
    done = run("gc", *there, "--max-size", "0", "--run", "--json")
    tap.equal(
        json.loads(done.stdout or "{}").get("pinned_blobs"),
        1,
        f"and kept by a collection {done.stderr}",
    )
    done = run("store", "unpin", *there, "mine")
    tap.equal(done.returncode, 0, "and removed")
    done = run("store", "pins", "--store", str(server.store / "none"))
    tap.equal(done.returncode, 1, "what is no store is not made one")
    tap.ok(not (server.store / "none").exists(), "not even by accident")


def flip(path: Path, where: int) -> None:
    """One bit."""
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[where] ^= 8
    path.write_bytes(data)


def repaired(tap: Tap, work: Path) -> None:
    """Bits flip, the index is lost."""
    work.mkdir()
    server = Server(work, "--workers", "0", "--max-size", "64M")
    server.start()
    client = connect(server.address)
    results = Results(client, Random(82))
    for number in range(20):
        results.add(f"//app:lib{number}")
    large = make(results.random, 3, 300 * KIB)
    put(client, large)
    client.channel.close()
    there = ["--store", str(server.store)]
    done = run("store", "repair", *there)
    tap.equal(done.returncode, 1, "a store that is in use is refused")
    tap.equal(server.stop(), 0, "the server ends")
    done = run("store", "repair", *there, "--json")
    report = json.loads(done.stdout or "{}")
    tap.equal(done.returncode, 0, f"a sound store loses nothing {done.stderr}")
    tap.equal(report.get("action_results"), 20, "no result")

    segment = sorted(server.store.glob("segments/*"))[0]
    at = segment.read_bytes().find(results.blobs["//app:lib7"][1])
    flip(segment, at + 100)
    path = next(server.store.glob(f"blobs/sha256/*/{large[0][0].hash}"))
    flip(path, 5000)
    done = run("store", "repair", *there, "--json")
    report = json.loads(done.stdout or "{}")
    tap.equal(done.returncode, LOST, "flipped bits cost something: exit 3")
    tap.equal(report.get("bad_blobs"), 2, "two blobs")
    tap.equal(report.get("dropped_action_results"), 1, "and a result")
    tap.ok(large[0][0].hash in done.stderr, "which are named", done.stderr)
    server.start()
    client = connect(server.address)
    left = sorted(set(results.actions) - {"//app:lib7"})
    tap.equal(sorted(results.there(client)), left, "the rest is served")
    tap.equal(missing(client, large), 1, "what was bad is missing")
    tap.ok(not put(client, large[:1]), "and can come back")
    client.channel.close()
    server.stop()

    (server.store / "index/data.mdb").unlink()
    done = subprocess.run(
        [str(program()), "serve", "--store", str(server.store), "--workers=0",
         "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"],
        capture_output=True, text=True, timeout=60, check=False,
    )
    tap.ok(
        done.returncode != 0 and "toolroot store repair" in done.stderr,
        "without its index a store is refused, with the remedy",
        done.stderr,
    )
    done = run("store", "repair", *there, "--json")
    report = json.loads(done.stdout or "{}")
    tap.ok(report.get("index_lost"), "and made anew", done)
    server.start()
    client = connect(server.address)
    tap.equal(missing(client, large), 0, "all blobs are there again")
    client.channel.close()
    tap.equal(server.stop(), 0, "the server ends")


def carried(tap: Tap, work: Path) -> None:
    """To another site."""
    random = Random(83)
    here, far = work / "here", work / "far"
    here.mkdir(parents=True)
    far.mkdir()
    server = Server(here, "--workers", "0", "--max-size", "64M")
    server.start()
    client = connect(server.address)
    results = Results(client, random)
    files = make(random, 20, 10 * KIB)
    put(client, files)
    tree = tree_of(client, files)
    results.add("//app:x", tree)
    results.add("//other:y")
    client.channel.close()
    server.stop()
    there = ["--store", str(server.store)]
    archive = work / "app.trar"
    done = run("store", "export", *there, str(archive))
    tap.equal(done.returncode, 2, "something has to be named")
    done = run(
        "store", "export", *there, "--target", "//app/...", "--inputs",
        "--json", str(archive),
    )
    report = json.loads(done.stdout or "{}")
    tap.equal(report.get("action_results"), 1, f"a result {done.stderr}")
    tap.equal(report.get("without_inputs"), 0, "with all its action needs")
    tap.equal(report.get("blobs"), 21 + 3, "toolchain, action, output")
    other = Server(far, "--workers", "0", "--max-size", "64M")
    done = run("store", "import", "--store", str(other.store), str(archive))
    tap.equal(done.returncode, 0, f"it is taken in elsewhere {done.stderr}")
    other.start()
    client = connect(other.address)
    tap.equal(results.there(client), ["//app:x"], "and served there")
    tap.equal(missing(client, [(tree, b"")]), 0, "with the toolchain")
    client.channel.close()
    other.stop()
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    done = run("store", "import", "--store", str(other.store), str(archive))
    tap.equal(done.returncode, 1, "a damaged archive is refused")
    tap.ok("archive" in done.stderr, "and it is told why", done.stderr)
    tap.equal(server.faults() + other.faults(), [], "no sanitizer has spoken")


def main() -> None:
    load_messages()
    work = work_folder()
    with Tap() as tap:
        (work / "one").mkdir()
        server = Server(work / "one", "--workers", "0", "--max-size", "64M")
        server.start()
        client = connect(server.address)
        results = Results(client, Random(80))
        removed(tap, server, results)
        client.channel.close()
        tap.equal(server.stop(), 0, "the server ends")
        idle(tap, server, results)
        repaired(tap, work / "two")
        carried(tap, work / "three")


main()
