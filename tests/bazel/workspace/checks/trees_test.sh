#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
set -eu
cat > "$TEST_TMPDIR/expected" <<'END'
./chapters/first/1.txt
./chapters/first/2.txt
./chapters/first/3.txt
./chapters/first/4.txt
./colophon
./cover.txt
./notes/blank.txt
the tide comes in the tide goes out
4 pages
END
diff -u "$TEST_TMPDIR/expected" trees/contents.txt
