# SPDX-License-Identifier: Apache-2.0
"""`toolroot gc` and `toolroot store`, and the server that collects by itself.
See 80-gc.sh.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from random import Random
from typing import Any

from process import Server, build_folder, program, work_folder
from remote import Client, api, batches, connect, digest_of, load_messages
from tap import Tap

KIB = 1 << 10
MIB = 1 << 20
USAGE, SHORT = 2, 3
PATIENCE_SECONDS = 30.0
Blobs = list[tuple[Any, bytes]]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`toolroot ARGUMENTS...`."""
    return subprocess.run(
        [str(program()), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def age(store: Path, hours: int) -> None:
    """As if nobody had used the store for so long."""
    tool = build_folder() / "tests/system/age_store"
    subprocess.run([str(tool), str(store), str(hours)], check=True)


def make(random: Random, count: int, size: int) -> Blobs:
    """So many blobs of random bytes."""
    made = [random.randbytes(size) for _ in range(count)]
    return [(digest_of(data), data) for data in made]


def put(client: Client, blobs: Blobs) -> list[str]:
    """Upload; what went wrong."""
    known = {digest.hash: data for digest, data in blobs}
    complaints = []
    for batch in batches(digest for digest, _ in blobs):
        pairs = [(digest, known[digest.hash]) for digest in batch]
        for reply in client.batch_update(pairs):
            if reply.status.code:
                complaints.append(reply.status.message)
    return complaints


def missing(client: Client, blobs: Blobs) -> int:
    """How many are not there."""
    return len(client.find_missing([digest for digest, _ in blobs]))


def tree_of(client: Client, blobs: Blobs) -> Any:
    """A Directory of these files, uploaded; its digest."""
    directory = api.Directory()
    for number, (digest, _) in enumerate(blobs):
        directory.files.add(name=f"{number:04}", digest=digest)
    data = directory.SerializeToString()
    put(client, [(digest_of(data), data)])
    return digest_of(data)


def text_of(digest: Any) -> str:
    """HASH/SIZE."""
    return f"{digest.hash}/{digest.size_bytes}"


def planned_and_run(tap: Tap, server: Server) -> None:
    """The command on a running server."""
    random = Random(80)
    server.start()
    client = connect(server.address)
    old, kept = make(random, 300, 20 * KIB), make(random, 20, 20 * KIB)
    large = make(random, 5, 400 * KIB)
    tap.ok(not put(client, old + kept + large), "blobs are stored")
    root = tree_of(client, kept)
    there = ["--server", f"grpc://{server.address}"]
    done = run("store", "pin", *there, "toolchain x", text_of(root))
    tap.equal(done.returncode, 0, f"a tree is pinned {done.stderr}")
    absent = digest_of(b"never uploaded")
    done = run("store", "pin", *there, "--blob", "y", text_of(absent))
    tap.equal(done.returncode, 1, "what is absent cannot be")
    tap.ok(absent.hash in done.stderr, "and is named", done.stderr)
    client.channel.close()
    tap.equal(server.stop(), 0, "the server ends")
    age(server.store, 48)
    server.start()
    client = connect(server.address)
    young = make(random, 30, 20 * KIB)
    put(client, young)
    listed = run("store", "pins", *there).stdout
    tap.ok("toolchain x" in listed and root.hash in listed, "pins last", listed)

    done = run("gc", *there, "--max-size", "0", "--json")
    plan = json.loads(done.stdout)
    tap.equal(plan["blobs"], 305, "a plan counts what is old")
    tap.equal(plan["large_blobs"], 5, "and the large among it")
    tap.equal(plan["pinned_blobs"], 21, "what is pinned")
    tap.equal(plan["young_blobs"], 30, "and what is too young")
    tap.equal(done.returncode, SHORT, "that size cannot be reached: exit 3")
    tap.equal(
        [(entry["kind"], entry["name"]) for entry in plan["kept"]][:1],
        [("pin", "toolchain x")],
        "what is kept, and why, is named",
    )
    text = run("gc", *there, "--free", "1M").stdout
    tap.ok("Nothing was changed" in text, "without --run it only tells", text)

    done = run("gc", *there, "--max-size", "0", "--run", "--json")
    report = json.loads(done.stdout)
    tap.equal(report["blobs"], 305, "a run drops it")
    watch = client.channel.unary_unary(
        "/toolroot.admin.v1.Admin/WatchCollection"
    )
    tap.ok(
        watch(b"", timeout=10).startswith(b"\x08\x05"),
        "who watches is told that it has ended",
    )
    tap.ok(report["youngest_age_ms"] > 47 * 3600 * 1000, "all of it old")
    tap.equal(missing(client, old + large), 305, "it is gone")
    tap.equal(missing(client, kept + young), 0, "the rest is there")
    tap.ok(report["bytes_after"] < 3 * MIB, "and the bytes are free", report)
    tap.ok(not put(client, old[:10]), "what went can come back")
    done = run("store", "unpin", *there, "toolchain x")
    tap.equal(done.returncode, 0, "a pin is removed")
    done = run("store", "unpin", *there, "toolchain x")
    tap.equal(done.returncode, 1, "but once")
    done = run("gc", *there, "--free", "1M", "--max-size", "1M")
    tap.equal(done.returncode, 2, "--free and --max-size exclude each other")
    tap.equal(run("gc", "--no-such").returncode, USAGE, "usage is exit 2")
    done = run("gc", "--store", str(server.store))
    tap.equal(done.returncode, 1, "a store that is in use is refused")
    tap.ok(str(server.pid) in done.stderr, "by the process", done.stderr)
    client.channel.close()
    tap.equal(server.stop(), 0, "the server ends")


def offline(tap: Tap, server: Server) -> None:
    """The command on the store alone."""
    age(server.store, 100)
    there = ["--store", str(server.store)]
    done = run("gc", *there, "--max-age", "3d", "--run", "--json")
    report = json.loads(done.stdout)
    tap.equal(done.returncode, 0, f"by age, without a server {done.stderr}")
    tap.ok(report["blobs"] >= 40, "all of it", report)
    stats = run("store", "stats", *there)
    tap.ok(stats.stdout.startswith("blobs     0,"), "none is left", stats)


def flipped(tap: Tap, server: Server) -> None:
    """Checks."""
    random = Random(81)
    server.start()
    client = connect(server.address)
    small, large = make(random, 50, 5 * KIB), make(random, 3, 300 * KIB)
    put(client, small + large)
    there = ["--store", str(server.store)]
    # What waits in the log is not looked at.
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        done = run("store", "check", *there, "--json")
        report = json.loads(done.stdout or "{}")
        if report.get("blobs") == 53 or time.monotonic() > end:
            break
        time.sleep(0.2)
    tap.equal(done.returncode, 0, f"a good store passes {done.stderr}")
    tap.equal(report.get("blobs"), 53, "beside the server")
    parts = [
        json.loads(
            run("store", "check", *there, "--json", "--part", f"{n}/4").stdout
        )["blobs"]
        for n in range(1, 5)
    ]
    tap.equal(sum(parts), 53, "in parts it sees each blob once")
    client.channel.close()
    server.stop()

    path = next(server.store.glob(f"blobs/sha256/*/{large[0][0].hash}"))
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[1000] ^= 4
    path.write_bytes(data)
    segment = sorted(server.store.glob("segments/*"))[-1]
    data = bytearray(segment.read_bytes())
    at = data.find(small[7][1])
    data[at + 10] ^= 1
    segment.write_bytes(data)
    (server.store / "blobs/sha256/00").mkdir(exist_ok=True)
    stray = server.store / "blobs/sha256/00" / ("00" * 32)
    stray.write_bytes(b"left by a crash")
    done = run("store", "check", *there, "--json")
    report = json.loads(done.stdout or "{}")
    tap.equal(done.returncode, 1, "flipped bits fail the check")
    tap.equal(report.get("bad"), 2, "both are found")
    tap.ok(
        large[0][0].hash in done.stderr and small[7][0].hash in done.stderr,
        "and named",
        done.stderr,
    )
    tap.equal(report.get("strays"), 1, "so is a file that nothing names")


def by_itself(tap: Tap, work: Path) -> None:
    """A server that fills up."""
    random = Random(82)
    work.mkdir()
    server = Server(work, "--workers", "0", "--max-size", "16M")
    server.start()
    client = connect(server.address)
    old = make(random, 600, 20 * KIB)
    put(client, old)
    client.channel.close()
    server.stop()
    age(server.store, 48)
    server.start()
    client = connect(server.address)
    young = make(random, 300, 20 * KIB)
    end = time.monotonic() + PATIENCE_SECONDS
    refusals = put(client, young)
    while refusals and time.monotonic() < end:
        time.sleep(0.2)
        refusals = put(client, young)
    tap.ok(not refusals, "room is made for what comes", *refusals[:1])
    tap.equal(missing(client, young), 0, "all that came is there")
    tap.ok(missing(client, old) > 100, "at the cost of what is old")
    refusals = put(client, make(random, 900, 20 * KIB))
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        refusals = put(client, make(random, 100, 20 * KIB))
        if refusals and "min-age" in refusals[-1]:
            break
        time.sleep(0.5)
    tap.ok(
        refusals and "min-age promises 10800 s" in refusals[-1],
        "when all is young, a refusal names what it would break",
        *refusals[-1:],
    )
    tap.equal(missing(client, young), 0, "and breaks nothing")
    client.channel.close()
    tap.equal(server.stop(), 0, "the server ends")
    tap.equal(server.faults(), [], "no sanitizer has spoken")


def main() -> None:
    load_messages()
    work = work_folder()
    with Tap() as tap:
        (work / "one").mkdir()
        server = Server(work / "one", "--workers", "0", "--max-size", "64M")
        planned_and_run(tap, server)
        offline(tap, server)
        flipped(tap, server)
        by_itself(tap, work / "two")


if __name__ == "__main__":
    main()
