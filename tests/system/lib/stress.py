# SPDX-License-Identifier: Apache-2.0
"""Memory under load that is too much: the server's peak stays within a bound
made of --memory and constants, what is refused is told when to come back,
and small calls leave nothing behind. See 62-memory.sh.
"""

from __future__ import annotations

import re
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from random import Random
from typing import Any

import grpc

from process import Server, memory, sanitized, work_folder
from raw_http2 import RawRequest, ask_deaf
from remote import (
    Client,
    Outcome,
    api,
    attempt,
    bytestream,
    connect,
    digest_of,
    load_messages,
    read_name,
    write_name,
)
from tap import Tap, together

MIB = 1 << 20
BUDGET = 64 * MIB
# What the server takes beside --memory at the most: docs/operations.md says so.
BESIDE = 256 * MIB
BOUND = BUDGET + BESIDE
# Thousands of small calls may leave this much more behind.
GROWTH = 4 * MIB

CAS = "/build.bazel.remote.execution.v2.ContentAddressableStorage/"
UPDATE_PATH = CAS + "BatchUpdateBlobs"
FIND_PATH = CAS + "FindMissingBlobs"
WRITE_PATH = "/google.bytestream.ByteStream/Write"
REFLECTION_PATH = (
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
)
OK = grpc.StatusCode.OK
INVALID = grpc.StatusCode.INVALID_ARGUMENT
LATER = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
BATCHES, BATCH_MIB = 16, 12
STALLED, STALLED_BYTES = 24, 60 * MIB
# Announced in the message's header, far above what the server accepts.
ENDLESS, ENDLESS_SENT = 3 << 30, 700 * MIB
BOMB_MIB = 400
FINDERS, DIGESTS = 16, 200_000
WRITERS, WRITTEN = 64, 12 * MIB
BROKEN, BROKEN_BYTES = 256, 3 * MIB
READERS, READ = 32, 48 * MIB
CONNECTIONS = 1000
DEAF = 700
# Far less than the 20 s after which the kernel would end them.
DEAF_SECONDS = 15.0
SMALL_CALLS = 3000


class Watch:
    """The server's memory, and one fact about it for each kind of load."""

    def __init__(self, tap: Tap, server: Server) -> None:
        self._tap = tap
        self._pid = server.pid
        self._bounded = not sanitized()

    def peak(self, what: str) -> None:
        """The peak so far is within the bound."""
        peak = memory(self._pid, "VmHWM")
        self._tap.note(f"{what}: peak {peak >> 20} MiB")
        if self._bounded:
            self._tap.ok(
                peak <= BOUND,
                f"{what}: memory stays within {BOUND >> 20} MiB "
                f"(--memory + {BESIDE >> 20} MiB)",
                f"{peak >> 20} MiB",
            )

    def now(self) -> int:
        """Anonymous memory at this moment."""
        return memory(self._pid, "RssAnon")


def at_once(calls: list[Callable[[], Any]]) -> list[Outcome]:
    """Make all calls at the same time, a thread each."""
    outcomes: list[Outcome] = []
    lock = threading.Lock()

    def run(call: Callable[[], Any]) -> None:
        outcome = attempt(call)
        with lock:
            outcomes.append(outcome)

    together(*(partial(run, each) for each in calls))
    return outcomes


def judge(tap: Tap, what: str, outcomes: list[Outcome]) -> None:
    """Each call succeeded or is to be tried again; one at least succeeded."""
    done = [each for each in outcomes if each.code == OK]
    wrong = [
        f"{each.code.name}: {each.message}"
        for each in outcomes
        if each.code != OK and each.code not in LATER
    ]
    later = [each.message for each in outcomes if each.code in LATER]
    tap.note(f"{what}: {len(done)} done, {len(later)} to come back later")
    tap.ok(
        done and not wrong,
        f"{what}: all are answered or told to come back",
        *wrong[:3],
        *later[:1],
    )


def big_batches(tap: Tap, client: Client) -> None:
    """Many batches of many MiB."""
    blob = bytes(MIB)
    random = Random(1)

    def one(salt: bytes) -> Callable[[], Any]:
        pairs = []
        for number in range(BATCH_MIB):
            data = salt + bytes([number]) + blob
            pairs.append((digest_of(data), data))
        request = api.BatchUpdateBlobsRequest()
        for digest, data in pairs:
            request.requests.add(digest=digest, data=data)
        encoded = request.SerializeToString()
        return lambda: client.unary(
            UPDATE_PATH, encoded, api.BatchUpdateBlobsResponse
        )

    calls = [one(random.randbytes(8)) for _ in range(BATCHES)]
    judge(tap, f"{BATCHES} batches of {BATCH_MIB} MiB", at_once(calls))


def many_digests(tap: Tap, client: Client) -> None:
    """Many requests of many digests."""
    known = digest_of(b"known")
    client.batch_update([(known, b"known")])
    one = api.FindMissingBlobsRequest(blob_digests=[known])
    encoded = one.SerializeToString() * DIGESTS
    outcomes = at_once(
        [
            lambda: client.unary(
                FIND_PATH, encoded, api.FindMissingBlobsResponse
            )
            for _ in range(FINDERS)
        ]
    )
    judge(tap, f"{FINDERS} requests of {DIGESTS} digests", outcomes)


def _pieces(
    name: str, data: bytes, hold: threading.Event | None
) -> Iterator[Any]:
    """An upload; with an event, one that stops before its end."""
    for offset in range(0, len(data), MIB):
        last = offset + MIB >= len(data)
        if last and hold is not None:
            hold.wait()
        yield bytestream.WriteRequest(
            resource_name=name,
            write_offset=offset,
            data=data[offset : offset + MIB],
            finish_write=last,
        )


def fast_uploads(tap: Tap, client: Client, round_number: int) -> None:
    """Uploads that come faster than they can be taken in."""
    body = bytes(WRITTEN - 8)
    random = Random(f"fast/{round_number}")
    calls = []
    for _ in range(WRITERS):
        data = random.randbytes(8) + body
        name = write_name(random, digest_of(data))

        def call(name: str = name, data: bytes = data) -> int:
            return client.write(_pieces(name, data, None))

        calls.append(call)
    what = f"{WRITERS} uploads of {WRITTEN >> 20} MiB"
    judge(tap, what, at_once(calls))


def broken_uploads(tap: Tap, client: Client) -> None:
    """Uploads that turn out bad while their client still sends: the thread
    that finds out and the one that receives meet at the end of the call."""
    random = Random("broken")
    data = bytes(BROKEN_BYTES)

    def one() -> int:
        digest = digest_of(random.randbytes(100))
        digest.size_bytes = BROKEN_BYTES // 2
        name = write_name(random, digest)
        return client.write(_pieces(name, data, None))

    for _ in range(BROKEN // WRITERS):
        outcomes = at_once([one] * WRITERS)
        wrong = {each.code for each in outcomes} - {INVALID, *LATER}
        if wrong:
            break
    tap.equal(wrong, set(), f"{BROKEN} uploads of too many bytes are refused")


def stalled(tap: Tap, watch: Watch, server: Server, client: Client) -> None:
    """Writers and readers that stop, amid a thousand idle connections."""
    random = Random("stalled")
    data = random.randbytes(READ)
    digest = digest_of(data)
    client.write_all(write_name(random, digest), data)
    hold = threading.Event()
    quiet = connect(server.address, deadline=60)
    body = bytes(WRITTEN - 8)
    with ExitStack() as stack:
        host, port = server.address.rsplit(":", 1)
        for _ in range(CONNECTIONS):
            link = socket.create_connection((host, int(port)))
            stack.enter_context(link)
        reads = [quiet.open_read(read_name(digest)) for _ in range(READERS)]
        for call in reads:
            next(call)
        writes = []
        for _ in range(WRITERS):
            part = random.randbytes(8) + body
            name = write_name(random, digest_of(part))
            writes.append(quiet.open_write(_pieces(name, part, hold)))
        time.sleep(2)
        began = time.monotonic()
        fresh = random.randbytes(1000)
        pairs = [(digest_of(fresh), fresh)]
        outcome = attempt(lambda: client.batch_update(pairs)[0].status)
        took = time.monotonic() - began
        tap.ok(
            outcome.ok and outcome.value.code == 0 and took < 5,
            f"{READERS} readers and {WRITERS} writers that stopped, "
            f"{CONNECTIONS} idle connections: others are served",
            f"{took:.1f} s: {outcome.message or outcome.value}",
        )
        watch.peak("clients that stopped")
        for call in [*reads, *writes]:
            call.cancel()
        hold.set()
    quiet.channel.close()


def small_calls(client: Client) -> None:
    """Many small calls of several kinds, good and bad."""
    random = Random("small")
    for _ in range(SMALL_CALLS // 6):
        data = random.randbytes(100)
        digest = digest_of(data)
        client.find_missing([digest])
        client.batch_update([(digest, data)])
        client.batch_read([digest])
        client.read(read_name(digest))
        attempt(lambda each=digest: client.get_result(each))
        attempt(lambda: client.read("no/such/name"))


def stalled_requests(
    tap: Tap, watch: Watch, server: Server, client: Client
) -> None:
    """Large messages whose last byte never comes, to methods of every shape,
    and one without an end. gRPC assembles them before the server hears of
    them; those that stopped longest ago give way."""
    paths = (UPDATE_PATH, WRITE_PATH, REFLECTION_PATH, "/no.such/Method")
    random = Random("stalled requests")
    calls = []
    refused = []
    for number in range(STALLED):
        path = paths[number % len(paths)]
        calls.append(RawRequest(server.address, path, STALLED_BYTES))
        calls[-1].stall(STALLED_BYTES)
        data = random.randbytes(1000)
        outcome = attempt(
            lambda each=data: client.batch_update([(digest_of(each), each)])
        )
        if outcome.code != OK:
            refused.append(f"{outcome.code.name}: {outcome.message}")
    calls.append(RawRequest(server.address, FIND_PATH, ENDLESS))
    sent = calls[-1].stall(ENDLESS_SENT)
    watch.peak(f"{STALLED} messages of {STALLED_BYTES >> 20} MiB without end")
    tap.ok(
        sent < ENDLESS_SENT,
        "a message that goes on for ever is ended by the server",
        f"{sent >> 20} MiB were taken",
    )
    tap.equal(refused, [], "others are served meanwhile")
    squeezed = zlib.compressobj(1, wbits=31)
    bomb = b"".join(squeezed.compress(bytes(MIB)) for _ in range(BOMB_MIB))
    bomb += squeezed.flush()
    calls.append(RawRequest(server.address, FIND_PATH, len(bomb), "gzip"))
    calls[-1].send(bomb)
    watch.peak(f"a message of {BOMB_MIB} MiB compressed by gRPC")
    data = random.randbytes(8 * MIB)
    outcome = attempt(
        lambda: client.batch_update([(digest_of(data), data)])[0].status.code
    )
    tap.ok(
        outcome.ok and outcome.value == 0,
        "and so is a large batch",
        outcome.message or outcome.value,
    )
    for call in calls:
        call.close()
    log = server.log.read_text(encoding="utf-8", errors="replace")
    for path in (UPDATE_PATH, WRITE_PATH, REFLECTION_PATH):
        tap.like(
            log,
            rf"method={path} status=RESOURCE_EXHAUSTED .* peer=ipv4:127",
            f"{path.split('/')[-1]}: the log tells of calls that gave way",
        )


def deaf_readers(
    tap: Tap, watch: Watch, server: Server, client: Client
) -> None:
    """Connections that ask for a large blob and read nothing. What gRPC has
    begun to send to each stays in memory as long as the connection does."""
    random = Random("deaf")
    data = random.randbytes(READ)
    digest = digest_of(data)
    client.write_all(write_name(random, digest), data)
    calls = [ask_deaf(server.address, read_name(digest)) for _ in range(DEAF)]
    end = time.monotonic() + DEAF_SECONDS
    ended = False
    while not ended and time.monotonic() < end:
        time.sleep(0.5)
        log = server.log.read_text(encoding="utf-8", errors="replace")
        ended = bool(re.search(r"memory_short .* connections_ended=[1-9]", log))
    tap.ok(ended, "connections whose peer reads nothing are ended")
    small = random.randbytes(1000)
    outcome = attempt(
        lambda: client.batch_update([(digest_of(small), small)])[0].status.code
    )
    tap.ok(
        outcome.ok and outcome.value == 0,
        "others are served meanwhile",
        outcome.message or outcome.value,
    )
    watch.peak(f"{DEAF} connections that read nothing")
    for call in calls:
        call.close()


def deaf_on_a_unix_socket(tap: Tap) -> None:
    """The same over a unix socket, of which less is known."""
    work = work_folder()
    server = Server(work, "--workers", "0", "--memory", str(BUDGET))
    server.listen = f"unix:{work}/socket"
    server.start()
    client = connect(server.address, deadline=60)
    deaf_readers(tap, Watch(tap, server), server, client)
    client.channel.close()
    tap.equal(server.stop(), 0, "unix socket: the server ends when asked")


def main() -> None:
    """The loads one after the other, the most of them twice."""
    load_messages()
    server = Server(work_folder(), "--workers", "0", "--memory", str(BUDGET))
    with Tap() as tap:
        server.start()
        client = connect(server.address, deadline=60)
        watch = Watch(tap, server)
        small_calls(client)
        before = watch.now()
        small_calls(client)
        after = watch.now()
        if not sanitized():
            tap.ok(
                after - before <= GROWTH,
                f"{SMALL_CALLS} more small calls leave nothing behind",
                f"{after - before} bytes",
            )
        watch.peak("small calls")
        for round_number in (1, 2):
            big_batches(tap, client)
            watch.peak("big batches")
            many_digests(tap, client)
            watch.peak("many digests")
            fast_uploads(tap, client, round_number)
            watch.peak("fast uploads")
        broken_uploads(tap, client)
        stalled(tap, watch, server, client)
        small_calls(client)
        if sanitized():
            tap.skip(
                "messages without end are bounded",
                "the guard cannot see into a sanitizer's allocator",
            )
        else:
            stalled_requests(tap, watch, server, client)
            deaf_readers(tap, watch, server, client)
            deaf_on_a_unix_socket(tap)
        client.channel.close()
        tap.equal(server.stop(), 0, "the server ends when asked")
        tap.equal(server.faults(), [], "no sanitizer found a fault")


if __name__ == "__main__":
    main()
