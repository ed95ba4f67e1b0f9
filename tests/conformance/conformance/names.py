# SPDX-License-Identifier: Apache-2.0
"""Resource names of the ByteStream service, every form of them."""

from __future__ import annotations

import uuid
from typing import Any

from .digests import text


def _prefixed(instance: str, name: str) -> str:
    return f"{instance}/{name}" if instance else name


def read_name(instance: str, digest: Any, compressor: str = "") -> str:
    """The name under which a blob is read."""
    if compressor:
        return _prefixed(
            instance, f"compressed-blobs/{compressor}/{text(digest)}"
        )
    return _prefixed(instance, f"blobs/{text(digest)}")


def write_name(
    instance: str,
    digest: Any,
    compressor: str = "",
    upload: str = "",
    metadata: str = "",
) -> str:
    """The name of one upload; `upload` is its UUID, fresh when empty."""
    blob = read_name("", digest, compressor)
    name = f"uploads/{upload or uuid.uuid4()}/{blob}"
    if metadata:
        name += f"/{metadata}"
    return _prefixed(instance, name)
