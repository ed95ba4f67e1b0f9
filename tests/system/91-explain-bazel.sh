#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A real Bazel, executing remotely: a source, a flag, an environment variable
# and a platform property are changed, one a build, and what was built is
# collected; `toolroot explain` names the cause of that build's misses and the
# thing that changed, and the metric the cause. A header of the toolchain is
# changed in 36-bazel-toolchain.sh.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$ROOT/tests/bazel/lib.sh"

plan 24

target=//words:split

build() {
	bazel_run one build --config=exec \
		--remote_executor="grpc://$GRPC_ADDR" "$@" "$target"
}

explain() {
	"$TOOLROOT" explain --server "grpc://$GRPC_ADDR" "$@" 2>&1
}

# Explaining follows the build, on its own thread.
explained() {
	explain > "$WORK/explained" && grep -qE "$1" "$WORK/explained"
}

# causes: those of the last build, each once.
causes() {
	explain --json | sed -n 's/^    "cause": "\(.*\)",$/\1/p' | sort -u |
		tr '\n' ' '
}

# counted CAUSE: the metric has it (one test).
counted() {
	ok "the metric says $1" [ "$(curl -sf "http://$HTTP_ADDR/metrics" |
		sed -n "s/^toolroot_action_misses_total{cause=\"$1\"} //p")" \
		-gt 0 ]
}

ok "the server starts" server_start --workers 2 --host-root || exit 1
bazel_copy_workspace "$WORK/almanac"
build
is "it builds" "$BAZEL_STATUS" 0 || bazel_show_log
ok "all misses of the first build are explained" \
	wait_until 60 explained ": first-seen"
counted first-seen

echo '#define BUFFER_CHANGED 1' >> "$BAZEL_WORKSPACE/words/buffer.h"
build
is "it builds with another header" "$BAZEL_STATUS" 0 || bazel_show_log
ok "the header is named" \
	wait_until 60 explained 'changed input words/buffer\.h'
is "and the cause is source" "$(causes)" "source "
counted source
like "with the line that is new" "$(explain)" '\+#define BUFFER_CHANGED 1'

build --copt=-DFLAG_CHANGED
is "it builds with another flag" "$BAZEL_STATUS" 0 || bazel_show_log
ok "the argument is named" wait_until 60 explained 'after   -DFLAG_CHANGED'
is "and the cause is command" "$(causes)" "command "
counted command

build --copt=-DFLAG_CHANGED --action_env=NEW_VARIABLE=7
ok "the variable is named" \
	wait_until 60 explained 'added variable NEW_VARIABLE'
is "and the cause is environment" "$(causes)" "environment "
counted environment

build --copt=-DFLAG_CHANGED --action_env=NEW_VARIABLE=7 \
	--remote_default_exec_properties=cache-silo-key=other
ok "the property is named" \
	wait_until 60 explained 'added property cache-silo-key'
is "and the cause is platform" "$(causes)" "platform "
counted platform
[ "$BAZEL_STATUS" -eq 0 ] || bazel_show_log

# As if nobody had built for a day.
ok "the server stops" server_stop || server_show_log
"$BUILD/tests/system/age_store" "$SERVER_STORE" 24
server_restart || BAIL_OUT "the server does not start again"
"$TOOLROOT" gc --server "grpc://$GRPC_ADDR" --run --max-age 23h > /dev/null
bazel_run one clean
build --copt=-DFLAG_CHANGED --action_env=NEW_VARIABLE=7 \
	--remote_default_exec_properties=cache-silo-key=other
ok "it is told when it was collected, and why" wait_until 60 explained \
	'evicted [0-9]+ min ago by toolroot gc, for its age' ||
	bazel_show_log
is "and the cause is evicted" "$(causes)" "evicted "
counted evicted

bazel_shutdown one
ok "the server ends cleanly" server_stop || server_show_log
