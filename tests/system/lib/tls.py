# SPDX-License-Identifier: Apache-2.0
"""TLS and mutual TLS with real certificates: who is served, who is refused,
new certificates without a restart, and no plain text by mistake. See
63-tls.sh.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path
from random import Random
from typing import Any

import grpc

from process import Server, program, refused, work_folder
from raw_http2 import deaf_read
from remote import (
    Client,
    Outcome,
    api,
    attempt,
    connect,
    digest_of,
    load_messages,
    read_name,
    write_name,
)
from tap import Tap

DAYS = "2"
PATIENCE_SECONDS = 20.0
DEAF_BYTES = 16 << 20
DEAF_SECONDS = 10.0
PORTS = ("--http", "127.0.0.1:0")


class Authority:
    """A certificate authority, and the certificates it has signed."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-nodes", "-days", DAYS,
            "-subj", f"/CN={name}", "-keyout", str(self.file("key")),
            "-out", str(self.file("pem")),
        )  # fmt: skip

    def file(self, kind: str) -> Path:
        """Its own certificate (pem) or key."""
        return self.folder / f"{self.name}.{kind}"

    def pem(self) -> bytes:
        """Its certificate."""
        return self.file("pem").read_bytes()

    def issue(
        self, name: str, address: str = "127.0.0.1"
    ) -> tuple[Path, Path]:
        """A certificate for an address, and its key."""
        base = self.folder / f"{self.name}-{name}"
        key, request = base.with_suffix(".key"), base.with_suffix(".csr")
        certificate = base.with_suffix(".crt")
        _openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
            "-addext", f"subjectAltName=IP:{address}",
            "-keyout", str(key), "-out", str(request),
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-days", DAYS, "-in", str(request),
            "-CA", str(self.file("pem")), "-CAkey", str(self.file("key")),
            "-CAcreateserial", "-copy_extensions", "copy",
            "-out", str(certificate),
        )  # fmt: skip
        return certificate, key


def _openssl(*arguments: str) -> None:
    subprocess.run(
        ["openssl", *arguments], check=True, capture_output=True, text=True
    )


def both(pair: tuple[Path, Path]) -> tuple[bytes, bytes]:
    """The bytes of a certificate and its key."""
    return pair[0].read_bytes(), pair[1].read_bytes()


def round_trip(
    address: str,
    ca: bytes | None,
    certificate: tuple[bytes, bytes] | None = None,
) -> Outcome:
    """Store a blob and find it, on a connection of its own."""
    client = connect(address, ca, certificate, deadline=PATIENCE_SECONDS)
    outcome = attempt(lambda: _store_and_find(client))
    client.channel.close()
    return outcome


def _store_and_find(client: Client) -> bool:
    data = b"over TLS"
    digest = digest_of(data)
    client.batch_update([(digest, data)])
    return not client.find_missing([digest])


def served_name(address: str) -> str:
    """The common name of the certificate that a server shows."""
    host, port = address.rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, int(port)), timeout=5) as link,
        context.wrap_socket(link) as secure,
    ):
        shown = secure.getpeercert(binary_form=True)
    assert shown is not None
    done = subprocess.run(
        ["openssl", "x509", "-inform", "DER", "-noout", "-subject"],
        input=shown,
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().split("=")[-1].strip()


def install(pair: tuple[Path, Path], into: tuple[Path, Path]) -> None:
    """Put a new certificate and key in place, each whole at any moment."""
    for source, target in zip(pair, into, strict=True):
        fresh = target.with_suffix(".new")
        fresh.write_bytes(source.read_bytes())
        fresh.rename(target)


def one_way(tap: Tap, work: Path, good: Authority, other: Authority) -> None:
    """TLS that shows the server's name, and its change while serving."""
    place = (work / "server.crt", work / "server.key")
    install(good.issue("first"), place)
    server = Server(
        work / "one", "--workers", "0",
        "--tls-cert", str(place[0]), "--tls-key", str(place[1]),
    )  # fmt: skip
    server.start()
    outcome = round_trip(server.address, good.pem())
    tap.ok(
        outcome.value, "a client that knows the authority is served", outcome
    )
    outcome = round_trip(server.address, other.pem())
    tap.equal(
        outcome.code,
        grpc.StatusCode.UNAVAILABLE,
        "a client that knows another authority does not connect",
    )
    outcome = round_trip(server.address, None)
    tap.ok(not outcome.ok, "a client in plain text is not served", outcome)
    lasting = connect(
        server.address, good.pem(), deadline=PATIENCE_SECONDS
    )
    tap.ok(_store_and_find(lasting), "a connection is open")
    tap.equal(served_name(server.address), "first", "the certificate is shown")
    install(good.issue("second"), place)
    tap.equal(
        served_name(server.address),
        "second",
        "one swapped on disk is shown on the next connection",
    )
    outcome = attempt(lambda: _store_and_find(lasting))
    tap.ok(outcome.value, "connections from before go on", outcome)
    lasting.channel.close()
    place[0].write_bytes(b"no certificate\n")
    time.sleep(0.05)
    outcome = round_trip(server.address, good.pem())
    tap.ok(
        outcome.value,
        "a broken file does not take the place of a good certificate",
        outcome,
    )
    install(good.issue("third"), place)
    tap.equal(
        served_name(server.address), "third", "and a whole one does again"
    )
    tap.equal(server.stop(), 0, "the server ends when asked")
    tap.equal(server.faults(), [], "no sanitizer found a fault")


def mutual(tap: Tap, work: Path, good: Authority, other: Authority) -> None:
    """Clients must show who they are; so does our worker."""
    certificate, key = good.issue("mutual")
    server = Server(
        work / "two", "--workers", "0",
        "--tls-cert", str(certificate), "--tls-key", str(key),
        "--tls-client-ca", str(good.file("pem")),
    )  # fmt: skip
    server.start()
    known, unknown = good.issue("client"), other.issue("client")
    outcome = round_trip(server.address, good.pem(), both(known))
    tap.ok(outcome.value, "mutual: a known client is served", outcome)
    outcome = round_trip(server.address, good.pem())
    tap.ok(not outcome.ok, "mutual: one without a certificate is not", outcome)
    outcome = round_trip(server.address, good.pem(), both(unknown))
    tap.ok(
        not outcome.ok,
        "mutual: one with another authority's certificate is not",
        outcome,
    )
    worker(tap, work, server, good, known, unknown)
    tap.equal(server.stop(), 0, "mutual: the server ends when asked")
    tap.equal(server.faults(), [], "mutual: no sanitizer found a fault")


def start_worker(
    work: Path, server: Server, ca: Path, pair: tuple[Path, Path]
) -> subprocess.Popen[bytes]:
    """`toolroot worker` over TLS."""
    with (work / "worker.log").open("ab") as log:
        return subprocess.Popen(
            [
                str(program()), "worker",
                "--server", f"grpcs://{server.address}",
                "--slots", "1", "--cache", str(work / "cache"),
                "--host-root", "--tls-ca", str(ca),
                "--tls-cert", str(pair[0]), "--tls-key", str(pair[1]),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )  # fmt: skip


def connected_workers(server: Server) -> int:
    """As the status page has it."""
    with urllib.request.urlopen(
        f"http://{server.http}/status", timeout=5
    ) as page:
        return int(json.load(page)["workers"]["connected"])


def worker(
    tap: Tap,
    work: Path,
    server: Server,
    good: Authority,
    known: tuple[Path, Path],
    unknown: tuple[Path, Path],
) -> None:
    """Our worker runs an action over mutual TLS; a stranger's does not."""
    status, text = refused("worker", "--help")
    if status != 0:
        tap.skip("mutual: our worker runs an action", text.splitlines()[0])
        return
    stranger = start_worker(work, server, good.file("pem"), unknown)
    time.sleep(1.5)
    tap.equal(
        connected_workers(server),
        0,
        "mutual: a stranger's worker is not let in",
    )
    end(stranger)
    process = start_worker(work, server, good.file("pem"), known)
    until = time.monotonic() + PATIENCE_SECONDS
    while connected_workers(server) == 0 and time.monotonic() < until:
        time.sleep(0.05)
    tap.equal(connected_workers(server), 1, "mutual: our worker connects")
    client = connect(
        server.address, good.pem(), both(known), PATIENCE_SECONDS
    )
    outcome = attempt(lambda: run_action(client))
    log = (work / "worker.log").read_text(encoding="utf-8")
    tap.equal(
        outcome.value, b"over TLS\n", "mutual: and runs an action"
    ) or tap.diag(f"{outcome}\n{log[-1500:]}")
    client.channel.close()
    end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL if that does not help."""
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run_action(client: Client) -> Any:
    """Standard output of a small action."""
    command = api.Command(
        arguments=["/bin/sh", "-c", "echo over TLS"]
    ).SerializeToString()
    action = api.Action(
        command_digest=digest_of(command), input_root_digest=digest_of(b"")
    ).SerializeToString()
    client.batch_update(
        [(digest_of(each), each) for each in (command, action, b"")]
    )
    last = None
    for operation in client.open_execute(
        digest_of(action), timeout=PATIENCE_SECONDS
    ):
        last = operation
    assert last is not None and last.done
    response = api.ExecuteResponse.FromString(last.response.value)
    if response.status.code:
        raise AssertionError(response.status.message)
    if response.result.stdout_raw:
        return response.result.stdout_raw
    return client.batch_read([response.result.stdout_digest])[0].data


def deaf(tap: Tap, work: Path, good: Authority) -> None:
    """A client that reads nothing, beside one that is idle, holds up neither
    the end of the server nor that of gRPC in it, which would look again after
    10 s."""
    certificate, key = good.issue("deaf")
    server = Server(
        work, "--workers", "0", "--shutdown-grace", "1s",
        "--tls-cert", str(certificate), "--tls-key", str(key),
    )  # fmt: skip
    server.start()
    client = connect(server.address, good.pem())
    data = Random(5).randbytes(DEAF_BYTES)
    digest = digest_of(data)
    client.write_all(write_name(Random(6), digest), data)
    link = deaf_read(
        server.address,
        read_name(digest),
        ssl.create_default_context(cafile=str(good.file("pem"))),
    )
    tap.ok(link.unread() > 0, "deaf client: it is sent a blob")
    began = time.monotonic()
    tap.equal(server.stop(), 0, "deaf client: the server ends all the same")
    took = time.monotonic() - began
    tap.ok(took < DEAF_SECONDS, "deaf client: before the 10 s", f"{took:.1f} s")
    link.close()
    client.channel.close()
    tap.equal(server.faults(), [], "deaf client: no sanitizer found a fault")


def bad_settings(tap: Tap, work: Path, good: Authority) -> None:
    """What cannot be served safely is refused at the start."""
    store = ("--workers", "0", "--store", str(work / "refused"), *PORTS)
    certificate, key = good.issue("right")
    _, wrong_key = good.issue("wrong")
    status, text = refused("serve", *store, "--listen", "0.0.0.0:0")
    tap.ok(
        status != 0 and "--insecure-listen" in text,
        "plain text on all addresses is refused, with the way out",
        text,
    )
    listen = (*store, "--listen", "127.0.0.1:0")
    status, text = refused("serve", *listen, "--tls-cert", str(certificate))
    tap.ok(
        status != 0 and "--tls-key" in text,
        "a certificate without a key is refused",
        text,
    )
    absent = str(work / "absent.pem")
    status, text = refused(
        "serve", *listen, "--tls-cert", absent, "--tls-key", str(key)
    )
    tap.ok(
        status != 0 and absent in text,
        "a certificate that is not there is named",
        text,
    )
    status, text = refused(
        "serve", *listen,
        "--tls-cert", str(certificate), "--tls-key", str(wrong_key),
    )  # fmt: skip
    tap.ok(
        status != 0 and str(wrong_key) in text,
        "a key of another certificate is named",
        text,
    )
    server = Server(work / "open", "--workers", "0", "--insecure-listen")
    server.listen = "0.0.0.0:0"
    server.start()
    port = server.address.rsplit(":", 1)[1]
    outcome = round_trip(f"127.0.0.1:{port}", None)
    tap.ok(outcome.value, "--insecure-listen serves plain text", outcome)
    tap.equal(server.stop(), 0, "and ends when asked")


def main() -> None:
    """All of it, with two authorities."""
    load_messages()
    work = work_folder()
    for name in ("one", "two", "open", "deaf"):
        (work / name).mkdir()
    good, other = Authority(work, "good"), Authority(work, "other")
    with Tap() as tap:
        one_way(tap, work, good, other)
        mutual(tap, work, good, other)
        deaf(tap, work / "deaf", good)
        bad_settings(tap, work, good)


if __name__ == "__main__":
    main()
