# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Starts and stops `toolroot serve` for a system test; source after tap.sh.
#
#	server_start --workers 2 --host-root
#	... use $GRPC_ADDR and $HTTP_ADDR, both HOST:PORT ...
#	server_stop || server_show_log
#
# One server at a time, but for one that is put aside. It listens on loopback, on ports of its own choice;
# server_restart takes those of the server before. The store is
# $SERVER_STORE, the log (standard error, all runs) $SERVER_LOG. What was
# started here is ended at the exit of the script, and nothing else.

TOOLROOT=${TOOLROOT:-$BUILD/toolroot}

SERVER_STORE=$WORK/store
SERVER_LOG=$WORK/server.log
SERVER_PID=
GRPC_ADDR=
HTTP_ADDR=
server_aside=()

# How long to wait, in seconds. Generous: sanitizers and a busy machine.
server_start_limit=60
server_stop_limit=60

server_ready='^toolroot ready grpcs?://([^ ]+:[0-9]+) http://([^ ]+:[0-9]+)$'
server_sanitizers='(Address|Thread|Leak)Sanitizer: |: runtime error: '
server_options=()
server_workers=

server_running() {
	[ -n "$SERVER_PID" ] && kill -0 "$SERVER_PID" 2> /dev/null
}

server_ended() {
	! server_running
}

server_spoke() {
	[ -s "$WORK/server.out" ] || server_ended
}

# server_start [OPTION...]: of `toolroot serve`. Returns 1 when the server is
# not ready in time; its log says why.
server_start() {
	server_options=("$@")
	server_launch 127.0.0.1:0 127.0.0.1:0
}

# server_restart: the same options, addresses and store as before.
server_restart() {
	server_launch "$GRPC_ADDR" "$HTTP_ADDR"
}

# server_launch GRPC_ADDRESS HTTP_ADDRESS
server_launch() {
	local line=

	[ -x "$TOOLROOT" ] || BAIL_OUT "$TOOLROOT is not there: run make"
	rm -f "$WORK/server.out"
	"$TOOLROOT" serve --listen "$1" --http "$2" --store "$SERVER_STORE" \
		"${server_options[@]}" > "$WORK/server.out" 2>> "$SERVER_LOG" \
		< /dev/null 3>&- &
	SERVER_PID=$!
	wait_until "$server_start_limit" server_spoke
	if server_running && IFS= read -r line < "$WORK/server.out" &&
		[[ $line =~ $server_ready ]]; then
		GRPC_ADDR=${BASH_REMATCH[1]}
		HTTP_ADDR=${BASH_REMATCH[2]}
		return 0
	fi
	diag "the server is not ready; it said: $line"
	server_show_log
	return 1
}

# server_stop: asks it to end. Returns 0 if it ended in time, with exit
# status 0, and no sanitizer has spoken in its log.
server_stop() {
	local status

	kill -TERM "$SERVER_PID" 2> /dev/null
	if ! wait_until "$server_stop_limit" server_ended; then
		diag "the server does not end on SIGTERM"
		server_kill
		return 1
	fi
	wait "$SERVER_PID"
	status=$?
	SERVER_PID=
	[ "$status" -eq 0 ] || diag "the server ended with status $status"
	if grep -qE "$server_sanitizers" "$SERVER_LOG"; then
		diag "a sanitizer found a fault in the server or a worker"
		status=1
	fi
	return "$status"
}

# server_kill: as a crash would, without a word.
server_kill() {
	server_workers="$server_workers $(server_children)"
	kill -KILL "$SERVER_PID" 2> /dev/null
	wait "$SERVER_PID" 2> /dev/null
	SERVER_PID=
}

# server_put_aside: the server goes on while others are started, on stores of
# their own, until server_take_back makes it the one that is meant. Where some
# time has to go by, as the 30 s from a server's start until it knows that no
# worker comes.
server_put_aside() {
	server_aside=("$SERVER_PID" "$GRPC_ADDR" "$HTTP_ADDR" "$SERVER_STORE"
		"$SERVER_LOG")
	SERVER_PID=
}

# After the end of the one that runs.
server_take_back() {
	SERVER_PID=${server_aside[0]}
	GRPC_ADDR=${server_aside[1]}
	HTTP_ADDR=${server_aside[2]}
	SERVER_STORE=${server_aside[3]}
	SERVER_LOG=${server_aside[4]}
	server_aside=()
}

# server_children: the process ids of the server's children, its workers.
server_children() {
	ps -o pid= --ppid "$SERVER_PID" | tr -d ' '
}

# server_blob_file FILE: where the store keeps the blob with the contents of
# FILE; a large one only, for small ones share their files.
server_blob_file() {
	local hash

	hash=$(sha256sum < "$1")
	find "$SERVER_STORE/blobs" -type f -name "${hash%% *}*"
}

server_show_log() {
	diag "the end of the server's log:"
	diag "$(tail -n 40 "$SERVER_LOG")"
}

# Ends what is left. A worker of a killed server ends by itself; one that
# does not is ended here if it still is our program.
server_clean_up() {
	local pid

	if server_running; then
		server_kill
	fi
	if [ "${#server_aside[@]}" -gt 0 ]; then
		server_take_back
		server_kill
	fi
	for pid in $server_workers; do
		if [ "/proc/$pid/exe" -ef "$TOOLROOT" ]; then
			kill -KILL "$pid" 2> /dev/null
		fi
	done
}
at_exit server_clean_up

# status FIELD: a number of the server's report.
status() {
	curl -sf "http://$HTTP_ADDR/status" |
		/usr/bin/python3 -c 'import json, sys
print(json.load(sys.stdin)["store"][sys.argv[1]])' "$1"
}

# metric NAME
metric() {
	curl -sf "http://$HTTP_ADDR/metrics" | sed -n "s/^$1 //p"
}
