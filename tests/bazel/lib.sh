# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Drives a real Bazel in a system test; source after tap.sh.
#
#	bazel_copy_workspace "$WORK/almanac"
#	bazel_run first test --config=exec --remote_executor=grpc://... //...
#	is "all passed" "$BAZEL_STATUS" 0
#
# Each output base has a Bazel server of its own, which takes some seconds
# and much memory to start: use few, and end each with bazel_shutdown when
# done with it. Those that are left are ended at the exit of the script. None
# lives long enough for Java's optimizing compiler to earn what it costs, nor
# for a collector with threads: without them a start takes half the time.

BAZEL_WORKSPACE=
BAZEL_STATUS=
BAZEL_LOG=
BAZEL_PID=

# The counts of the last build, as bazel_run leaves them: how its processes
# were run. A process is an action here, a test is two.
BAZEL_REMOTE=0
BAZEL_REMOTE_HITS=0
BAZEL_LOCAL=0

# Longest time of one Bazel command, in seconds.
bazel_limit=120

bazel_names=()

# bazel_copy_workspace DIRECTORY: a fresh copy of the example workspace, for
# the commands that follow.
bazel_copy_workspace() {
	BAZEL_WORKSPACE=$1
	cp -R "$ROOT/tests/bazel/workspace" "$1"
}

# bazel_start NAME COMMAND [ARGUMENT...]: in the background, with the output
# base called NAME. Follow with bazel_wait. What Bazel prints is in
# $BAZEL_LOG, a log of this command alone.
bazel_start() {
	local name=$1
	shift

	[[ " ${bazel_names[*]} " == *" $name "* ]] || bazel_names+=("$name")
	BAZEL_LOG=$(mktemp "$WORK/bazel-$name-XXXXXX")
	(
		cd "$BAZEL_WORKSPACE" &&
			exec timeout -k 10 "$bazel_limit" bazel \
				--nohome_rc \
				--host_jvm_args=-Xmx512m \
				--host_jvm_args=-XX:TieredStopAtLevel=1 \
				--host_jvm_args=-XX:+UseSerialGC \
				--max_idle_secs=60 \
				--output_user_root="$WORK/bazel" \
				--output_base="$WORK/bazel/$name" "$@"
	) > "$BAZEL_LOG" 2>&1 < /dev/null 3>&- &
	BAZEL_PID=$!
}

# bazel_wait: sets BAZEL_STATUS and the counts; returns the status.
bazel_wait() {
	wait "$BAZEL_PID"
	BAZEL_STATUS=$?
	BAZEL_PID=
	BAZEL_REMOTE=$(bazel_processes remote)
	BAZEL_REMOTE_HITS=$(bazel_processes 'remote cache hit')
	BAZEL_LOCAL=$(bazel_processes local)
	return "$BAZEL_STATUS"
}

bazel_run() {
	bazel_start "$@"
	bazel_wait
}

# bazel_processes KIND: how many of this kind the last build counted, from a
# line such as "INFO: 9 processes: 4 remote cache hit, 2 internal, 3 remote."
bazel_processes() {
	local line count

	line=$(grep -E '^INFO: [0-9]+ process(es)?: ' "$BAZEL_LOG" | tail -n 1)
	line=", ${line#*: *: }"
	count=${line%%" $1"[,.]*}
	if [ "$count" = "$line" ]; then
		echo 0
	else
		echo "${count##*, }"
	fi
}

# bazel_executed FILE: what the last build really ran, from the log that
# --execution_log_json_file=FILE made: a sorted line "MNEMONIC OUTPUT" for
# each action, without the cache hits. A test counts once.
bazel_executed() {
	python3 "$ROOT/tests/bazel/executed.py" "$1" | LC_ALL=C sort -u
}

# bazel_output NAME PATH: where an output of the base NAME is.
bazel_output() {
	echo "$WORK/bazel/$1/execroot/almanac/bazel-out/k8-fastbuild/$2"
}

bazel_show_log() {
	diag "the end of Bazel's output:"
	diag "$(tail -n 40 "$BAZEL_LOG")"
}

# bazel_shutdown NAME: ends the Bazel server of an output base. By signal and
# by its own process id, for one that hangs does not answer `bazel shutdown`.
bazel_shutdown() {
	local pid base=$WORK/bazel/$1

	[ -e "$base/server/server.pid.txt" ] || return 0
	pid=$(cat "$base/server/server.pid.txt")
	bazel_serves "$pid" "$base" || return 0
	kill -TERM "$pid"
	wait_until 10 bazel_serves_not "$pid" "$base" || kill -KILL "$pid"
}

# bazel_serves PID OUTPUT_BASE: whether this process is that Bazel server.
bazel_serves() {
	tr '\0' '\n' < "/proc/$1/cmdline" 2> /dev/null |
		grep -qxF -e "--output_base=$2"
}

bazel_serves_not() {
	! bazel_serves "$@"
}

bazel_clean_up() {
	local name

	[ -z "$BAZEL_PID" ] || kill -TERM "$BAZEL_PID" 2> /dev/null
	for name in "${bazel_names[@]}"; do
		bazel_shutdown "$name"
	done
}

need bazel bazel-bootstrap
at_exit bazel_clean_up
