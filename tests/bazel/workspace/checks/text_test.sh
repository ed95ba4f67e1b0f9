#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
set -eu
cd text
[ "$(cat total.txt)" -eq 20 ]
[ "$(wc -l < unique.txt)" -eq 20 ]
cmp unique.txt rejoined.txt
[ "$(head -n 1 reversed.txt)" = "$(tail -n 1 unique.txt)" ]
[ -e nothing.txt ]
[ ! -s nothing.txt ]
cmp total.txt latest.txt
