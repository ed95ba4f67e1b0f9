#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Collections on a running server and on a store of none: a plan changes
# nothing, a run drops what is old and nothing else, pins keep, exit codes tell
# scripts, a server that fills up collects by itself, checks find flipped bits.

exec /usr/bin/python3 "$(dirname "$0")/lib/collect.py"
