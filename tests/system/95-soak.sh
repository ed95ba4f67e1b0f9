#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Mixed load with scraping, for 15 seconds: memory is flat, labels do not grow.
# tests/bench/soak does it for ten minutes.

exec /usr/bin/python3 "$(dirname "$0")/lib/soak.py" 15
