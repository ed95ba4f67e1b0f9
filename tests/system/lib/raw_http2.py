# SPDX-License-Identifier: Apache-2.0
"""One gRPC request by hand.

gRPC's own clients send a message whole, compress what they have, and take what
comes; only raw HTTP/2 can leave a server waiting for the last byte of a large
message, send one that was never that large, or ask for much and read nothing.
"""

from __future__ import annotations

import fcntl
import socket
import ssl
import struct
import termios
import time

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 8
_END_HEADERS, _ACK = 4, 1
_STREAM = 1
_FRAME_MAX = 16384
_INITIAL_WINDOW_SIZE = 4
_DEFAULT_WINDOW = 65535
_WINDOW_MAX = (1 << 31) - 1
_READ_PATH = "/google.bytestream.ByteStream/Read"
# What sockets hold is less than what gRPC sends at once.
_DEAF_UNREAD = 64 << 10
_PATIENCE = 30.0


def _frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return struct.pack(
        ">HBBBI", len(body) >> 8, len(body) & 255, kind, flags, stream
    ) + body


def _header(name: str, value: str) -> bytes:
    """A literal that is not indexed; both shorter than 127 bytes."""
    return b"\x00" + b"".join(
        bytes([len(text)]) + text.encode() for text in (name, value)
    )


def _connect(address: str) -> socket.socket:
    """To HOST:PORT or unix:PATH."""
    if address.startswith("unix:"):
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(10)
        link.connect(address.removeprefix("unix:"))
        return link
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=10)


class RawRequest:
    """A call whose first message says it has `size` bytes. With an encoding
    it says that they are compressed. When `deaf`, the server may answer as
    much as HTTP/2 has numbers for. `ended`: the server has given it up."""

    def __init__(
        self,
        address: str,
        path: str,
        size: int,
        encoding: str = "",
        deaf: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._link = _connect(address)
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
            self._link = tls.wrap_socket(
                self._link, server_hostname=address.rsplit(":", 1)[0]
            )
        self._size = size
        self._sent = 0
        self._room = {0: _DEFAULT_WINDOW, _STREAM: _DEFAULT_WINDOW}
        self._initial = _DEFAULT_WINDOW
        self._received = b""
        self._pongs = 0
        self.ended = False
        pairs = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        if encoding:
            pairs.append(("grpc-encoding", encoding))
        headers = b"".join(_header(*pair) for pair in pairs)
        settings, room = b"", b""
        if deaf:
            settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, _WINDOW_MAX)
            room = _frame(
                _WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW_MAX - _DEFAULT_WINDOW)
            )
        self._link.sendall(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, settings)
            + room
            + _frame(_HEADERS, _END_HEADERS, _STREAM, headers)
        )
        self._data(struct.pack(">BI", bool(encoding), size))

    def stall(self, limit: int) -> int:
        """Send zeros, up to `limit` bytes in all and never the last one of
        the message."""
        return self.send(bytes(min(limit, self._size - 1)))

    def send(self, body: bytes) -> int:
        """Send what the server lets us. Returns the bytes sent in all; less
        than the body when the server does not take more for a second, or has
        ended the call."""
        limit = len(body)
        self._link.settimeout(1)
        try:
            while self._sent < limit and not self.ended:
                room = min(self._room.values(), default=0)
                count = min(_FRAME_MAX, room, limit - self._sent)
                if count > 0:
                    self._data(body[self._sent : self._sent + count])
                    self._sent += count
                elif not self._receive():
                    break
        except OSError:
            pass  # closed or silent: what was sent was sent
        return self._sent

    def settle(self) -> None:
        """Return when the server has seen all that was sent."""
        self._pongs = 0
        self._link.sendall(_frame(_PING, 0, 0, bytes(8)))
        while not self._pongs and self._receive():
            pass

    def unread(self) -> int:
        """Bytes of the answer that have come and that nobody has read."""
        count = fcntl.ioctl(self._link, termios.FIONREAD, bytes(4))
        return int(struct.unpack("i", count)[0])

    def close(self) -> None:
        """End the connection."""
        self._link.close()

    def _data(self, body: bytes) -> None:
        self._link.sendall(_frame(_DATA, 0, _STREAM, body))
        for window in self._room:
            self._room[window] -= len(body)

    def _receive(self) -> bool:
        """Take in frames; false when the connection has ended."""
        more = self._link.recv(65536)
        self._received += more
        while len(self._received) >= 9:
            high, low, kind, flags, stream = struct.unpack(
                ">HBBBI", self._received[:9]
            )
            length = high << 8 | low
            if len(self._received) < 9 + length:
                break
            body = self._received[9 : 9 + length]
            self._received = self._received[9 + length :]
            self._take(kind, flags, stream, body)
        return bool(more)

    def _take(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == _RESET and stream == _STREAM:
            self.ended = True
        elif kind == _WINDOW_UPDATE and stream in self._room:
            self._room[stream] += struct.unpack(">I", body)[0]
        elif kind == _SETTINGS and not flags & _ACK:
            for offset in range(0, len(body), 6):
                key, value = struct.unpack(">HI", body[offset : offset + 6])
                if key == _INITIAL_WINDOW_SIZE:
                    self._room[_STREAM] += value - self._initial
                    self._initial = value
            self._link.sendall(_frame(_SETTINGS, _ACK, 0))
        elif kind == _PING and flags & _ACK:
            self._pongs += 1
        elif kind == _PING:
            self._link.sendall(_frame(_PING, _ACK, 0, body))


def ask_deaf(
    address: str, name: str, tls: ssl.SSLContext | None = None
) -> RawRequest:
    """A client that asks for a large blob by its resource name, and is not
    going to read any of it."""
    request = b"\x0a" + bytes([len(name)]) + name.encode()
    call = RawRequest(
        address, _READ_PATH, len(request), deaf=True, tls=tls
    )
    call.send(request)
    return call


def deaf_read(
    address: str, name: str, tls: ssl.SSLContext | None = None
) -> RawRequest:
    """The same, when the server has begun to send."""
    call = ask_deaf(address, name, tls)
    end = time.monotonic() + _PATIENCE
    while call.unread() < _DEAF_UNREAD and time.monotonic() < end:
        time.sleep(0.02)
    return call
