#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A real Bazel runs everything itself and shares the results through the
# cache; a blob that the store has lost behind an action result is put back
# by the next build.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$ROOT/tests/bazel/lib.sh"

plan 21

# All processes of `bazel test //...`.
all=84

cached() {
	local name=$1
	shift
	bazel_run "$name" test --config=cache \
		--remote_cache="grpc://$GRPC_ADDR" "$@" //...
}

ok "the server starts without workers" server_start --workers 0 || exit 1
bazel_copy_workspace "$WORK/almanac"

note "from nothing"
cached cold
is "everything builds and passes" "$BAZEL_STATUS" 0 || bazel_show_log
is "every process ran here" "$BAZEL_LOCAL" "$all"
is "no process was a cache hit" "$BAZEL_REMOTE_HITS" 0
blob=$(server_blob_file "$(bazel_output cold bin/bulk/large.bin)")
ok "the store has the large output in a file" test -s "$blob"
bazel_shutdown cold

note "into a fresh output base"
cached warm
is "everything passes again" "$BAZEL_STATUS" 0 || bazel_show_log
is "every process was a cache hit" "$BAZEL_REMOTE_HITS" "$all"
is "no process ran here" "$BAZEL_LOCAL" 0
is "a directory came from the cache" \
	"$(readlink "$(bazel_output warm bin/trees/pages/cover.txt)")" \
	chapters/first/1.txt

note "after a restart of the server"
ok "the server ends cleanly" server_stop || server_show_log
ok "the server starts again" server_restart || exit 1
bazel_run warm clean
cached warm
is "everything passes after it" "$BAZEL_STATUS" 0 || bazel_show_log
is "no result was lost" "$BAZEL_REMOTE_HITS" "$all"

note "with a blob lost behind a result"
rm -f "$blob"
bazel_run warm clean
cached warm
is "everything passes without the blob" "$BAZEL_STATUS" 0 ||
	bazel_show_log
is "the action that makes it ran here" "$BAZEL_LOCAL" 1
is "all others were cache hits" "$BAZEL_REMOTE_HITS" $((all - 1))
is "the output is whole" \
	"$(stat -c %s "$(bazel_output warm bin/bulk/large.bin)")" 25165824
ok "the store has the blob again" test -s "$blob"
bazel_run warm clean
cached warm
is "everything passes afterwards" "$BAZEL_STATUS" 0 || bazel_show_log
is "every process is a cache hit again" "$BAZEL_REMOTE_HITS" "$all"

bazel_shutdown warm

ok "the server ends cleanly again" server_stop || server_show_log
