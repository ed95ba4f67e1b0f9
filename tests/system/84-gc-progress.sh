#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A collection that takes long is watched: a bar on a terminal, lines elsewhere,
# nothing in JSON; and a server that cannot be watched is no failure.

exec /usr/bin/python3 "$(dirname "$0")/lib/gc_progress.py"
