# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments under mixed load: nothing acknowledged is lost,
nothing torn is ever visible. In some rounds the segment that is written to
gets a torn tail, as after a power cut. See 60-kill.sh.
"""

from __future__ import annotations

import os
import time
from random import Random

import grpc

from ledger import Ledger, check_contents
from load import Load
from process import Server, sanitized, work_folder
from remote import Client, connect, load_messages
from tap import Tap

# A call cut off by the end of its server.
CUT_OFF = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
LOAD_SECONDS = (0.0, 0.08)
START_SECONDS = (0.0, 0.05)
# Generous: sanitizers, and a busy machine.
RESULT_SECONDS = 60.0
COMPLAINTS_MAX = 20
SAMPLE = 10


class Rounds:
    """Rounds of load, kill, restart and check on one store."""

    def __init__(self, server: Server, seed: str) -> None:
        self.server = server
        self.seed = seed
        self.ledger = Ledger()
        self.complaints: list[str] = []
        self.ready_ms: list[float] = []
        self.killed_early = 0
        self.torn = 0
        self.cut_off = 0

    def run(self, number: int) -> None:
        """One round; the server runs before and after."""
        random = Random(f"{self.seed}/{number}")
        blobs, results = len(self.ledger.blobs), len(self.ledger.results)
        self._load_and_kill(random, f"{self.seed}/{number}")
        if random.random() < 0.2:
            self._tear(random)
        if random.random() < 0.1:
            self._kill_while_starting(random)
        self.server.start()
        self.ready_ms.append(self.server.ready_ms)
        client = connect(self.server.address)
        found = self.ledger.check_present(client)
        found += self.ledger.check_tried(client)
        fresh = self.ledger.blobs[blobs:]
        older = self.ledger.any_blobs(random, SAMPLE)
        sample = random.sample(fresh, min(SAMPLE, len(fresh))) + older
        found += check_contents(client, sample)
        chosen = list(self.ledger.results.values())[results:]
        chosen += self.ledger.any_results(random, SAMPLE)
        found += self.ledger.check_results(client, chosen)
        client.channel.close()
        self.complaints += [f"round {number}: {each}" for each in found]

    def _load_and_kill(self, random: Random, seed: str) -> None:
        load = Load(self.server.address, self.ledger, seed)
        load.start()
        if random.random() < 0.5:
            self._wait_for_result()
        time.sleep(random.uniform(*LOAD_SECONDS))
        if not self.server.running():
            self.complaints.append("the server ended by itself")
        self.server.kill()
        load.finish()
        self.complaints += load.complaints
        for failure in load.failures:
            self.cut_off += 1
            if failure.code() not in CUT_OFF:
                self.complaints.append(
                    f"{failure.code().name}: {failure.details()}"
                )

    def _wait_for_result(self) -> None:
        """A slow machine also gets to what is written last."""
        results = len(self.ledger.results)
        end = time.monotonic() + RESULT_SECONDS
        while len(self.ledger.results) == results and time.monotonic() < end:
            time.sleep(0.001)

    def _tear(self, random: Random) -> None:
        """What a power cut can leave behind the last acknowledged record:
        zeros, garbage, or the beginning of a record that looks good."""
        segments = sorted((self.server.store / "segments").iterdir())
        if not segments:
            return
        with segments[-1].open("r+b") as file:
            whole = file.read()
            size = random.randint(1, 5000)
            file.write(
                random.choice(
                    (bytes(size), random.randbytes(size), whole[:size])
                )
            )
        self.torn += 1

    def _kill_while_starting(self, random: Random) -> None:
        self.server.spawn()
        time.sleep(random.uniform(*START_SECONDS))
        self.server.kill()
        self.killed_early += 1

    def check_all(self, client: Client) -> list[str]:
        """Every acknowledged byte and result, read back."""
        found = self.ledger.check_present(client)
        found += check_contents(client, self.ledger.blobs)
        found += self.ledger.check_results(
            client, list(self.ledger.results.values())
        )
        return found


def report(tap: Tap, rounds: Rounds, began: float) -> None:
    """Figures for people."""
    ledger = rounds.ledger
    ready = sorted(rounds.ready_ms)
    total = sum(digest.size_bytes for digest in ledger.blobs)
    tap.note(
        f"{len(ledger.blobs)} blobs of {total >> 20} MiB and "
        f"{len(ledger.results)} results acknowledged, {rounds.cut_off} "
        f"calls cut off, {rounds.killed_early} kills while starting, "
        f"{rounds.torn} torn tails"
    )
    tap.note(
        f"ready after {ready[len(ready) // 2]:.0f} ms (median), "
        f"{ready[-1]:.0f} ms (longest); "
        f"{time.monotonic() - began:.1f} s in all"
    )


def main() -> None:
    """Run the rounds that ROUNDS and SEED ask for."""
    wanted = int(os.environ.get("ROUNDS", "30" if sanitized() else "300"))
    seed = os.environ.get("SEED") or str(int.from_bytes(os.urandom(4), "big"))
    began = time.monotonic()
    load_messages()
    with Tap() as tap:
        tap.note(f"SEED={seed} ROUNDS={wanted} tries the same again")
        server = Server(work_folder(), "--workers", "0")
        server.start()
        rounds = Rounds(server, seed)
        for number in range(1, wanted + 1):
            rounds.run(number)
            if len(rounds.complaints) > COMPLAINTS_MAX:
                break
        tap.ok(
            not rounds.complaints,
            f"{number} kills, and after each all that was acknowledged is "
            f"there and nothing is torn",
            f"SEED={seed}",
            *rounds.complaints[:COMPLAINTS_MAX],
        )
        tap.ok(
            len(rounds.ledger.blobs) > 2 * wanted
            and len(rounds.ledger.results) > wanted // 4
            and rounds.cut_off > wanted // 2,
            "the load was on when the server was killed",
            f"{len(rounds.ledger.blobs)} blobs, {rounds.cut_off} cut off",
        )
        client = connect(server.address)
        found = rounds.check_all(client)
        client.channel.close()
        tap.ok(not found, "in the end every byte of it reads back", *found[:9])
        tap.equal(server.stop(), 0, "the server ends when asked")
        tap.equal(server.faults(), [], "no sanitizer found a fault")
        report(tap, rounds, began)


if __name__ == "__main__":
    main()
