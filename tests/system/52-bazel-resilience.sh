#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A real Bazel goes on with its build while the server is restarted, or
# killed, or loses its workers, in the middle of it.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$ROOT/tests/bazel/lib.sh"

plan 24

# All processes of //slow and of `bazel test //...`.
slow=25
all=84

# A user who expects the server to go away at times.
patient=(--remote_retries=20 --remote_timeout=10s)

# slow_start ROUND: builds //slow, from nothing in each round.
slow_start() {
	bazel_run base clean
	bazel_start base build --config=exec "${patient[@]}" \
		--action_env=ROUND="$1" --remote_executor="grpc://$GRPC_ADDR" \
		//slow
	wait_until 60 slow_is_half_way
}

slow_is_half_way() {
	set -- "$(bazel_output base bin/slow)"/wait-*.txt
	[ $# -ge 4 ]
}

slow_ends() {
	bazel_wait
	is "$1" "$BAZEL_STATUS" 0 || {
		bazel_show_log
		server_show_log
	}
	is "with each result once" \
		"$(sort -u "$(bazel_output base bin/slow/slow.txt)" |
			wc -l)" 12
}

kill_workers() {
	local pid pids

	pids=$(server_children)
	[ -n "$pids" ] || return 1
	for pid in $pids; do
		kill -KILL "$pid"
	done
}

ok "the server starts" server_start --workers 4 --host-root || exit 1
bazel_copy_workspace "$WORK/almanac"

note "the server is killed"
ok "a build is half way" slow_start killed
server_kill
sleep 0.5
ok "the server starts again after a kill" server_restart || exit 1
slow_ends "the build goes on when the server was killed"
is "all of it ran remotely" \
	"$((BAZEL_REMOTE + BAZEL_REMOTE_HITS)) $BAZEL_LOCAL" "$slow 0"

note "the server is restarted"
ok "another build is half way" slow_start restarted
ok "the server ends cleanly while it works" server_stop || server_show_log
ok "the server starts again after a stop" server_restart || exit 1
slow_ends "the build goes on when the server was restarted"
is "all of that ran remotely" \
	"$((BAZEL_REMOTE + BAZEL_REMOTE_HITS)) $BAZEL_LOCAL" "$slow 0"

note "the workers are killed"
ok "a third build is half way" slow_start workers
ok "there are workers to kill" kill_workers
slow_ends "the build goes on when its workers were killed"
is "all of that also ran remotely" \
	"$((BAZEL_REMOTE + BAZEL_REMOTE_HITS)) $BAZEL_LOCAL" "$slow 0"
ok "the server lives on" server_running

note "the server is killed again and again under a large build"
bazel_start base test --config=exec "${patient[@]}" \
	--remote_executor="grpc://$GRPC_ADDR" //...
restarts=0
for pause in 1.3 0.7 1.9; do
	sleep "$pause"
	server_kill
	server_restart && restarts=$((restarts + 1))
done
is "the server started each time" "$restarts" 3
bazel_wait
is "everything builds and passes" "$BAZEL_STATUS" 0 || {
	bazel_show_log
	server_show_log
}
is "every process is accounted for" \
	"$((BAZEL_REMOTE + BAZEL_REMOTE_HITS)) $BAZEL_LOCAL" "$all 0"
bazel_run base clean
bazel_run base test --config=exec \
	--remote_executor="grpc://$GRPC_ADDR" //...
is "everything passes afterwards" "$BAZEL_STATUS" 0 || bazel_show_log
is "every result was kept" "$BAZEL_REMOTE_HITS" "$all"
bazel_shutdown base

ok "the server ends cleanly" server_stop || server_show_log
