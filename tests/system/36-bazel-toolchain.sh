#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A real Bazel builds and tests a real workspace with this machine's compiler
# captured as a toolchain and nothing of the host in sight; another header in
# the toolchain re-runs every action, and `toolroot explain` names it; going
# back hits every result. The same with clang. As root the worker's host has no compiler that works: what
# was captured does not miss it.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$ROOT/tests/bazel/lib.sh"

plan 24

# All processes of //..., as `bazel test --config=cache //...` counts them.
all=84

# add NAME OPTION...: sets root.
add() {
	root=$("$TOOLROOT" toolchain add "$@" --json \
		--server "grpc://$GRPC_ADDR" | python3 -c \
		'import json, sys; print(json.load(sys.stdin)["root_digest"])')
}

# misses CAUSE: the metric.
misses() {
	curl -sf "http://$HTTP_ADDR/metrics" |
		sed -n "s/^toolroot_action_misses_total{cause=\"$1\"} //p"
}

# remote ROOT: builds and tests everything from nothing, with the toolchain.
remote() {
	bazel_run base clean
	bazel_run base test --config=exec \
		--remote_executor="grpc://$GRPC_ADDR" \
		--remote_default_exec_properties="toolchain-root=$1" //...
}

# The server in a mount namespace where whoever calls a compiler or the
# assembler gets a program that fails. Its process id is the program's own.
if [ "$(id -u)" -eq 0 ]; then
	cat > "$WORK/hidden" <<-END
		#!/bin/bash
		for file in \$(readlink -e /usr/bin/gcc /usr/bin/g++ /usr/bin/cc \\
			/usr/bin/clang /usr/bin/as /usr/bin/ld \\
			"\$(gcc -print-prog-name=cc1)" | sort -u); do
			mount --bind /bin/false "\$file" || exit 1
		done
		exec "$TOOLROOT" "\$@"
	END
	cat > "$WORK/toolroot" <<-END
		#!/bin/bash
		exec unshare --mount "$WORK/hidden" "\$@"
	END
	chmod 755 "$WORK/hidden" "$WORK/toolroot"
	program=$TOOLROOT
	TOOLROOT=$WORK/toolroot
fi
ok "the server starts, without the host's root" server_start --workers 2 ||
	exit 1
if [ "$(id -u)" -eq 0 ]; then
	TOOLROOT=$program
	not_ok "where it runs, gcc does not work" \
		nsenter -t "$SERVER_PID" -m gcc --version
else
	skip "where it runs, gcc does not work" "only root can hide it"
fi
bazel_copy_workspace "$WORK/almanac"
mkdir "$WORK/extra"
echo '#define EXTRA 1' > "$WORK/extra/extra.h"
add gcc --cc gcc --also "$WORK/extra"
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

note "with another header in the toolchain"
before=$(misses toolchain)
echo '#define EXTRA 2' > "$WORK/extra/extra.h"
add gcc --cc gcc --also "$WORK/extra"
changed=$root
unlike "the toolchain has another digest" "$changed" "$gcc"
remote "$changed"
is "everything builds and passes with it" "$BAZEL_STATUS" 0 ||
	bazel_show_log
is "every process ran again" "$BAZEL_REMOTE $BAZEL_REMOTE_HITS" "$all 0"

explained=$("$TOOLROOT" explain --limit 1000 --server "grpc://$GRPC_ADDR")
is "of each the toolchain is the cause" \
	"$(grep -c '^//.*: toolchain$' <<< "$explained")" "$all"
is "by its header" \
	"$(grep -cF "changed toolchain $WORK/extra/extra.h" <<< "$explained")" \
	"$all"
like "with the line that is new" "$explained" '\+#define EXTRA 2'
is "the metric says toolchain" "$(($(misses toolchain) - before))" "$all"

note "back again"
echo '#define EXTRA 1' > "$WORK/extra/extra.h"
add gcc --cc gcc --also "$WORK/extra"
is "the first digest is back" "$root" "$gcc"
remote "$root"
is "everything passes" "$BAZEL_STATUS" 0 || bazel_show_log
is "every process is a hit" "$BAZEL_REMOTE_HITS" "$all"

note "with clang"
if command -v clang > /dev/null; then
	add clang --cc clang
	unlike "clang is another toolchain" "$root" "$gcc"
	bazel_run base test --config=exec --repo_env=CC=clang \
		--remote_executor="grpc://$GRPC_ADDR" \
		--remote_default_exec_properties="toolchain-root=$root" \
		//words/...
	is "a part builds and passes with it" "$BAZEL_STATUS" 0 ||
		bazel_show_log
	like "every process ran remotely, anew" \
		"$BAZEL_REMOTE $BAZEL_REMOTE_HITS $BAZEL_LOCAL" "^[1-9][0-9]* 0 0$"
	trees=3
else
	for test in "clang is another toolchain" \
		"a part builds and passes with it" \
		"every process ran remotely, anew"; do
		skip "$test" "there is no clang on this machine"
	done
	trees=2
fi
bazel_shutdown base

is "each tree was laid out once" "$(grep -c " tree_made " "$SERVER_LOG")" "$trees"
unlike "no action ran without its toolchain, but those that failed" \
	"$(grep 'action_done.*status=OK' "$SERVER_LOG")" 'roots=""'
note "$(grep " tree_made " "$SERVER_LOG")"
ok "the server ends cleanly" server_stop || server_show_log
