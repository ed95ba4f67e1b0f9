#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
set -eu
[ "$(wc -l < bulk/gathered.txt)" -eq 512 ]
[ "$(tail -n 1 bulk/gathered.txt)" = "piece 511" ]
[ "$(cat bulk/large.size)" -eq 25165824 ]
