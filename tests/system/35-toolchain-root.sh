#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Actions whose root file system is a toolchain from the store: nothing of the
# host is seen, the tree is read-only, workers lay it out once, keep it over a
# restart, drop what is unused, and are preferred when they hold it.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$(dirname "$0")/root.sh"
. "$(dirname "$0")/lib/other_user.sh"

run=$ROOT/tests/system/lib/run_action.py

# add NAME DIRECTORY: sets root to its digest.
add() {
	root=$("$TOOLROOT" toolchain add "$1" --dir "$2" --json \
		--server "grpc://$GRPC_ADDR" | python3 -c \
		'import json, sys; print(json.load(sys.stdin)["root_digest"])')
}

# act SCRIPT [OPTION...]
act() {
	/usr/bin/python3 "$run" "$GRPC_ADDR" "$@"
}

# with ROOT SCRIPT [OPTION...]: an action that has the root at "/".
with() {
	local at=$1
	shift
	act "$@" --property "toolchain-root=$at"
}

# flat TEXT: in one line.
flat() {
	tr '\n' ' ' <<< "$1" | sed 's/ *$//'
}

# worker_start NAME [OPTION...]
worker_start() {
	local name=$1
	shift
	"$TOOLROOT" worker --server "grpc://$GRPC_ADDR" --name "$name" \
		--cache "$WORK/cache-$name" "$@" 2>> "$WORK/$name.log" \
		< /dev/null 3>&- &
	worker_pid=$!
	workers="$workers $worker_pid"
	: > "$WORK/$name.log"
	wait_until 60 grep -q " connected " "$WORK/$name.log"
}

worker_end() {
	kill -TERM "$worker_pid"
	wait "$worker_pid"
}

# logged NAME EVENT: how often.
logged() {
	grep -c " $2 " "$WORK/$1.log"
}

workers=
worker_pid=
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

plan 42
make_root "$WORK/root"
ok "a server with its own worker starts" server_start --workers 2 || exit 1
add small "$WORK/root"
like "a directory becomes a toolchain" "$root" '^[0-9a-f]{64}/[0-9]+$'

note "what an action sees"
out=$(with "$root" 'cat /etc/issue; pwd; ls /; echo made > out/x' \
	--output out/x --input big=3000000)
like "it runs with the toolchain at /" "$out" "code=OK.*exit=0.*captured"
like "its root directory is the tree and what the worker adds" \
	"$(flat "$out")" "/b b bin dev etc (lib[x0-9]* )+proc tmp usr out/x 5$"
out=$(with "$root" 'for p in /home /root /var /etc/passwd /usr/bin/python3 \
	/proc/1/root/home "'"$WORK"'"; do [ ! -e $p ] || echo sees $p; done')
unlike "it sees nothing of the host" "$out" "sees"
out=$(with "$root" 'for p in / /usr /usr/bin/new /etc/issue /etc/new; do \
	if [ -d $p ]; then mkdir $p/d; else echo x >> $p; fi; done; \
	rm -f /etc/issue; cat /etc/issue; echo x > /tmp/x && cat /tmp/x' 2>&1)
like "the tree is read-only, /tmp is not" "$(flat "$out")" "captured x$"
is "the store's file is as it was" "$(with "$root" 'cat /etc/issue' |
	tail -n 1)" captured
out=$(act 'cat /opt/t/etc/issue; ls /opt' --property \
	"toolchain-root=$root" --property "toolchain-root:/opt/t=$root")
like "a tree can be at another path, too" "$(flat "$out")" "captured t$"
out=$(act 'cat /etc/issue' --property "chrootRootDigest=$root")
like "chrootRootDigest is understood" "$out" "exit=0.*captured"
out=$(with "$root" 'pwd; cat /etc/issue; ls /usr/src/work' --input file=5 \
	--property InputRootAbsolutePath=/usr/src/work)
like "the input root can be inside the tree" "$(flat "$out")" \
	"/usr/src/work captured file$"

note "what is refused"
out=$(act true)
like "without a toolchain, the answer says what to add" "$out" \
	"code=FAILED_PRECONDITION.*build --remote_default_exec_properties=toolchain-root=.*bazelrc.*toolroot toolchain list"
out=$(act true --property max-mem=1G)
like "one with other properties, for which Bazel drops the default ones, too" \
	"$out" \
	"code=FAILED_PRECONDITION.*has max-mem.*exec_properties.*\"toolchain-root\": \"<hash>"
out=$(act true --property "toolchain-root:/opt/t=$root")
like "and one with a tree at another path than /" "$out" \
	"code=FAILED_PRECONDITION.*names no toolchain for /"
out=$(with gcc true)
like "a malformed digest is an invalid argument that names the property" \
	"$out" "code=INVALID_ARGUMENT.*toolchain-root.*<hash>/<size>"
out=$(act true --property "toolchain-root:opt=$root")
like "so is a path that is not absolute" "$out" \
	"code=INVALID_ARGUMENT.*toolchain-root:opt"
out=$(act true --property "toolchain-root:/proc/x=$root")
like "so is a tree where the sandbox has its own files" "$out" \
	"code=INVALID_ARGUMENT.*/proc"
out=$(with "${root/%\/*//12345}" true)
like "a tree that the store lacks is a failed precondition that names it" \
	"$out" \
	"code=FAILED_PRECONDITION.*lacks toolchain-root ${root%/*}/12345 \(at /\).*toolchain add.*blob ${root%/*}/12345"
out=$(with "$root" nosuchprogram)
like "a program that the toolchain lacks is the shell's failure" "$out" \
	"code=OK.*exit=127"
server_stop
# Where images work, they do in the way of older kernels, too.
staging=auto
! grep -q ' staging tier=erofs' "$SERVER_LOG" || staging=erofs-path
is "the tree was laid out once for all of them" \
	"$(logged server tree_made)" 1
like "the log names tier and roots" "$(grep action_done "$SERVER_LOG")" \
	"tier=(user-)?namespaces staging=[a-z-]+ roots=\"$root at /\""

note "two slots, cold"
server_start --workers 0
worker_start one --slots 2
with "$root" 'sleep 0.7; echo first' > "$WORK/first" 2>&1 3>&- &
first=$!
with "$root" 'sleep 0.7; echo second' > "$WORK/second" 2>&1 3>&- &
second=$!
wait $first $second
like "the first of two at once runs" "$(cat "$WORK/first")" "exit=0.*first"
like "and the second" "$(cat "$WORK/second")" "exit=0.*second"
is "the tree was fetched and made once" "$(logged one tree_made)" 1

note "restart"
worker_end
touch "$WORK"/cache-one/worker-0/trees/new-9
worker_start one --slots 2
not_ok "what was not complete is removed at the start" \
	test -e "$WORK/cache-one/worker-0/trees/new-9"
out=$(with "$root" 'cat /etc/issue')
like "the next process runs with the tree" "$out" "exit=0.*captured"
is "without making it anew" "$(logged one tree_made)" 0

note "affinity"
first_pid=$worker_pid
worker_start two --slots 4
on=
for i in 1 2 3 4 5 6; do
	on+=" $(with "$root" "echo $i" | grep worker=)"
done
is "actions go where their tree is, though the other has more slots" \
	"$on" "$(printf ' worker=one%.0s' 1 2 3 4 5 6)"
with "$root" 'sleep 5.35' > "$WORK/a" 2>&1 3>&- &
first=$!
with "$root" 'sleep 5.35' > "$WORK/b" 2>&1 3>&- &
second=$!
both_run() {
	[ "$(pgrep -cxf 'sleep 5.35')" -eq 2 ]
}
wait_until 60 both_run
out=$(with "$root" 'echo now')
like "but they do not wait for it when it is busy" "$out" "worker=two.*now"
wait $first $second
cp -r "$WORK/root" "$WORK/other"
echo another > "$WORK/other/etc/issue"
small=$root
add other "$WORK/other"
other=$root
isnt() {
	[ "$1" != "$2" ]
}
ok "another file makes another toolchain" isnt "$small" "$other"
out=$(with "$other" 'cat /etc/issue')
like "and the action sees that one" "$out" "exit=0.*another"
like "a new tree goes to the worker with most free slots" "$out" "worker=two"
worker_end
worker_pid=$first_pid
worker_end

note "eviction"
bytes=$(grep -o 'tree_made.*bytes=[0-9]*' "$WORK/two.log" | head -n 1 |
	grep -o '[0-9]*$')
worker_start three --slots 1 --staging "$staging" \
	--tree-cache-size "$((bytes * 3 / 2))"
with "$small" true > "$WORK/out" 2>&1
with "$other" true > "$WORK/out" 2>&1
is "two trees were made in room for one" "$(logged three tree_made)" 2
is "and one went" "$(logged three tree_evicted)" 1
like "the one longest unused" "$(grep tree_evicted "$WORK/three.log")" \
	"${small%/*}"
is "its directory is gone" \
	"$(find "$WORK/cache-three/worker-0/trees" -mindepth 1 -maxdepth 1 |
		wc -l)" 1
out=$(with "$small" 'cat /etc/issue')
like "it is made anew when it is wanted" "$out" "exit=0.*captured"
like "staging is what was asked for" "$(grep action_done "$WORK/three.log")" \
	"staging=${staging/auto/[a-z]+} "
worker_end
worker_start four --slots 1 --tree-cache-size 10K
out=$(with "$small" true --wait 30)
like "a tree that no room is for is an error that says so" "$out" \
	"code=[A-Z_]+.*tree-cache-size"
worker_end

note "another user"
if [ "$(id -u)" -eq 0 ]; then
	cp "$TOOLROOT" "$WORK/toolroot"
	mkdir -m 777 "$WORK/cache-five"
	"${other_user[@]}" "$WORK/toolroot" worker \
		--server "grpc://$GRPC_ADDR" --name five \
		--cache "$WORK/cache-five" 2> "$WORK/five.log" \
		< /dev/null 3>&- &
	worker_pid=$!
	workers="$workers $worker_pid"
else
	worker_start five
fi
wait_until 60 grep -q " connected " "$WORK/five.log"
out=$(with "$small" 'cat /etc/issue; echo x >> /etc/issue || echo refused' \
	2>&1)
like "without root it works the same" "$out" "exit=0.*captured.*refused"
like "in a user namespace" "$(grep action_done "$WORK/five.log")" \
	"tier=user-namespaces"
out=$(with "$other" 'cat /etc/issue; [ -e /home ] || echo no home')
like "and shows nothing of the host" "$out" "another.*no home"
worker_end

ok "the server ends cleanly" server_stop || server_show_log
