#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Load beyond --memory: big batches, requests of 200,000 digests and uploads
# that come faster than they are taken in, all at once; then clients that stop
# amid idle connections. The peak of the server's memory is bounded by
# --memory, and the same again takes no more. Single hostile requests are the
# subject of tests/conformance/hostile.

exec /usr/bin/python3 "$(dirname "$0")/lib/stress.py"
