# SPDX-License-Identifier: Apache-2.0
"""What a test gets: the client, the server's capabilities, fresh data."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import grpc

from . import zstd
from .client import Client, open_channel
from .digests import HASHLIB_NAMES, SHA256, digest_of
from .harness import Failure, Skip
from .messages import api
from .names import read_name, write_name

ZSTD = 1
MESSAGE_LIMIT = 4 << 20
# Room for the digests and tags around the blobs of one batch message.
BATCH_CAP = 32 << 20


@dataclass(frozen=True)
class Settings:
    """The choices of the command line."""

    address: str
    instance: str
    deadline: float
    execute_deadline: float
    platform: tuple[tuple[str, str], ...] = ()
    shell: str = "/bin/sh"
    tls_ca: bytes | None = None
    tls_client: tuple[bytes, bytes] | None = None
    server_pid: int = 0
    memory_limit: int = 0
    connections: int = 1000


@dataclass
class Context:
    """One server under test."""

    settings: Settings
    client: Client
    capabilities: Any
    function: int = SHA256
    _made: int = field(default=0)

    @classmethod
    def connect(cls, settings: Settings) -> Context:
        """Open the channel and ask for the capabilities."""
        channel = open_channel(
            settings.address, settings.tls_ca, settings.tls_client
        )
        client = Client(channel, settings.instance, settings.deadline)
        context = cls(settings, client, client.capabilities())
        known = context.functions()
        if SHA256 not in known and known:
            context.function = known[0]
        return context

    @property
    def cache(self) -> Any:
        """CacheCapabilities."""
        return self.capabilities.cache_capabilities

    @property
    def execution(self) -> Any:
        """ExecutionCapabilities."""
        return self.capabilities.execution_capabilities

    def functions(self) -> list[int]:
        """Announced digest functions that this suite can compute."""
        return [
            each
            for each in self.cache.digest_functions
            if each in HASHLIB_NAMES
        ]

    # What a rule needs of the server.

    def need_execution(self) -> None:
        """Skip unless the server executes."""
        if not (
            self.capabilities.HasField("execution_capabilities")
            and self.execution.exec_enabled
        ):
            raise Skip("execution is not advertised")

    def need_updates(self) -> None:
        """Skip unless this client may write action results."""
        if not self.cache.action_cache_update_capabilities.update_enabled:
            raise Skip("action cache updates are not advertised")

    def need_zstd(self) -> None:
        """Skip unless the server has zstd in ByteStream names."""
        if ZSTD not in self.cache.supported_compressors:
            raise Skip("compressed-blobs/zstd is not advertised")
        if not zstd.available():
            raise Skip("libzstd is not installed beside the suite")

    def need_batch_zstd(self) -> None:
        """Skip unless the server takes zstd in BatchUpdateBlobs."""
        if ZSTD not in self.cache.supported_batch_update_compressors:
            raise Skip("zstd in batch updates is not advertised")
        if not zstd.available():
            raise Skip("libzstd is not installed beside the suite")

    def batch_limit(self) -> int:
        """The advertised batch limit; skips when none is usable."""
        limit = int(self.cache.max_batch_total_size_bytes)
        if limit <= 0:
            raise Skip("no batch limit is advertised")
        if limit > BATCH_CAP:
            raise Skip(f"the batch limit is above {BATCH_CAP} bytes")
        return limit

    # Data.

    def fresh(self, size: int = 64) -> bytes:
        """Random bytes that no server has seen."""
        return os.urandom(size)

    def compressible(self, size: int) -> bytes:
        """Fresh data that zstd can make smaller."""
        seed = os.urandom(16).hex().encode() + b"\n"
        return (seed * (size // len(seed) + 1))[:size]

    def digest(self, data: bytes) -> Any:
        """The digest of data under the function in use."""
        return digest_of(data, self.function)

    def absent(self, size: int = 64) -> Any:
        """The digest of a blob that the server cannot have."""
        return self.digest(self.fresh(size))

    def read_name(self, digest: Any, compressor: str = "") -> str:
        """The name to read a blob by, in this instance."""
        return read_name(self.settings.instance, digest, compressor)

    def write_name(
        self,
        digest: Any,
        compressor: str = "",
        upload: str = "",
        metadata: str = "",
    ) -> str:
        """The name of an upload, in this instance."""
        return write_name(
            self.settings.instance, digest, compressor, upload, metadata
        )

    def put(self, data: bytes) -> Any:
        """Store a blob (small ones by batch); returns its digest."""
        digest = self.digest(data)
        if not data:
            return digest
        if len(data) > 1 << 20:
            self.client.write_all(self.write_name(digest), data)
            return digest
        responses = self.client.batch_update([(digest, data)])
        if len(responses) != 1 or responses[0].status.code != 0:
            raise Failure(
                f"BatchUpdateBlobs did not store a blob: {responses!r}"
            )
        return digest

    def put_all(self, blobs: list[bytes]) -> list[Any]:
        """Store a few small blobs in one call; returns their digests."""
        pairs = [(self.digest(data), data) for data in blobs]
        wanted = [pair for pair in pairs if pair[1]]
        for response in self.client.batch_update(wanted):
            if response.status.code != 0:
                raise Failure(
                    f"BatchUpdateBlobs did not store a blob: {response!r}"
                )
        return [digest for digest, _ in pairs]

    def put_message(self, message: Any) -> Any:
        """Store the encoding of a message; returns its digest."""
        return self.put(message.SerializeToString(deterministic=True))

    def get(self, digest: Any) -> bytes:
        """Read a blob back."""
        if not digest.size_bytes:
            return b""
        return self.client.read(self.read_name(digest))

    def is_missing(self, digest: Any) -> bool:
        """Whether FindMissingBlobs reports the blob."""
        return bool(self.client.find_missing([digest]))

    def new_channel(self) -> grpc.Channel:
        """A channel with a connection of its own."""
        settings = self.settings
        return open_channel(
            settings.address,
            settings.tls_ca,
            settings.tls_client,
            own_connection=True,
        )

    def new_client(self) -> Client:
        """A client with a connection of its own."""
        return Client(
            self.new_channel(), self.settings.instance, self.settings.deadline
        )


def platform_of(settings: Settings) -> Any:
    """The platform of actions, from the command line, sorted."""
    platform = api.Platform()
    for name, value in sorted(settings.platform):
        platform.properties.add(name=name, value=value)
    return platform
