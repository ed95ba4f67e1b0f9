# SPDX-License-Identifier: Apache-2.0
"""fill_store.py ADDRESS BYTES [EACH]: uploads so much that nobody will ask for,
in blobs of 16 KiB or EACH bytes.
"""

from __future__ import annotations

import sys
from random import Random

from collect import KIB, MIB, make, put
from remote import connect, load_messages


def main() -> None:
    address, wanted = sys.argv[1], int(sys.argv[2])
    each = int(sys.argv[3]) if len(sys.argv) > 3 else 16 * KIB
    load_messages()
    client = connect(address)
    random = Random()
    while wanted > 0:
        blobs = make(random, MIB // each, each)
        wanted -= MIB
        if complaints := put(client, blobs):
            sys.exit(complaints[0])


main()
