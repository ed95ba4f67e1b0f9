# SPDX-License-Identifier: Apache-2.0
"""Starting, ending and starting again: what is ready at once, what is refused
and with which words, what SIGTERM does under load. See 64-restart.sh.
"""

from __future__ import annotations

import os
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from random import Random

import grpc

from ledger import Ledger, check_contents
from load import Load
from process import Server, memory, refused, sanitized, work_folder
from raw_http2 import RawRequest, deaf_read
from remote import (
    connect,
    digest_of,
    load_messages,
    read_name,
    write_name,
)
from tap import Tap

CAS = "/build.bazel.remote.execution.v2.ContentAddressableStorage/"
UPDATE_PATH = CAS + "BatchUpdateBlobs"
REFLECTION_PATH = (
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
)
READ_PATH = "/google.bytestream.ByteStream/Read"
MIB = 1 << 20
DEAF_BYTES = 16 * MIB
MANY = 200_000
BATCH = 10_000
USAGE, FAILURE = 2, 1
GRACE_SECONDS = 25
# Until the first of a load is acknowledged.
LOAD_SECONDS = 60.0
# A start reads no more than this from files, however large the store.
START_READS = 2 * MIB
START_MEMORY = 24 * MIB
START_CPU_MS = 1000
# The index lags by at most 65,536 records (docs/store-format.md).
TAIL_MEMORY = 64 * MIB
ENDED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def reads(pid: int) -> int:
    """Bytes that a process has read with system calls."""
    text = Path(f"/proc/{pid}/io").read_text(encoding="ascii")
    return int(text.split()[1])


def cpu_ms(pid: int) -> int:
    """Processor time of a process so far, which other programs do not change
    much."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) * 1000 // os.sysconf("SC_CLK_TCK")


def fill(server: Server, ledger: Ledger, count: int) -> list[str]:
    """Store many small blobs; complaints, if any."""
    client = connect(server.address)
    complaints = []
    for first in range(0, count, BATCH):
        pairs = []
        for number in range(first, min(first + BATCH, count)):
            data = b"one of many: %d" % number
            pairs.append((digest_of(data), data))
        for reply in client.batch_update(pairs):
            if reply.status.code:
                complaints.append(reply.status.message)
        ledger.acknowledge([digest for digest, _ in pairs])
    client.channel.close()
    return complaints


def large_store(tap: Tap, server: Server) -> None:
    """A store of many blobs is ready at once."""
    count = MANY // 10 if sanitized() else MANY
    ledger = Ledger()
    server.start()
    empty_ms, empty_reads = server.ready_ms, reads(server.pid)
    empty_rss = memory(server.pid, "VmRSS")
    complaints = fill(server, ledger, count)
    tap.ok(not complaints, f"{count} small blobs are taken", *complaints[:3])
    limit = START_CPU_MS * (10 if sanitized() else 1)
    server.kill()
    server.start()
    took = cpu_ms(server.pid)
    tap.ok(
        took < limit,
        "after a kill it is ready at once",
        f"{took} ms of processor time, {server.ready_ms:.0f} ms",
    )
    if not sanitized():
        tail_rss = memory(server.pid, "VmRSS") - empty_rss
        tap.ok(
            tail_rss < TAIL_MEMORY,
            "what the tail of the log takes in memory is bounded",
            f"{tail_rss} bytes more",
        )
    tap.equal(server.stop(), 0, "it ends cleanly with all of them")
    server.start()
    more_reads = reads(server.pid) - empty_reads
    more_rss = memory(server.pid, "VmRSS") - empty_rss
    tap.note(
        f"ready after {empty_ms:.0f} ms when empty, {server.ready_ms:.0f} "
        f"ms with {count} blobs; {more_reads} bytes more read, "
        f"{more_rss >> 10} KiB more memory"
    )
    tap.ok(more_reads < START_READS, "it scans nothing", f"{more_reads} bytes")
    if not sanitized():
        tap.ok(
            more_rss < START_MEMORY,
            "its memory does not depend on the number of blobs",
            f"{more_rss} bytes more",
        )
    client = connect(server.address)
    missing = ledger.check_present(client)
    tap.equal(missing[:3], [], "all of them are there")
    sample = ledger.any_blobs(Random(64), 5000)
    tap.equal(check_contents(client, sample)[:3], [], "and whole")
    client.channel.close()


def second_server(tap: Tap, server: Server) -> None:
    """What the running one holds cannot be taken."""
    status, text = refused(
        "serve", "--workers", "0", "--store", str(server.store),
        "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0",
    )  # fmt: skip
    tap.equal(status, FAILURE, "a second server on the store is refused")
    tap.ok(
        str(server.pid) in text and str(server.store) in text,
        "the text names the process that has the store, and the store",
        text,
    )
    other = str(server.store) + ".other"
    for option, address in (
        ("--listen", server.listen),
        ("--http", server.http),
    ):
        ports = {"--listen": "127.0.0.1:0", "--http": "127.0.0.1:0"}
        ports[option] = address
        arguments = [each for pair in ports.items() for each in pair]
        status, text = refused(
            "serve", "--workers", "0", "--store", other, *arguments
        )
        tap.equal(status, FAILURE, f"{option}: a port in use is refused")
        tap.ok(
            address.split(":")[1] in text,
            f"{option}: the text names the port",
            text,
        )
    client = connect(server.address)
    tap.equal(
        len(client.find_missing([digest_of(b"not there")])),
        1,
        "the first server has not noticed",
    )
    client.channel.close()


def stop_under_load(tap: Tap, server: Server) -> None:
    """SIGTERM and SIGINT while all kinds of calls run."""
    for number in (signal.SIGTERM, signal.SIGINT):
        name = signal.Signals(number).name
        ledger = Ledger()
        load = Load(server.address, ledger, f"stop/{name}")
        load.start()
        end = time.monotonic() + LOAD_SECONDS
        while not ledger.blobs and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.5)
        server.signal(number)
        began = time.monotonic()
        load.join()
        status = server.wait()
        took = time.monotonic() - began
        load.finish()
        tap.equal(status, 0, f"{name} under load: exit status 0")
        tap.ok(
            took < GRACE_SECONDS,
            f"{name} under load: before the grace ends",
            f"{took:.1f} s",
        )
        wrong = [
            f"{failure.code().name}: {failure.details()}"
            for failure in load.failures
            if failure.code() not in ENDED
        ]
        tap.equal(
            wrong + load.complaints,
            [],
            f"{name} under load: calls end well or are UNAVAILABLE",
        )
        server.start()
        client = connect(server.address)
        found = ledger.check_present(client)
        found += ledger.check_tried(client)
        found += ledger.check_results(client, list(ledger.results.values()))
        tap.ok(
            ledger.blobs and not found,
            f"{name} under load: what was acknowledged is there",
            *found[:5],
        )
        client.channel.close()


def readiness(server: Server) -> int:
    """The status of /readyz."""
    try:
        with urllib.request.urlopen(
            f"http://{server.http}/readyz", timeout=5
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def stop_with_silent_clients(tap: Tap, work: Path) -> None:
    """Clients that leave a request half sent, or ask nothing more."""
    work.mkdir()
    server = Server(work, "--workers", "0", "--shutdown-grace", "2s")
    server.start()
    tap.equal(readiness(server), 200, "silent clients: it is ready")
    half = RawRequest(server.address, UPDATE_PATH, MIB)
    half.stall(1000)
    half.settle()
    silent = RawRequest(server.address, REFLECTION_PATH, 100)
    silent.settle()
    server.signal(signal.SIGTERM)
    seen = 200
    while seen == 200:
        seen = readiness(server)
    tap.equal(seen, 503, "silent clients: at SIGTERM it is not ready at once")
    tap.equal(server.wait(), 0, "silent clients: it ends after the grace")
    half.close()
    silent.close()
    log = server.log.read_text(encoding="utf-8")
    for path in (UPDATE_PATH, REFLECTION_PATH):
        tap.like(
            log,
            rf"method={path} status=UNAVAILABLE .* peer=ipv4:127",
            f"silent clients: the log tells of {path.split('/')[-1]}",
        )
    server.options[-1] = "1h"
    server.start()
    silent = RawRequest(server.address, REFLECTION_PATH, 100)
    silent.settle()
    tap.equal(server.stop(), 0, "a reflection stream holds nothing up")
    silent.close()


def stop_with_deaf_client(tap: Tap, work: Path) -> None:
    """A client that asks for a blob and reads nothing. On a unix socket, where
    no time limit of the kernel's ends what the server has begun to send."""
    work.mkdir()
    server = Server(work, "--workers", "0", "--shutdown-grace", "1s")
    server.listen = f"unix:{work}/grpc.socket"
    server.start()
    client = connect(server.address)
    data = Random(3).randbytes(DEAF_BYTES)
    digest = digest_of(data)
    name = write_name(Random(4), digest)
    client.write_all(name, data)
    client.channel.close()
    deaf = deaf_read(server.address, read_name(digest))
    tap.ok(deaf.unread() > 0, "deaf client: it is sent a blob")
    tap.equal(server.stop(), 0, "deaf client: the server ends all the same")
    deaf.close()
    log = server.log.read_text(encoding="utf-8")
    tap.like(
        log,
        rf"method={READ_PATH} status=UNAVAILABLE ",
        "deaf client: the log tells how its call ended",
    )
    tap.equal(server.faults(), [], "deaf client: no sanitizer found a fault")


def unknown_format(tap: Tap, server: Server) -> None:
    """A store of another version is left alone."""
    tap.equal(server.stop(), 0, "the server ends when asked")
    file = server.store / "format"
    known = file.read_text(encoding="ascii")
    file.write_text(known.replace("1", "99"), encoding="ascii")
    status, text = refused(
        "serve", "--workers", "0", "--store", str(server.store),
        "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0",
    )  # fmt: skip
    tap.equal(status, FAILURE, "an unknown format is refused")
    tap.ok(
        "99" in text and str(file.parent) in text,
        "the text names the format and the place",
        text,
    )
    file.write_text(known, encoding="ascii")
    server.start()
    tap.ok(server.running(), "nothing was changed by that")
    tap.equal(server.stop(), 0, "the server ends when asked")


def bad_settings(tap: Tap, work: Path) -> None:
    """Each mistake is named, with its place."""
    config = work / "toolroot.conf"

    def with_config(text: str) -> tuple[int, str]:
        config.write_text(text, encoding="ascii")
        return refused("serve", "--config", str(config))

    cases = (
        ("an unknown key", "[serve]\nworkers = 0\nmax-sise = 1G\n", 3),
        ("a bad size", "[serve]\nmax-size = much\n", 2),
        ("a bad count", "[serve]\n\nworkers = many\n", 3),
        ("a line that is none", "[serve]\nworkers\n", 2),
    )
    for what, text, line in cases:
        status, said = with_config(text)
        tap.equal(status, USAGE, f"config: {what} is refused")
        tap.like(
            said,
            rf"{config}: line {line}\b",
            f"config: {what}: file and line are named",
        )
    status, said = with_config("[serve]\nmax-sise = 1G\n")
    tap.like(said, "max-sise.*max-size", "config: the valid keys are named")
    status, said = refused("serve", "--max-sise", "1G")
    tap.ok(
        status == USAGE and "max-sise" in said,
        "an unknown option is refused and named",
        said,
    )
    status, said = refused("serve", "--memory", "lots")
    tap.ok(
        status == USAGE and "memory" in said and "lots" in said,
        "a bad value is refused, with option and value",
        said,
    )
    status, said = refused("serve", "--config", str(work / "absent.conf"))
    tap.ok(
        status == USAGE and "absent.conf" in said,
        "a config file that is not there is named",
        said,
    )
    os.environ["TOOLROOT_ATTEMPTS"] = "never"
    status, said = refused("serve")
    del os.environ["TOOLROOT_ATTEMPTS"]
    tap.ok(
        status == USAGE and "TOOLROOT_ATTEMPTS" in said,
        "a bad environment variable is named",
        said,
    )


def bad_places(tap: Tap, work: Path) -> None:
    """A store that cannot be, an address that cannot be."""
    file = work / "a-file"
    file.write_text("no directory\n", encoding="ascii")
    ports = ("--listen", "127.0.0.1:0", "--http", "127.0.0.1:0")
    status, said = refused(
        "serve", "--workers", "0", "--store", str(file), *ports
    )
    tap.ok(
        status != 0 and str(file) in said,
        "a store that is a file is named",
        said,
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, said = refused(
            "serve", "--workers", "0", "--store", str(work / "new"),
            "--listen", f"127.0.0.1:{port}", "--http", "127.0.0.1:0",
        )  # fmt: skip
        tap.ok(
            status == FAILURE and str(port) in said,
            "a port that another program has is named",
            said,
        )
    status, said = refused(
        "serve", "--workers", "0", "--store", str(work / "new"),
        "--listen", "nonsense", "--http", "127.0.0.1:0",
    )  # fmt: skip
    tap.ok(status != 0 and "nonsense" in said, "a bad address is named", said)


def main() -> None:
    """All of it, on one store."""
    load_messages()
    work = work_folder()
    # The grace is what a call that hangs would take.
    server = Server(
        work, "--workers", "0", "--shutdown-grace", f"{GRACE_SECONDS}s"
    )
    with Tap() as tap:
        bad_settings(tap, work)
        bad_places(tap, work)
        large_store(tap, server)
        second_server(tap, server)
        stop_under_load(tap, server)
        stop_with_silent_clients(tap, work / "silent")
        stop_with_deaf_client(tap, work / "deaf")
        unknown_format(tap, server)
        tap.equal(server.faults(), [], "no sanitizer found a fault")


if __name__ == "__main__":
    main()
