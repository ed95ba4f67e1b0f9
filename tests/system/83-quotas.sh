#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Instances of one server: one at its quota makes room of what it has itself and
# is refused then; whoever floods the store takes nothing of another's floor; and
# what each has is told by the commands and the metrics.

exec /usr/bin/python3 "$(dirname "$0")/lib/quotas.py"
