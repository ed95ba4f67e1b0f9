#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A real Bazel builds and tests a real workspace with this machine's compiler
# captured as a toolchain and nothing of the host in sight; another file in
# the toolchain re-runs every action, and going back hits every result.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$ROOT/tests/bazel/lib.sh"

plan 16

# All processes of //..., as `bazel test --config=cache //...` counts them.
all=84

# add NAME OPTION...: sets root.
add() {
	root=$("$TOOLROOT" toolchain add "$@" --json \
		--server "grpc://$GRPC_ADDR" | python3 -c \
		'import json, sys; print(json.load(sys.stdin)["root_digest"])')
}

# remote ROOT: builds and tests everything from nothing, with the toolchain.
remote() {
	bazel_run base clean
	bazel_run base test --config=exec \
		--remote_executor="grpc://$GRPC_ADDR" \
		--remote_default_exec_properties="toolchain-root=$1" //...
}

ok "the server starts, without the host's root" server_start --workers 2 ||
	exit 1
bazel_copy_workspace "$WORK/almanac"
add gcc --cc gcc
gcc=$root
like "this machine's gcc is captured" "$gcc" '^[0-9a-f]{64}/[0-9]+$'

note "without a toolchain"
bazel_run base build --config=exec \
	--remote_executor="grpc://$GRPC_ADDR" //words/...
is "the build fails, for Bazel a remote error" "$BAZEL_STATUS" 34
like "and says what to add" "$(cat "$BAZEL_LOG")" \
	"build --remote_default_exec_properties=toolchain-root="

note "with the toolchain"
remote "$gcc"
is "everything builds and passes" "$BAZEL_STATUS" 0 || bazel_show_log
is "every process ran remotely" "$BAZEL_REMOTE $BAZEL_LOCAL" "$all 0"
remote "$gcc"
is "and is a hit the second time" "$BAZEL_STATUS $BAZEL_REMOTE_HITS" "0 $all"

note "with another file in the toolchain"
mkdir "$WORK/extra"
echo extra > "$WORK/extra/file"
add gcc --cc gcc --also "$WORK/extra"
changed=$root
unlike "the toolchain has another digest" "$changed" "$gcc"
remote "$changed"
is "everything builds and passes with it" "$BAZEL_STATUS" 0 ||
	bazel_show_log
is "every process ran again" "$BAZEL_REMOTE $BAZEL_REMOTE_HITS" "$all 0"

note "back again"
rm -r "$WORK/extra"
add gcc --cc gcc
is "the first digest is back" "$root" "$gcc"
remote "$root"
is "everything passes" "$BAZEL_STATUS" 0 || bazel_show_log
is "every process is a hit" "$BAZEL_REMOTE_HITS" "$all"
bazel_shutdown base

is "two trees were laid out" "$(grep -c " tree_made " "$SERVER_LOG")" 2
unlike "no action ran without its toolchain, but those that failed" \
	"$(grep 'action_done.*status=OK' "$SERVER_LOG")" 'roots=""'
note "$(grep " tree_made " "$SERVER_LOG")"
ok "the server ends cleanly" server_stop || server_show_log
