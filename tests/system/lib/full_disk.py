# SPDX-License-Identifier: Apache-2.0
"""A full disk, in mid-upload and in mid-commit, and a full store: refusals
with figures, nothing lost, reads go on, and so do writes once there is room.
See 61-full-disk.sh, which gives this a mount namespace of its own. The parts
have a disk and a server each and run at once: they wait for what servers look
at every ten seconds.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import grpc

from ledger import Ledger, check_contents
from process import Server, StartError, program, work_folder
from remote import (
    Client,
    Outcome,
    api,
    attempt,
    connect,
    digest_of,
    load_messages,
    write_name,
)
from tap import Tap, together

KIB = 1 << 10
MIB = 1 << 20
DISK = 96 * MIB
QUOTA = 50 << 30
INODES = 1024
FULL = grpc.StatusCode.RESOURCE_EXHAUSTED
FULL_CODE = 8
BATCH = 200
REFUSALS = 100
PATIENCE_SECONDS = 20.0
SAVE_SECONDS = 30.0
MISSES = 400
SAVE_FAILURES = "toolroot_history_save_failures_total"
UNSAVED = "toolroot_history_unsaved_changes"
UPDATE_RESULT = (
    "/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult"
)


class Disk:
    """A small file system, and a ballast that fills it."""

    def __init__(self, kind: str, path: Path) -> None:
        self.kind = kind
        self.path = path
        self._ballast = self.path / "ballast"
        self.path.mkdir()
        if kind == "tmpfs":
            size = f"size={DISK},nr_inodes={INODES}"
            _run("mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.path))
        else:
            image = path.with_suffix(".img")
            with image.open("wb") as file:
                file.truncate(DISK)
            _run("mkfs.ext4", "-q", "-m", "0", "-N", str(INODES), str(image))
            _run("mount", "-o", "loop", str(image), str(self.path))

    def free(self) -> int:
        """Bytes that are left."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    def leave(self, size: int) -> None:
        """Fill it up to the last `size` bytes."""
        with self._ballast.open("ab") as file:
            while self.free() > size:
                file.write(bytes(min(MIB, self.free() - size)))
                file.flush()
                os.fsync(file.fileno())

    def leave_no_inodes(self) -> None:
        """So that no file can be made, empty or not."""
        with contextlib.suppress(OSError):
            for number in range(INODES):
                (self.path / f"inode-{number}").touch()

    def clear(self) -> None:
        """Take the ballast away."""
        self._ballast.unlink(missing_ok=True)
        for file in self.path.glob("inode-*"):
            file.unlink()

    def unmount(self) -> None:
        """Give it back."""
        _run("umount", str(self.path))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


class Filler:
    """Writes until it is refused, and keeps a ledger of what was not."""

    def __init__(self, client: Client, ledger: Ledger, random: Random) -> None:
        self.client = client
        self.ledger = ledger
        self.random = random
        self.refused: list[bytes] = []
        self.texts: set[str] = set()
        self.others: list[str] = []

    def batch(self, count: int = BATCH, size: int = 4 * KIB) -> bool:
        """One batch of small blobs; false when one was refused."""
        blobs = {}
        for _ in range(count):
            data = self.random.randbytes(size)
            blobs[digest_of(data).hash] = data
        pairs = [(digest_of(data), data) for data in blobs.values()]
        self.ledger.attempt([digest for digest, _ in pairs])
        full = False
        for reply in self.client.batch_update(pairs):
            if reply.status.code == 0:
                self.ledger.acknowledge([reply.digest])
            elif reply.status.code == FULL_CODE:
                full = True
                self.refused.append(blobs[reply.digest.hash])
                self.texts.add(reply.status.message)
            else:
                self.others.append(
                    f"{reply.status.code} {reply.status.message}"
                )
        return not full

    def batch_soon(self, count: int = BATCH) -> bool:
        """The same until none is refused: a server may look again at a disk
        that was full only now and then."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not self.batch(count):
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
        return True

    def fill(self, batches: int = 200) -> bool:
        """Batches until one is refused; false when none is."""
        return any(not self.batch() for _ in range(batches))

    def close(self) -> None:
        """Its connection."""
        self.client.channel.close()

    def stream(self, size: int) -> tuple[Any, Outcome]:
        """One blob as a stream."""
        data = self.random.randbytes(size)
        digest = digest_of(data)
        name = write_name(self.random, digest)
        self.ledger.attempt([digest])
        outcome = attempt(lambda: self.client.write_all(name, data, 64 * KIB))
        if outcome.ok:
            self.ledger.acknowledge([digest])
        return digest, outcome


def nothing_lost(tap: Tap, filler: Filler, when: str) -> None:
    """All that was acknowledged reads back, and nothing torn does."""
    client, ledger = filler.client, filler.ledger
    found = ledger.check_present(client)
    found += check_contents(client, ledger.blobs)
    found += ledger.check_tried(client)
    tap.ok(not found, f"{when}: nothing is lost, reads go on", *found[:9])


def full_in_upload(tap: Tap, disk: Disk, filler: Filler) -> None:
    """The disk is full in the middle of a large upload."""
    title = f"{disk.kind}, full in mid-upload"
    for _ in range(3):
        filler.stream(2 * MIB)
    disk.leave(6 * MIB)
    digest, outcome = filler.stream(24 * MIB)
    tap.equal(outcome.code, FULL, f"{title}: RESOURCE_EXHAUSTED")
    figures(tap, title, {outcome.message})
    tap.equal(
        filler.client.find_missing([digest]),
        [digest],
        f"{title}: what was cut off is not there",
    )
    nothing_lost(tap, filler, title)
    tap.ok(
        filler.batch(20),
        f"{title}: what fits is still taken",
        filler.texts,
        f"{disk.free()} bytes free",
    )


def full_in_commit(tap: Tap, disk: Disk, filler: Filler) -> None:
    """Small blobs fill the disk, so that commits fail half way."""
    title = f"{disk.kind}, full in mid-commit"
    disk.leave(3 * MIB)
    tap.ok(filler.fill(), f"{title}: RESOURCE_EXHAUSTED")
    tap.equal(filler.others, [], f"{title}: and no other error")
    figures(tap, title, filler.texts)
    disk.leave(0)
    before = set(disk.path.rglob("*"))
    for _ in range(REFUSALS):
        filler.batch(1)
    litter = set(disk.path.rglob("*")) - before
    tap.ok(
        len(litter) < REFUSALS // 10,
        f"{title}: refusals leave no files behind",
        f"{len(litter)} more files after {REFUSALS} refusals",
        *sorted(litter)[:3],
    )
    nothing_lost(tap, filler, title)


def figures(tap: Tap, title: str, texts: set[str]) -> None:
    """Refusals tell how many bytes there are and how many are needed."""
    for text in sorted(texts)[:3]:
        tap.note(text)
    tap.ok(
        texts and all(_has_figures(text) for text in texts),
        f"{title}: the text has figures",
        texts,
    )


def _has_figures(text: str) -> bool:
    return sum(word.strip(",;").isdigit() for word in text.split()) >= 2


def full_at_start(
    tap: Tap, disk: Disk, filler: Filler, server: Server
) -> None:
    """A crash while the disk is full, and a limit of an instance is new."""
    title = f"{disk.kind}, killed while it is full"
    filler.close()
    server.kill()
    disk.leave(0)
    server.options = [*server.options, f"--instance-quota=={QUOTA}"]
    try:
        server.start()
    except StartError as error:
        tap.ok(False, f"{title}: the server starts", error)
        disk.clear()
        server.start()
    else:
        tap.ok(True, f"{title}: the server starts")
    filler.client = connect(server.address)
    nothing_lost(tap, filler, title)


def limit_holds(tap: Tap, disk: Disk, server: Server) -> None:
    """What could not be kept at the start is, when there is room."""
    series = r'toolroot_store_instance_quota_bytes{instance=""}'
    tap.ok(
        comes_true(lambda: metric(server, series) == QUOTA),
        f"{disk.kind}, room again: the limit of the instance holds",
        server.log_end(),
    )


def room_again(tap: Tap, disk: Disk, filler: Filler) -> None:
    """The ballast goes, the server is not told."""
    title = f"{disk.kind}, room again"
    refused = filler.refused[:BATCH]
    disk.clear()
    tap.ok(filler.batch_soon(), f"{title}: batches go on", filler.texts)
    replies = filler.client.batch_update(
        [(digest_of(data), data) for data in refused]
    )
    bad = [each.status.message for each in replies if each.status.code]
    tap.ok(
        refused and not bad, f"{title}: what was refused is taken", *bad[:3]
    )
    filler.ledger.acknowledge([digest_of(data) for data in refused])
    _, outcome = filler.stream(4 * MIB)
    tap.ok(outcome.ok, f"{title}: streams go on", outcome.message)
    nothing_lost(tap, filler, title)


def killed_with_room(
    tap: Tap, disk: Disk, filler: Filler, server: Server
) -> None:
    """A crash right after the first write that had room again: what failed
    before must not hide it."""
    title = f"{disk.kind}, killed when there is room again"
    disk.leave_no_inodes()
    for _ in range(3):
        filler.batch(1)
    disk.clear()
    taken = filler.batch_soon(20)
    server.kill()
    filler.close()
    tap.ok(taken, f"{title}: the write before was taken", filler.texts)
    server.start()
    filler.client = connect(server.address)
    nothing_lost(tap, filler, title)


def disk_for(tap: Tap, kind: str, path: Path) -> Disk | None:
    """A small file system at the path; None, and a fact that is skipped, when
    there can be none."""
    try:
        return Disk(kind, path)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        tap.skip(f"a full {path.name}", " ".join(str(reason).split()))
        return None


def serve_on(disk: Disk) -> Server:
    """A server on it, its log beside it."""
    server = Server(disk.path, "--workers", "0", "--max-size", "100G")
    server.log = disk.path.with_suffix(".log")
    server.start()
    return server


def end(tap: Tap, disk: Disk, server: Server) -> None:
    """Of both."""
    name = disk.path.name
    tap.equal(server.stop(), 0, f"{name}: the server ends when asked")
    tap.equal(server.faults(), [], f"{name}: no sanitizer found a fault")
    disk.unmount()


def try_history(tap: Tap, work: Path) -> None:
    """What the server has to keep of misses."""
    disk = disk_for(tap, "tmpfs", work / "history")
    if disk is None:
        return
    server = serve_on(disk)
    history_waits(tap, disk, server)
    end(tap, disk, server)


def try_disk(tap: Tap, kind: str, work: Path) -> None:
    """All else of it, on one file system."""
    disk = disk_for(tap, kind, work / kind)
    if disk is None:
        return
    server = serve_on(disk)
    filler = Filler(connect(server.address), Ledger(), Random(kind))
    full_in_upload(tap, disk, filler)
    full_in_commit(tap, disk, filler)
    room_again(tap, disk, filler)
    full_in_commit(tap, disk, filler)
    full_at_start(tap, disk, filler, server)
    room_again(tap, disk, filler)
    limit_holds(tap, disk, server)
    full_in_commit(tap, disk, filler)
    killed_with_room(tap, disk, filler, server)
    filler.close()
    end(tap, disk, server)


def metric(server: Server, name: str) -> float:
    """The value of a series."""
    url = f"http://{server.http}/metrics"
    with urllib.request.urlopen(url, timeout=20) as answer:
        text = answer.read().decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else -1


def comes_true(condition: Callable[[], bool]) -> bool:
    """The server saves its history every ten seconds."""
    end = time.monotonic() + SAVE_SECONDS
    while not condition() and time.monotonic() < end:
        time.sleep(0.2)
    return condition()


def miss_much(client: Client) -> Any:
    """Actions are looked for, made and stored; the digest of one. So many
    that what is kept of them needs room of its own."""
    digest = None
    for number in range(MISSES):
        command = api.Command(arguments=[str(number)], output_paths=["out"])
        action = api.Action(
            command_digest=digest_of(command.SerializeToString()),
            input_root_digest=digest_of(b""),
        )
        blobs = [each.SerializeToString() for each in (command, action)]
        client.batch_update([(digest_of(blob), blob) for blob in blobs])
        digest = digest_of(blobs[1])
        missing = digest
        attempt(lambda missing=missing: client.get_result(missing))
        update = api.UpdateActionResultRequest(action_digest=digest)
        update.action_result.stdout_raw = b"made"
        client.unary(UPDATE_RESULT, update, api.ActionResult)
    return digest


def history_waits(tap: Tap, disk: Disk, server: Server) -> None:
    """What is known of misses cannot be stored: it is kept until it can, so
    that then even a crash does not forget it."""
    title = f"{disk.kind}, full for the history"
    client = connect(server.address)
    digest = miss_much(client)
    disk.leave(0)
    tap.ok(
        comes_true(lambda: metric(server, SAVE_FAILURES) > 0),
        f"{title}: a metric counts the failures",
    )
    left = metric(server, "toolroot_store_available_bytes")
    tap.ok(0 <= left < MIB, f"{title}: nothing is available", left)
    unsaved = metric(server, UNSAVED)
    tap.ok(unsaved > 0, f"{title}: and tells what is not stored", unsaved)
    tap.like(
        server.log_end(),
        "history_not_saved error=.* changes=[1-9]",
        f"{title}: so does the log",
    )
    disk.clear()
    tap.ok(
        comes_true(lambda: metric(server, UNSAVED) == 0),
        f"{title}: all is stored when there is room again",
    )
    client.channel.close()
    server.kill()
    server.start()
    command = [str(program()), "explain", "--json", digest.hash]
    command += ["--server", f"grpc://{server.address}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    tap.like(
        done.stdout + done.stderr,
        f'"action_digest": "{digest.hash}/',
        f"{title}: a crash has not forgotten it",
    )


def full_store(tap: Tap, work: Path) -> None:
    """--max-size is reached while the disk has room."""
    limit = 8 * MIB
    server = Server(work, "--workers", "0", "--max-size", str(limit))
    server.start()
    filler = Filler(connect(server.address), Ledger(), Random("store"))
    tap.ok(filler.fill(), "--max-size reached: RESOURCE_EXHAUSTED")
    tap.equal(filler.others, [], "--max-size reached: and no other error")
    figures(tap, "--max-size reached", filler.texts)
    text = min(filler.texts, default="")
    tap.ok(
        str(limit) in text and "--max-size" in text,
        "--max-size reached: the text has the limit and the remedy",
        text,
    )
    digest, outcome = filler.stream(MIB)
    tap.equal(outcome.code, FULL, "--max-size reached: so is a stream")
    tap.like(outcome.message, str(limit), "--max-size reached: with figures")
    known = filler.ledger.blobs[0]
    data = filler.client.batch_read([known])[0].data
    replies = filler.client.batch_update([(known, data)])
    tap.equal(
        replies[0].status.code,
        0,
        "--max-size reached: what is there already is taken",
    )
    nothing_lost(tap, filler, "--max-size reached")
    used = sum(
        path.stat().st_blocks * 512
        for path in server.store.rglob("*")
        if path.is_file() and path.parent.name in ("segments", "blobs")
    )
    tap.ok(
        used <= limit * 5 // 4 + 16 * MIB,
        "--max-size reached: the disk agrees",
        f"{used} bytes in segments and blobs",
    )
    server.options[-1] = str(4 * limit)
    filler.close()
    tap.equal(server.stop(), 0, "the server ends when asked")
    server.start()
    filler.client = connect(server.address)
    tap.ok(filler.batch(), "a raised --max-size makes room")
    nothing_lost(tap, filler, "a raised --max-size")
    filler.close()
    tap.equal(server.stop(), 0, "and it ends again")


def main() -> None:
    """Two file systems, and the limit of the store."""
    load_messages()
    work = work_folder()
    with Tap() as tap:
        together(
            lambda: try_history(tap, work),
            lambda: try_disk(tap, "tmpfs", work),
            lambda: try_disk(tap, "ext4", work),
            lambda: full_store(tap, work),
        )


if __name__ == "__main__":
    main()
