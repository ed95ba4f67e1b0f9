# SPDX-License-Identifier: Apache-2.0
"""Digest functions that Python's hashlib can compute, and digests of data."""

from __future__ import annotations

import hashlib
from typing import Any

from .messages import api

# Numbers of DigestFunction.Value, and the names hashlib knows them by.
HASHLIB_NAMES = {1: "sha256", 2: "sha1", 3: "md5", 5: "sha384", 6: "sha512"}
SHA256 = 1
# Functions whose hash length is unique among those a server may announce
# without a segment of their own in resource names.
HASH_LENGTHS = {1: 64, 2: 40, 3: 32, 5: 96, 6: 128}


def digest_of(data: bytes, function: int = SHA256) -> Any:
    """The Digest message of `data` under a DigestFunction.Value."""
    name = HASHLIB_NAMES[function]
    value = hashlib.new(name, data, usedforsecurity=False).hexdigest()
    return api.Digest(hash=value, size_bytes=len(data))


def text(digest: Any) -> str:
    """HASH/SIZE, as resource names have it."""
    return f"{digest.hash}/{digest.size_bytes}"


def with_size(digest: Any, size: int) -> Any:
    """The same hash with another size."""
    return api.Digest(hash=digest.hash, size_bytes=size)
