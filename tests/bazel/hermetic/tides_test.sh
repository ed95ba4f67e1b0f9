#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# No compiler is where this runs.

[ "$(wc -l < hermetic/tides.txt)" -eq 30 ] && ! command -v gcc
