#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# `toolroot worker` away from its server: it fetches inputs into its own cache,
# ends cleanly, survives the loss of its server, and when it is killed nothing
# of its actions lives on and another worker takes over.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"

run=$ROOT/tests/system/lib/run_action.py
worker_pid=

# worker_start NAME [OPTION...]
worker_start() {
	local name=$1
	shift
	"$TOOLROOT" worker --server "grpc://$GRPC_ADDR" --name "$name" \
		--cache "$WORK/cache" --host-root "$@" \
		2> "$WORK/$name.log" < /dev/null 3>&- &
	worker_pid=$!
	workers="$workers $worker_pid"
	wait_until 60 grep -q " connected " "$WORK/$name.log" || {
		diag "$(tail "$WORK/$name.log")"
		return 1
	}
}

workers=
end_workers() {
	local pid

	# By now the number of one that has ended may be another's.
	for pid in $workers; do
		if [ "/proc/$pid/exe" -ef "$TOOLROOT" ]; then
			kill -KILL "$pid" 2> /dev/null
		fi
	done
}
at_exit end_workers

# running MARK: how many processes sleep so many seconds.
running() {
	pgrep -cx -f "sleep $1"
}

gone() {
	! pgrep -x -f "sleep $1" > /dev/null
}

sleeps() {
	pgrep -x -f "sleep $1" > /dev/null
}

act() {
	/usr/bin/python3 "$run" "$GRPC_ADDR" "$@"
}

plan 23
ok "a server without workers starts" server_start --workers 0 \
	--log-level debug
ok "a worker connects" worker_start one --slots 2

out=$(act 'cat small; ./tool; wc -c < big; echo made > out/x' \
	--input small=20 --input tool=300000x --input big=3000000 \
	--output out/x)
like "it runs an action with inputs of all sizes" "$out" \
	"code=OK.*exit=0.*worker=one.*I am tool.*3000000.*out/x 5"
# One that transfers fill may be ended by a server that is short of memory.
peer=$(sed -n 's/.* worker_joined .*peer=\([^ ]*\).*/\1/p' "$SERVER_LOG")
is "its session has a connection of its own" \
	"${peer%%:*} $(grep -c " rpc .* peer=$peer " "$SERVER_LOG")" "ipv4 0"
out=$(act 'exit 3')
like "an exit code is returned" "$out" "code=OK.*exit=3"
out=$(act 'echo before; sleep 97.31' --timeout 5)
like "a timeout is DEADLINE_EXCEEDED, with the output so far" "$out" \
	"code=DEADLINE_EXCEEDED.*before"
ok "and leaves no process behind" gone 97.31
out=$(act 'nosuchprogram-here')
like "a shell's own failure is an exit code" "$out" "code=OK.*exit=127"

# --- ending
act 'sleep 5.31; echo finished' > "$WORK/drain.out" 2>&1 3>&- &
client=$!
ok "an action runs" wait_until 60 sleeps 5.31
kill -TERM "$worker_pid"
wait "$worker_pid"
is "a worker told to end exits with 0" $? 0
wait "$client"
like "and finishes what it runs first" "$(cat "$WORK/drain.out")" \
	"code=OK.*finished"

# --- being killed
worker_start two --slots 1
act 'sleep 98.31; echo never' --timeout 300 --wait 120 > "$WORK/kill.out" \
	2>&1 3>&- &
client=$!
ok "another action runs" wait_until 60 sleeps 98.31
kill -KILL "$worker_pid"
wait "$worker_pid" 2> /dev/null
ok "a killed worker takes its actions along" wait_until 60 gone 98.31
worker_start three --slots 1
ok "the action is given to the next worker" wait_until 60 sleeps 98.31

# --- losing the spawner
spawner=$(pgrep -P "$worker_pid")
kill -KILL "$spawner"
ok "without its spawner nothing of the action is left" wait_until 60 gone 98.31
wait "$worker_pid"
is "and the worker ends with 1" $? 1
kill "$client" 2> /dev/null
wait "$client" 2> /dev/null

# --- losing the server
worker_start four --slots 1
act 'sleep 96.31' --wait 60 > "$WORK/lost.out" 2>&1 3>&- &
client=$!
ok "an action runs on a fourth worker" wait_until 60 sleeps 96.31
server_kill
kill "$client" 2> /dev/null
wait "$client" 2> /dev/null
ok "a worker without its server ends its actions" wait_until 60 gone 96.31
server_restart
out=$(act 'echo again' --retry)
like "and is back when the server is" "$out" "code=OK.*again"
kill -TERM "$worker_pid"
wait "$worker_pid"
is "no scratch is left" "$(find "$WORK/cache" -path '*scratch/*' | wc -l)" 0

# --- being killed without sandboxes
worker_start bare --slots 1 --sandbox none
act '(setsid sleep 95.31 &); sleep 94.31' --wait 60 > "$WORK/bare.out" \
	2>&1 3>&- &
client=$!
ok "an action runs without a sandbox" wait_until 60 sleeps 95.31
kill -KILL "$worker_pid"
wait "$worker_pid" 2> /dev/null
ok "its worker killed, nothing of it is left" wait_until 60 gone 95.31
# As one is whose server was killed before it could ask who that is.
like "a worker whose parent has gone does not start" "$("$TOOLROOT" worker \
	--server "grpc://$GRPC_ADDR" --cache "$WORK/orphan" --sandbox none \
	--exit-with-parent 999999999 2>&1)" \
	'process 999999999, which started the worker, is gone'
kill "$client" 2> /dev/null
wait "$client" 2> /dev/null
server_stop
