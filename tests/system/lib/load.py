# SPDX-License-Identifier: Apache-2.0
"""Mixed load on a server that may die at any moment.

Four clients, a thread each: batches of small blobs; streams of small and
large blobs, plain and compressed; action results; reads of what was
acknowledged. All that they do follows from a seed. A call that fails ends
its client; whether it was allowed to fail, the owner decides.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from typing import Any

import grpc

from ledger import Ledger, check_contents
from remote import (
    Client,
    api,
    connect,
    digest_of,
    half_random,
    write_name,
    zstd,
)

KIB = 1 << 10
MIB = 1 << 20
_ZSTD = 1


class Load:
    """The clients of one run of the server."""

    def __init__(self, address: str, ledger: Ledger, seed: str) -> None:
        self.failures: list[grpc.RpcError] = []
        self.complaints: list[str] = []
        self._ledger = ledger
        self._stopping = threading.Event()
        self._client = connect(address)
        jobs = (_update_batch, _write_stream, _update_result, _read_back)
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(job, Random(f"{seed}/{number}")),
                daemon=True,
            )
            for number, job in enumerate(jobs)
        ]

    def start(self) -> None:
        """Let them begin."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until the server's end has ended each."""
        for thread in self._threads:
            thread.join()

    def finish(self) -> None:
        """Wait until each has ended its last call, or seen it fail."""
        self._stopping.set()
        self.join()
        self._client.channel.close()

    def _run(
        self,
        job: Callable[[Client, Ledger, Random], list[str]],
        random: Random,
    ) -> None:
        try:
            while not self._stopping.is_set():
                self.complaints += job(self._client, self._ledger, random)
        except grpc.RpcError as error:
            self.failures.append(error)


def _update_batch(client: Client, ledger: Ledger, random: Random) -> list[str]:
    compressed = random.random() < 0.25
    blobs = []
    for _ in range(random.randint(1, 40)):
        data = half_random(random, random.randint(1, 8 * KIB))
        blobs.append((digest_of(data), data))
    ledger.attempt([digest for digest, _ in blobs])
    if compressed:
        sent = [(digest, zstd.compress(data, 1)) for digest, data in blobs]
    else:
        sent = blobs
    replies = client.batch_update(sent, _ZSTD if compressed else 0)
    ledger.acknowledge(
        [each.digest for each in replies if not each.status.code]
    )
    return [
        f"BatchUpdateBlobs: {each.status.code} {each.status.message}"
        for each in replies
        if each.status.code
    ]


def _stream_size(random: Random) -> int:
    limit = random.choice((KIB, 64 * KIB, 300 * KIB, 300 * KIB, 3 * MIB))
    return random.randint(1, limit)


def _write_stream(client: Client, ledger: Ledger, random: Random) -> list[str]:
    data = half_random(random, _stream_size(random))
    digest = digest_of(data)
    compressed = random.random() < 0.33
    ledger.attempt([digest])
    sent = zstd.compress(data, 1) if compressed else data
    committed = client.write_all(
        write_name(random, digest, compressed),
        sent,
        random.choice((16 * KIB, 64 * KIB, MIB)),
    )
    if committed != len(sent):
        return [f"Write of {len(sent)} bytes committed {committed}"]
    ledger.acknowledge([digest])
    return []


def _update_result(
    client: Client, ledger: Ledger, random: Random
) -> list[str]:
    result = api.ActionResult()
    blobs = []
    for number in range(random.randint(1, 4)):
        data = half_random(random, random.randint(1, 16 * KIB))
        blobs.append((digest_of(data), data))
        result.output_files.add(path=f"out/{number}", digest=blobs[-1][0])
    ledger.attempt([digest for digest, _ in blobs])
    for reply in client.batch_update(blobs):
        if reply.status.code:
            return [f"BatchUpdateBlobs: {reply.status.message}"]
    ledger.acknowledge([digest for digest, _ in blobs])
    for _ in range(random.randint(1, 4)):
        action = digest_of(random.randbytes(32))
        client.update_result(action, result)
        ledger.acknowledge_result(action, result)
    return []


def _read_back(client: Client, ledger: Ledger, random: Random) -> list[str]:
    complaints = check_contents(client, ledger.any_blobs(random, 8))
    for action, result in ledger.any_results(random, 2):
        got: Any = client.get_result(action)
        if got.output_files != result.output_files:
            complaints.append(f"another result of {action.hash}")
    return complaints
