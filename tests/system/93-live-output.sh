#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What an action writes is seen while it runs, by `toolroot logs` and by any
# client of ByteStream.Read; and a reader never holds it up.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"

plan 26

gate=$WORK/gate
logs() {
	"$TOOLROOT" logs --server "grpc://$GRPC_ADDR" "$@"
}
# start_action TARGET SCRIPT: in the background; what it came to is in
# $WORK/action.
start_action() {
	rm -f "$gate"
	/usr/bin/python3 "$ROOT/tests/system/lib/run_action.py" \
		"$GRPC_ADDR" "$2" --target "$1" > "$WORK/action" 3>&- &
	action_pid=$!
}
action_ended() {
	wait "$action_pid"
}
wait_for_gate="while [ ! -e '$gate' ]; do sleep 0.05; done"
running() {
	logs | grep -q "^executing .* $1 "
}
holds() {
	grep -qx "$2" "$1"
}

# Without a sandbox: the action waits for a file of ours.
ok "the server starts" server_start --workers 1 --sandbox none || exit 1
is "nothing runs" "$(logs)" "Nothing is queued, and nothing runs."

start_action //app:slow \
	"echo first; echo oops >&2; $wait_for_gate; echo last; exit 3"
logs --wait //app:slow > "$WORK/out" 2> "$WORK/err" 3>&- &
logs_pid=$!
ok "the first line is there before the action ends" \
	wait_until 60 holds "$WORK/out" first
ok "and what it wrote to standard error" wait_until 60 holds "$WORK/err" oops
not_ok "but not the last line" holds "$WORK/out" last
like "the list shows it with its target" "$(logs)" \
	"executing +[0-9]+ s +[^ ]+ +//app:slow +operations/"
name=$(logs | awk '/^executing/ { print $NF }')
like "as JSON, too" "$(logs --json)" "\"operation\": \"$name\""

# A reader that never reads, and one that goes away.
mkfifo "$WORK/idle"
logs "$name" > "$WORK/idle" 2> /dev/null 3>&- &
idle_pid=$!
exec 5< "$WORK/idle"
logs "${name#operations/}" > "$WORK/gone" 2> /dev/null 3>&- &
gone_pid=$!
ok "another reader sees it from the beginning" \
	wait_until 60 holds "$WORK/gone" first
kill "$gone_pid"
touch "$gate"
ok "the action ends" action_ended
like "as it would without readers" "$(cat "$WORK/action")" "exit=3"
wait "$logs_pid"
is "logs ends with 1 when the action failed" "$?" 1
is "it showed all of standard output" "$(tr '\n' ' ' < "$WORK/out")" \
	"first last "
like "and tells the exit code" "$(tail -n 1 "$WORK/err")" "exit code 3"
is "what has ended can still be read" \
	"$(logs "$name" 2> /dev/null | tr '\n' ' ')" "first last "
exec 5<&-
kill "$idle_pid" 2> /dev/null

# More than fits into any buffer on the way, with a reader that is stopped.
start_action //app:loud "head -c 20000000 /dev/zero | tr '\\0' 'x'; \
	echo; echo end; $wait_for_gate"
mkfifo "$WORK/fifo"
logs --wait //app:loud > "$WORK/fifo" 2> /dev/null 3>&- &
logs_pid=$!
exec 4< "$WORK/fifo"
is "a reader that is slow" "$(head -c 5 <&4)" xxxxx
ok "sees the action running" wait_until 60 running //app:loud
touch "$gate"
ok "and does not hold it up" action_ended
is "it gets all that was written" "$(cat <&4 | wc -c)" 20000000
exec 4<&-
wait "$logs_pid"
is "logs ends with 0 when the action did" "$?" 0

# An action that is killed by its timeout.
like "an action runs into its timeout" \
	"$(/usr/bin/python3 "$ROOT/tests/system/lib/run_action.py" "$GRPC_ADDR" \
		'echo begun; sleep 600' --timeout 5 --target //app:hangs)" \
	"code=DEADLINE_EXCEEDED"
is "what it wrote can be read" "$(logs //app:hangs 2> "$WORK/err")" begun
like "and why it ended" "$(cat "$WORK/err")" "stopped after its timeout"

/usr/bin/python3 "$ROOT/tests/system/lib/run_action.py" "$GRPC_ADDR" \
	'true' --target $'//app:\e[31m\u009b2J' > /dev/null
like "what a terminal would obey is not printed" "$(logs --all)" \
	'//app:\?\[31m\?+2J '

not_ok "an operation that nobody knows is an error" \
	logs operations/00000000-0000-0000-0000-000000000000
like "which says so" \
	"$(logs //no:such 2>&1)" 'no operation of "//no:such" is known'
ok "the server ends cleanly" server_stop || server_show_log
