# SPDX-License-Identifier: Apache-2.0
"""A slow line to a server: slow_link.py HOST:PORT BYTES_PER_SECOND.

Prints the port of its own, on loopback, then passes on what comes; what the
server says no faster than that. Ends when it is killed."""

import socket
import sys
import threading
import time

PIECE = 16 << 10


def pump(source, sink, rate):
    try:
        while True:
            data = source.recv(PIECE)
            if not data:
                break
            sink.sendall(data)
            if rate:
                time.sleep(len(data) / rate)
    except OSError:
        pass
    for end in source, sink:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        try:
            server = socket.create_connection((host, int(port)))
        except OSError:
            client.close()
            continue
        for ends in (client, server, 0), (server, client, int(sys.argv[2])):
            threading.Thread(target=pump, args=ends, daemon=True).start()


main()
