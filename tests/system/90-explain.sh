#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# `toolroot explain` and the metric name the cause of each miss, with the path,
# argument, variable or property, for a client that only caches and for one
# that executes.

exec /usr/bin/python3 "$(dirname "$0")/lib/explain.py"
