#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A real Bazel builds and tests a real workspace with this machine's compiler
# captured as a toolchain and nothing of the host in sight; another header in
# the toolchain re-runs every action, and `toolroot explain` names it; going
# back hits every result. The same with clang, and with rules that bring their
# compiler (tests/bazel/hermetic): there another header re-runs what is
# compiled or depends on it, and nothing else. As root the worker's host has no
# compiler that works: what was captured does not miss it.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$ROOT/tests/bazel/lib.sh"

plan 35

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

# hermetic GCC SDK: builds and tests all of //hermetic from nothing, with these
# roots. Bazel is not to look for a compiler on this machine.
hermetic() {
	cat > "$BAZEL_WORKSPACE/hermetic/roots.bzl" <<-END
		COMMANDS = "$commands"
		EXTRA = "$extra"
		GCC = "$1"
		SDK = "$2"
	END
	bazel_run base clean
	bazel_run base test --config=exec \
		--remote_executor="grpc://$GRPC_ADDR" \
		--extra_execution_platforms=//hermetic:with_commands,//hermetic:with_gcc \
		--extra_toolchains=//hermetic:cc_toolchain \
		--incompatible_enable_cc_toolchain_resolution \
		--repo_env=BAZEL_DO_NOT_DETECT_CPP_TOOLCHAIN=1 \
		--execution_log_json_file="$WORK/executed.json" //hermetic/...
}

# ran NAME WANTED: what of //hermetic the last build ran, a sorted list, each
# output without its folder; all else was a hit (two tests).
ran() {
	is "$1" "$(bazel_executed "$WORK/executed.json" |
		sed 's,bin/hermetic/\(_objs/\)\?,,; s,testlogs/hermetic/,,')" "$2"
	is "$1, and all else was a hit" \
		"$BAZEL_STATUS $((BAZEL_REMOTE + BAZEL_REMOTE_HITS)) $BAZEL_LOCAL" \
		"0 $hermetic_all 0" || bazel_show_log
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
# Not below /tmp, which each action has of its own.
extra=$(mktemp -d /var/tmp/toolroot-extra.XXXXXX) || exit 1
at_exit rm -rf "$extra"
echo '#define EXTRA 1' > "$extra/extra.h"
add gcc --cc gcc --also "$extra"
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

note "with another header in the toolchain"
before=$(misses toolchain)
echo '#define EXTRA 2' > "$extra/extra.h"
add gcc --cc gcc --also "$extra"
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
	"$(grep -cF "changed toolchain $extra/extra.h" <<< "$explained")" \
	"$all"
like "with the line that is new" "$explained" '\+#define EXTRA 2'
is "the metric says toolchain" "$(($(misses toolchain) - before))" "$all"

note "back again"
echo '#define EXTRA 1' > "$extra/extra.h"
add gcc --cc gcc --also "$extra"
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
	trees=6
else
	for test in "clang is another toolchain" \
		"a part builds and passes with it" \
		"every process ran remotely, anew"; do
		skip "$test" "there is no clang on this machine"
	done
	trees=5
fi

note "with rules that bring their compiler"
# Of //hermetic, as `bazel test --config=cache` counts them.
hermetic_all=15
cp -R "$ROOT/tests/bazel/hermetic" "$BAZEL_WORKSPACE/hermetic"
mkdir -p "$WORK/sdk/bin"
printf '#!/bin/sh\necho one; cat\n' > "$WORK/sdk/bin/stamp"
chmod 755 "$WORK/sdk/bin/stamp"
add sdk --dir "$WORK/sdk"
sdk=$root
add commands --commands
commands=$root
hermetic "$gcc" "$sdk"
is "everything builds and passes" "$BAZEL_STATUS" 0 || bazel_show_log
is "every process ran remotely" "$BAZEL_REMOTE $BAZEL_REMOTE_HITS $BAZEL_LOCAL" \
	"$hermetic_all 0 0"
is "the compiler was that of the store" \
	"$(cat "$(bazel_output base bin/hermetic/edition.txt)")" \
	"edition 1, high water at 50"
hermetic "$changed" "$sdk"
ran "another header in the toolchain re-runs what it concerns" \
"CppCompile almanac/almanac.o
CppCompile table/table.o
CppCompile tide/tide.o
CppCompile tide_test/tide_test.o
CppLink almanac
CppLink libtide.a
CppLink table
CppLink tide_test
Genrule edition.txt
TestRunner tide_test"
is "and the new one was read" \
	"$(cat "$(bazel_output base bin/hermetic/edition.txt)")" \
	"edition 2, high water at 50"
printf '#!/bin/sh\necho two; cat\n' > "$WORK/sdk/bin/stamp"
add sdk --dir "$WORK/sdk"
unlike "another tool is another tree" "$root" "$sdk"
hermetic "$gcc" "$root"
ran "another tool re-runs the action that mounts it" "Genrule stamped.txt"
is "and the new one ran" \
	"$(head -n 1 "$(bazel_output base bin/hermetic/stamped.txt)")" two
hermetic "$gcc" "$sdk"
ran "back again nothing runs" ""
bazel_shutdown base

is "each tree was laid out once" "$(grep -c " tree_made " "$SERVER_LOG")" "$trees"
unlike "no action ran without its toolchain, but those that failed" \
	"$(grep 'action_done.*status=OK' "$SERVER_LOG")" 'roots=""'
note "$(grep " tree_made " "$SERVER_LOG")"
ok "the server ends cleanly" server_stop || server_show_log
