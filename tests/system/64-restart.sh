#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Starting and ending: mistakes in settings are named with their place, a
# large store is ready at once after a crash, what another process holds is
# refused with its name, SIGTERM under load ends clean and loses nothing.

exec /usr/bin/python3 "$(dirname "$0")/lib/restart.py"
