#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What operators do with a store: remove the results of a bad worker or writer,
# repair after bits flipped or the index was lost, carry a part of it to another
# site, pin on a store that no server has open.

exec /usr/bin/python3 "$(dirname "$0")/lib/store_admin.py"
