# SPDX-License-Identifier: Apache-2.0
"""Quotas and floors of instances. See 83-quotas.sh."""

from __future__ import annotations

import json
import time
import urllib.request
from random import Random

from collect import KIB, MIB, USAGE, Blobs, age, make, missing, put, run
from process import Server, StartError, work_folder
from remote import Client, api, connect, digest_of, load_messages
from tap import Tap

PATIENCE_SECONDS = 30.0
QUOTA = 6 * MIB
FLOOR = 4 * MIB


def result_of(client: Client, blobs: Blobs) -> tuple[object, object]:
    """An action result that names these files; the action's digest."""
    action = digest_of(b"an action of this instance")
    result = api.ActionResult()
    for number, (digest, _) in enumerate(blobs):
        result.output_files.add(path=f"out/{number}", digest=digest)
    return action, client.update_result(action, result)


def metric(server: Server, name: str, instance: str) -> int:
    """A series by instance; -1 when there is none."""
    url = f"http://{server.http}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f'{name}{{instance="{instance}"}} '):
                return int(float(line.split()[-1]))
    return -1


def put_patiently(client: Client, blobs: Blobs) -> list[str]:
    """Uploads until all is taken or a refusal says that waiting is no use."""
    end = time.monotonic() + PATIENCE_SECONDS
    refusals = put(client, blobs)
    while refusals and time.monotonic() < end:
        if any("min-age promises" in refusal for refusal in refusals):
            break
        time.sleep(0.2)
        refusals = put(client, blobs)
    return refusals


def settings(tap: Tap, server: Server) -> None:
    """What makes no sense is refused at the start."""
    good = server.options
    for option, why in (
        ("--instance-quota=greedy", "is not NAME=SIZE"),
        ("--instance-quota=greedy=1M", "has one already"),
        ("--instance-floor=greedy=5M", "of its instance-quota of 6291456"),
        ("--instance-floor=x=20M", "more than gc-low leaves"),
        (f"--instance-quota={900 * 'x'}=1M", "the name has 900 bytes"),
    ):
        server.options = [*good, option]
        try:
            server.start()
            told = "it started"
            server.stop()
        except StartError as error:
            told = str(error)
        tap.ok(why in told, f"{option}: {why}", told[-300:])
    server.options = good


def at_quota(tap: Tap, server: Server, greedy: Client, first: Blobs) -> None:
    """An instance that writes more than its quota."""
    random = Random(831)
    young = make(random, 130, 20 * KIB)
    tap.equal(put_patiently(greedy, young), [], "room is made in its quota")
    tap.ok(missing(greedy, first) > 20, "of its own oldest")
    refusals: list[str] = []
    for _ in range(10):
        refusals = put_patiently(greedy, make(random, 50, 20 * KIB))
        if refusals:
            break
    tap.ok(
        refusals
        and 'quota of instance "greedy" is full: limit 6291456 bytes, in use'
        in refusals[-1]
        and "min-age promises 10800 s" in refusals[-1],
        "when all of it is young, a refusal names instance, quota and age",
        *refusals[-1:],
    )
    tap.equal(missing(greedy, young), 0, "and nothing young went")
    tap.ok(
        0 < metric(server, "toolroot_store_instance_bytes", "greedy") <= QUOTA,
        "its use is a metric, and below its quota",
    )
    tap.equal(
        metric(server, "toolroot_store_instance_quota_bytes", "greedy"),
        QUOTA,
        "so is the quota",
    )


def flooded(
    tap: Tap, server: Server, modest: Client, own: Blobs, action: object
) -> None:
    """Somebody else fills the store."""
    other = connect(server.address, instance="flood")
    random = Random(832)
    refusals: list[str] = []
    for _ in range(40):
        refusals = put_patiently(other, make(random, 8, 256 * KIB))
        if refusals:
            break
    tap.ok(
        refusals and "the store is full" in refusals[-1],
        "a flood fills the store",
        *refusals[-1:],
    )
    tap.equal(
        metric(server, "toolroot_store_instance_bytes", "flood"),
        -1,
        "who has no limits has no series",
    )
    there = ["--server", f"grpc://{server.address}"]
    plan = json.loads(run("gc", *there, "--max-size", "0", "--json").stdout)
    uses = {use["instance"]: use for use in plan["uses"]}
    tap.ok(
        uses["modest"]["floor_bytes"] == FLOOR
        and uses["greedy"]["quota_bytes"] == QUOTA
        and uses["flood"]["bytes"] > 10 * MIB,
        "a plan tells what each has",
        plan["uses"],
    )
    tap.ok(plan["floor_bytes"] > 2 * MIB, "and what floors keep", plan)
    run("gc", *there, "--max-size", "0", "--run")
    stats = json.loads(run("store", "stats", *there, "--json").stdout)
    uses = {use["instance"]: use for use in stats["instances"]}
    tap.ok(
        uses["modest"]["floor_bytes"] == FLOOR and stats["blobs"] > 0,
        "store stats asks a server",
        stats["instances"],
    )
    own_view = run("store", "stats", "--store", str(server.store), "--json")
    tap.equal(
        json.loads(own_view.stdout)["instances"],
        stats["instances"],
        "and reads its directory beside it",
    )
    tap.equal(missing(modest, own), 0, "a floor keeps blobs not used for days")
    answer = modest.get_result(action)
    tap.equal(len(answer.output_files), 20, "and the results that name them")
    other.channel.close()


def asked_for(tap: Tap, server: Server) -> None:
    """The commands, on the store of no server."""
    there = ["--store", str(server.store)]
    stats = json.loads(run("store", "stats", *there, "--json").stdout)
    uses = {use["instance"]: use for use in stats["instances"]}
    tap.ok(
        uses["greedy"]["quota_bytes"] == QUOTA
        and uses["modest"]["blobs"] >= 120
        and uses["modest"]["action_results"] == 1,
        "store stats knows them without the server",
        stats["instances"],
    )
    age(server.store, 48)
    done = run("gc", *there, "--instance", "flood")
    tap.ok(
        done.returncode == USAGE and '"flood" has no quota' in done.stderr,
        "without a quota an instance is collected by a bound",
        done.stderr,
    )
    done = run("gc", *there, "--instance", "typo", "--free", "2M", "--run")
    tap.ok(
        done.returncode == 1
        and 'no instance "typo" has ever written here' in done.stderr
        and "`toolroot gc`" in done.stderr,
        "an instance that nobody has is an error",
        done.returncode,
        done.stderr,
    )
    done = run(
        "gc", *there, "--instance", "flood", "--free", "2M", "--run", "--json"
    )
    report = json.loads(done.stdout)
    tap.ok(
        done.returncode == 0
        and 2 * MIB
        <= report["bytes_before"] - report["bytes_after"]
        < 3 * MIB,
        "one instance alone loses so much",
        report,
    )
    text = run("gc", *there, "--instance", "greedy", "--max-age", "1d").stdout
    tap.ok("quota 6.0 MiB" in text, "a plan names its quota", text)


def main() -> None:
    load_messages()
    random = Random(83)
    with Tap() as tap:
        server = Server(
            work_folder(),
            *("--workers", "0", "--max-size", "24M", "--log-level", "warn"),
            *("--instance-quota", "greedy=6M"),
            *("--instance-floor", "modest=4M"),
        )
        settings(tap, server)
        server.start()
        modest = connect(server.address, instance="modest")
        greedy = connect(server.address, instance="greedy")
        own = make(random, 120, 20 * KIB) + make(random, 3, 300 * KIB)
        first = make(random, 200, 20 * KIB)
        tap.equal(put(modest, own) + put(greedy, first), [], "both write")
        action, _ = result_of(modest, own[:20])
        for client in (modest, greedy):
            client.channel.close()
        server.stop()
        age(server.store, 48)
        server.start()
        modest = connect(server.address, instance="modest")
        greedy = connect(server.address, instance="greedy")
        at_quota(tap, server, greedy, first)
        flooded(tap, server, modest, own, action)
        for client in (modest, greedy):
            client.channel.close()
        tap.equal(server.stop(), 0, "the server ends")
        asked_for(tap, server)
        tap.equal(server.faults(), [], "no sanitizer has spoken")


if __name__ == "__main__":
    main()
