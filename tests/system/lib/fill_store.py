# SPDX-License-Identifier: Apache-2.0
"""fill_store.py ADDRESS BYTES: uploads so much that nobody will ask for."""

from __future__ import annotations

import sys
from random import Random

from collect import KIB, make, put
from remote import connect, load_messages


def main() -> None:
    address, wanted = sys.argv[1], int(sys.argv[2])
    load_messages()
    client = connect(address)
    random = Random()
    while wanted > 0:
        blobs = make(random, 64, 16 * KIB)
        wanted -= 64 * 16 * KIB
        if complaints := put(client, blobs):
            sys.exit(complaints[0])


main()
