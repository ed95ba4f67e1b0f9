# SPDX-License-Identifier: Apache-2.0
"""What a server has acknowledged, and the proof that it still has it.

A ledger outlives the server's runs. Any thread may add to it; the checks are
made while nothing writes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from random import Random
from typing import Any

import grpc

from remote import (
    BATCH_BYTES,
    Client,
    batches,
    content_matches,
    encode_find,
    find_missing_encoded,
    read_name,
)

_OK = 0
_NOT_FOUND = 5


class Ledger:
    """Blobs and action results: acknowledged, or only tried."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._find = bytearray()
        self.blobs: list[Any] = []
        self.tried: list[Any] = []
        # Action digest -> its result, and every blob that the result names.
        self.results: dict[bytes, tuple[Any, Any]] = {}

    def attempt(self, digests: Sequence[Any]) -> None:
        """These are about to be sent."""
        with self._lock:
            self.tried.extend(digests)

    def acknowledge(self, digests: Sequence[Any]) -> None:
        """The server said that these are stored."""
        encoded = b"".join(encode_find(digest) for digest in digests)
        with self._lock:
            self.blobs.extend(digests)
            self._find += encoded

    def acknowledge_result(self, action: Any, result: Any) -> None:
        """The server said that it keeps this result."""
        with self._lock:
            self.results[action.SerializeToString()] = (action, result)

    def any_blobs(self, random: Random, count: int) -> list[Any]:
        """Some that were acknowledged; none when there is none."""
        with self._lock:
            if not self.blobs:
                return []
            return [random.choice(self.blobs) for _ in range(count)]

    def any_results(self, random: Random, count: int) -> list[Any]:
        """Some of the results, each with its action."""
        with self._lock:
            every = list(self.results.values())
        return random.sample(every, min(count, len(every)))

    # Checks: each returns complaints, none when all is well.

    def check_present(self, client: Client) -> list[str]:
        """FindMissingBlobs knows every acknowledged blob."""
        missing = find_missing_encoded(client, bytes(self._find))
        return [f"lost: {name(digest)}" for digest in missing]

    def check_tried(self, client: Client) -> list[str]:
        """What was sent but not acknowledged is whole or not there."""
        tried, self.tried = self.tried, []
        return check_contents(client, tried, may_be_missing=True)

    def check_results(self, client: Client, chosen: list[Any]) -> list[str]:
        """These results are there, and every blob that they name."""
        complaints = []
        for action, result in chosen:
            try:
                got = client.get_result(action)
            except grpc.RpcError as error:
                complaints.append(
                    f"result of {name(action)}: {error.code().name}: "
                    f"{error.details()}"
                )
                continue
            if got.output_files != result.output_files:
                complaints.append(f"result of {name(action)} is another")
        named = [
            file.digest for _, result in chosen for file in result.output_files
        ]
        if named:
            missing = client.find_missing(named)
            complaints += [f"output lost: {name(each)}" for each in missing]
        return complaints


def name(digest: Any) -> str:
    """HASH/SIZE."""
    return f"{digest.hash}/{digest.size_bytes}"


def check_contents(
    client: Client, digests: Sequence[Any], may_be_missing: bool = False
) -> list[str]:
    """Reads all of them back: what is readable must hash right."""
    complaints: list[str] = []
    small = [each for each in digests if each.size_bytes <= BATCH_BYTES]
    for group in batches(small):
        for response in client.batch_read(group):
            code = response.status.code
            if code == _OK:
                if not content_matches(response.digest, response.data):
                    complaints.append(f"torn: {name(response.digest)}")
            elif code != _NOT_FOUND or not may_be_missing:
                complaints.append(
                    f"{name(response.digest)}: {code} "
                    f"{response.status.message}"
                )
    for digest in digests:
        if digest.size_bytes > BATCH_BYTES:
            complaints += _check_stream(client, digest, may_be_missing)
    return complaints


def _check_stream(
    client: Client, digest: Any, may_be_missing: bool
) -> list[str]:
    try:
        data = client.read(read_name(digest))
    except grpc.RpcError as error:
        if may_be_missing and error.code() == grpc.StatusCode.NOT_FOUND:
            return []
        return [f"{name(digest)}: {error.code().name} {error.details()}"]
    return [] if content_matches(digest, data) else [f"torn: {name(digest)}"]
