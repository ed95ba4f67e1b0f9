#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Leaves a file in the directory for outputs that no rule declares; Bazel
# packs it up beside the test's log.
set -eu
words=$(words/word_count < text/poem.txt)
drawn=$(shapes/draw)
echo "word_count says: $words"
echo "draw says: $drawn"
printf '%s\n%s\n' "$words" "$drawn" > "$TEST_UNDECLARED_OUTPUTS_DIR/said.txt"
[ "$words" = "17 words" ]
[ "$drawn" = "the small square (2 words): twice the area is 18" ]
