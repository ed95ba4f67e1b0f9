# SPDX-License-Identifier: Apache-2.0
"""A client for system tests: the conformance suite's own, and blobs made of
random bytes with what is needed to look for them again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("GRPC_VERBOSITY", "NONE")
_TESTS = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(_TESTS / "conformance"))
sys.dont_write_bytecode = True

from conformance import messages, zstd  # noqa: E402
from conformance.client import Client, open_channel  # noqa: E402
from conformance.digests import digest_of  # noqa: E402
from conformance.harness import Outcome, attempt  # noqa: E402
from conformance.messages import api, bytestream  # noqa: E402

__all__ = [
    "Client",
    "Outcome",
    "api",
    "attempt",
    "bytestream",
    "digest_of",
    "zstd",
]

DEADLINE = 30.0
# Below what the server announces for a batch.
BATCH_BYTES = 3 << 20
BATCH_ITEMS = 5000
_FIND = (
    "/build.bazel.remote.execution.v2.ContentAddressableStorage/"
    "FindMissingBlobs"
)


def load_messages() -> None:
    """Make the message classes; before anything else here."""
    messages.load([_TESTS.parent / "protos"])


def connect(
    address: str,
    ca: bytes | None = None,
    certificate: tuple[bytes, bytes] | None = None,
    deadline: float = DEADLINE,
    instance: str = "",
) -> Client:
    """A client with a connection of its own."""
    channel = open_channel(address, ca, certificate, own_connection=True)
    return Client(channel, instance, deadline)


def write_name(random: Random, digest: Any, zstd: bool = False) -> str:
    """Resource name of a new upload."""
    kind = "compressed-blobs/zstd" if zstd else "blobs"
    number = f"{random.getrandbits(128):032x}"
    uuid = "-".join(
        (number[:8], number[8:12], number[12:16], number[16:20], number[20:])
    )
    return f"uploads/{uuid}/{kind}/{digest.hash}/{digest.size_bytes}"


def read_name(digest: Any) -> str:
    """Resource name of a download."""
    return f"blobs/{digest.hash}/{digest.size_bytes}"


def half_random(random: Random, size: int) -> bytes:
    """Bytes that zstd makes smaller, but not small."""
    half = random.randbytes(size - size // 2)
    return (half + half)[:size]


def encode_find(digest: Any) -> bytes:
    """A digest as it stands in FindMissingBlobsRequest: requests of many can
    then be put together without making them anew."""
    return bytes(
        api.FindMissingBlobsRequest(blob_digests=[digest]).SerializeToString()
    )


def find_missing_encoded(client: Client, encoded: bytes) -> list[Any]:
    """FindMissingBlobs for what encode_find made, one after the other."""
    reply = client.unary(_FIND, encoded, api.FindMissingBlobsResponse)
    return list(reply.missing_blob_digests)


def batches(digests: Iterable[Any]) -> Iterator[list[Any]]:
    """Groups that fit into one BatchReadBlobs; none of a digest alone that
    does not."""
    group: list[Any] = []
    size = 0
    for digest in digests:
        if size + digest.size_bytes > BATCH_BYTES or len(group) == BATCH_ITEMS:
            if group:
                yield group
            group, size = [], 0
        group.append(digest)
        size += digest.size_bytes
    if group:
        yield group


def content_matches(digest: Any, data: bytes) -> bool:
    """Whether these are the bytes that the digest names."""
    return bool(digest_of(data) == digest)
