# SPDX-License-Identifier: Apache-2.0
"""Zstandard through libzstd's C interface, and frames written by hand.

Debian has no python3 package of zstd for 3.11, and the suite wants no
dependency, so the few calls needed go through ctypes. Frames that no honest
encoder would write (bombs, lies about sizes) are put together byte by byte.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import struct
from functools import cache

MAGIC = b"\x28\xb5\x2f\xfd"
BLOCK_MAX = 128 * 1024


class ZstdError(Exception):
    """libzstd is absent, or refuses the data."""


@cache
def _lib() -> ctypes.CDLL:
    path = ctypes.util.find_library("zstd") or "libzstd.so.1"
    try:
        lib = ctypes.CDLL(path)
    except OSError as error:
        raise ZstdError("libzstd is not installed") from error
    size, pointer = ctypes.c_size_t, ctypes.c_char_p
    lib.ZSTD_compressBound.argtypes = [size]
    lib.ZSTD_compressBound.restype = size
    lib.ZSTD_compress.argtypes = [pointer, size, pointer, size, ctypes.c_int]
    lib.ZSTD_compress.restype = size
    lib.ZSTD_decompress.argtypes = [pointer, size, pointer, size]
    lib.ZSTD_decompress.restype = size
    lib.ZSTD_isError.argtypes = [size]
    lib.ZSTD_isError.restype = ctypes.c_uint
    return lib


def available() -> bool:
    """Whether libzstd can be loaded."""
    try:
        _lib()
    except ZstdError:
        return False
    return True


def compress(data: bytes, level: int = 3) -> bytes:
    """One frame with the content size in its header."""
    lib = _lib()
    room = lib.ZSTD_compressBound(len(data))
    buffer = ctypes.create_string_buffer(room)
    used = lib.ZSTD_compress(buffer, room, data, len(data), level)
    if lib.ZSTD_isError(used):
        raise ZstdError("compression failed")
    return buffer.raw[:used]


def decompress(data: bytes, limit: int) -> bytes:
    """The content of all frames in `data`, at most `limit` bytes."""
    lib = _lib()
    buffer = ctypes.create_string_buffer(max(limit, 1))
    used = lib.ZSTD_decompress(buffer, limit, data, len(data))
    if lib.ZSTD_isError(used):
        raise ZstdError(f"not zstd data of at most {limit} bytes")
    return buffer.raw[:used]


def _block(kind: int, size: int, last: bool) -> bytes:
    return struct.pack("<I", int(last) | kind << 1 | size << 3)[:3]


def raw_frame(data: bytes) -> bytes:
    """A frame of stored blocks that does not tell its content size."""
    window = b"\x38"  # 2**17 = 128 KiB
    out = [MAGIC, b"\x00", window]
    pieces = [data[i : i + BLOCK_MAX] for i in range(0, len(data), BLOCK_MAX)]
    for index, piece in enumerate(pieces or [b""]):
        last = index >= len(pieces) - 1
        out += [_block(0, len(piece), last), piece]
    return b"".join(out)


def bomb(size: int) -> bytes:
    """A frame that expands to `size` zeros (4 bytes for each 128 KiB)."""
    out = [MAGIC, b"\x00", b"\x38"]
    left = size
    while left > 0:
        piece = min(left, BLOCK_MAX)
        left -= piece
        out += [_block(1, piece, left == 0), b"\x00"]
    return b"".join(out)


def lying_frame(declared: int, data: bytes) -> bytes:
    """A single-segment frame that declares more content than it holds."""
    header = MAGIC + b"\xe0" + struct.pack("<Q", declared)
    return header + _block(0, len(data), True) + data


def wide_window_frame(data: bytes, log: int) -> bytes:
    """A small frame that asks its reader for a window of 2**log bytes."""
    window = bytes([(log - 10) << 3])
    return MAGIC + b"\x00" + window + _block(0, len(data), True) + data
