#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A second signal ends a server that still waits for its grace; the ^C of a
# terminal, which all its processes get, is one signal and not two.

exec /usr/bin/python3 "$(dirname "$0")/lib/signals.py"
