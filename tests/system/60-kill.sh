#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# 300 rounds of `kill -9` at random moments, also while the server starts,
# under mixed load: batches, streams (plain and zstd), action results, reads;
# with torn tails of segments, as a power cut leaves them.
# After each restart on the same store and port every acknowledged blob and
# result must be there, and whatever is readable must be whole.
#
#	SEED=42 ROUNDS=1000 tests/system/60-kill.sh

exec /usr/bin/python3 "$(dirname "$0")/lib/kill.py"
