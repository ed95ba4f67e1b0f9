#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Actions that mean harm, through a real server: they look for what is not
# theirs, change what they were given, leave things behind, take all there is,
# and hand in outputs that are none. As root, and once more with a worker that
# is not. Afterwards every byte of the store is what it was, and the server
# still serves.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$(dirname "$0")/root.sh"
. "$(dirname "$0")/lib/other_user.sh"

run=$ROOT/tests/system/lib/run_action.py
need perl perl

cat > "$WORK/toolroot.conf" <<'END'
[worker]
scratch-size = 48M
scratch-files = 3000
memory-per-action = 256M
pids-per-action = 100
stream-limit = 1M
END

# act SCRIPT [OPTION...]: sets out.
act() {
	out=$(/usr/bin/python3 "$run" "$GRPC_ADDR" "$@" \
		--property "toolchain-root=$root" 2>&1)
}

# gone PATTERN: whether no process of the host has such a command line. It says
# which ones are this run's, by its number: others may run the same, and what
# got away is nobody's child any more.
gone() {
	! pgrep -f "$1" > /dev/null
}

# sums DIRECTORY: of what a worker keeps, its store apart.
sums() {
	(cd "$1" && find . \( -path './*/trees/*' -o -path './*/files/*' \) \
		-type f -exec sha256sum {} + | sort)
}

reads() {
	note "reading what is not its own"
	act "for p in /home /root /var /srv /sys /run /boot /etc/passwd \
		/etc/shadow /dev/mem /dev/kmsg /dev/sda /dev/vda /dev/fuse \
		/proc/1/root/etc /proc/1/cwd/etc /proc/1/fd/0 '$WORK' \
		'$SERVER_STORE' /proc/self/root/home ../../../../home; do \
		[ ! -e \$p ] || echo sees \$p; done
		for p in /proc/1/environ /proc/1/mem /proc/1/maps \
		/proc/kcore /proc/kmsg /proc/1/stack; do \
		cat \$p > /dev/null 2>&1 && [ -n \"\$(head -c 1 \$p | tr -d \
		'\\0')\" ] && echo reads \$p; done; echo looked"
	like "$1: it looks around" "$out" "exit=0.*looked"
	unlike "$1: it sees nothing of the host" "$out" "sees |reads "
	act 'echo mine > /tmp/secret; echo mine > secret; sleep 1.2' \
		> /dev/null 3>&- &
	local other=$!
	sleep 0.4
	act 'find / -name secret 2> /dev/null; ls /proc | grep -c "^[0-9]"'
	like "$1: it sees no files of another action" "$out" "exit=0"
	unlike "$1: nor its processes" "$out" "secret|[1-9][0-9]$"
	wait $other
	act "perl -e '
		for (\"127.0.0.1:${GRPC_ADDR##*:}\", \"127.0.0.1:${HTTP_ADDR##*:}\",
			\"192.0.2.1:53\", \"8.8.8.8:53\") {
			my (\$host, \$port) = split /:/;
			my \$to = pack(\"S n C4 x8\", 2, \$port, split(/\\./, \$host));
			socket(my \$s, 2, 1, 0) or print \"no socket\n\";
			print connect(\$s, \$to) ? \"reached \$_\n\" : \"failed\n\";
			socket(\$s, 2, 2, 0) and send(\$s, \"x\", 0, \$to) and
				\$host !~ /^127/ and print \"sent to \$_\n\";
		}'"
	like "$1: it tries the network" "$out" "exit=0.*failed"
	unlike "$1: and reaches nobody" "$out" "reached|sent"
}

writes() {
	note "writing where it must not"
	act 'for f in big small tool /etc/issue /usr/bin/cat /bin/sh; do
		chmod u+w $f; echo x >> $f; echo x > $f; ln -f $f l; echo y > l
		mv $f $f.moved; rm -f $f.moved; perl -e "truncate(shift, 0)" $f
		perl -e "open(F, q(+<), shift) and print F q(bad)" $f
		done; mkdir /usr/x /x; mknod /usr/dev c 1 3; echo tried' \
		--input big=3000000 --input small=20 --input tool=300000x
	like "$1: it writes into inputs and the toolchain" "$out" "exit=0.*tried"
	act 'cat small; echo; wc -c < big; wc -c < tool; ./tool; cat /etc/issue' \
		--input big=3000000 --input small=20 --input tool=300000x
	like "$1: the next one finds them as they were" "$(tr '\n' ' ' <<< "$out")" \
		"exit=0.*echo I am +3000000 300000 I am tool captured"
	act 'for p in /proc/sys/kernel/hostname /proc/sys/vm/drop_caches \
		/proc/sysrq-trigger /proc/1/oom_score_adj /proc/1/mem; do
		(echo 1 > $p) 2> /dev/null && echo wrote $p; done
		(echo -1000 > /proc/self/oom_score_adj) 2> /dev/null &&
		echo wrote oom; touch /dev/x /proc/x && echo made; echo tried'
	unlike "$1: the kernel takes no orders" "$out" "wrote|made"
	act "perl -e 'my %calls = (mount => 165, unshare => 272, setns => 308,
		keyctl => 250, bpf => 321, userfaultfd => 323, ptrace => 101,
		io_uring_setup => 425, init_module => 175, reboot => 169,
		mknod => 133, open_tree => 428, chroot => 161);
		for (sort keys %calls) {
			my \$rc = syscall(\$calls{\$_}, 0x10000000, 0, 0, 0, 0);
			print \"allowed \$_\n\" if \$rc >= 0;
		} print \"tried\n\"'"
	if [ "$(uname -m)" = x86_64 ]; then
		like "$1: it tries calls for the privileged" "$out" "tried"
		unlike "$1: and is refused" "$out" "allowed"
	else
		skip "$1: it tries calls for the privileged" "not x86-64"
		skip "$1: and is refused" "not x86-64"
	fi
}

stays() {
	note "leaving things behind"
	act 'trap "" TERM HUP INT
		for i in 1 2 3; do
			(trap "" TERM; setsid sleep 91.'"$$"'7$i &) &
		done
		perl -e "fork and exit; fork and exit; \$SIG{TERM} = q(IGNORE);
			sleep 91.'"$$"'7" &
		sleep 0.2; echo left'
	like "$1: it starts processes and ends" "$out" "exit=0.*left"
	ok "$1: none is left" wait_until 60 gone "sleep 91[.]${$}7"
	act 'kill -9 -1; kill -9 1; kill -STOP 1; kill -9 0; sleep 1' --timeout 5
	like "$1: it kills all that it can, itself at last" "$out" \
		"code=(OK|DEADLINE_EXCEEDED)"
}

takes() {
	note "taking all there is"
	act "perl -e 'while ($$) { fork }'" --timeout 2
	like "$1: a fork bomb ends with its time" "$out" "code=DEADLINE_EXCEEDED"
	if [ "$2" = groups ]; then
		like "$1: the answer names the limit" "$out" \
			"limit of 100 processes.*--pids-per-action"
	else
		skip "$1: the answer names the limit" "no control groups"
	fi
	ok "$1: none of it is left" wait_until 60 gone "while .$$. . fork"
	act "perl -e '\$x .= chr(65 + \$_ % 26) x 1e6 for 1 .. 2000'; echo on" \
		--property max-mem=64M
	if [ "$2" = groups ]; then
		like "$1: memory beyond the limit is death" "$out" "exit=137"
		like "$1: the answer names limit and peak" "$out" \
			"memory limit of 64M .peak [0-9.]+M.*--memory-per-action"
	else
		like "$1: memory beyond the limit is refused" "$out" \
			"exit=0.*on"
		skip "$1: the answer names limit and peak" "no control groups"
	fi
	act 'head -c 90000000 /dev/zero > f; s=$?; exit $s'
	like "$1: a disk that is full is an error" "$out" \
		"exit=1.*note=.*scratch, which holds 48M.*--scratch-size"
	act 'i=0; while : > f$i; do i=$((i + 1)); done 2> /dev/null; exit 3'
	like "$1: so are too many files" "$out" "exit=[23].*--scratch-files"
	act 'perl -e "print q(x) x 1e6 for 1 .. 8"; echo end >&2'
	like "$1: endless output is cut" "$out" "code=OK.*exit=0"
	ok "$1: to its limit" test "${#out}" -lt 1200000
}

hands_in() {
	note "outputs that are none"
	act 'ln -s /etc/passwd a; ln -s ../../../etc d; mkdir o; ln -s / o/r' \
		--output a --output d --output o
	like "$1: symbolic links are outputs themselves" \
		"$(tr '\n' ' ' <<< "$out")" \
		"exit=0.* a -> /etc/passwd d -> ../../../etc .*o/"
	act 'ln -s /etc out' --output out/issue
	like "$1: and no way out" "$out" "code=FAILED_PRECONDITION|exit=0"
	unlike "$1: to what lies behind them" "$out" "out/issue [0-9]"
	act 'mkdir p; echo x > p/f; (while :; do mv p q; ln -s /etc p; rm p
		mv q p; done) & sleep 0.3; exit 0' --output p/issue
	unlike "$1: nor is one that changes meanwhile" "$out" "issue [0-9]"
	act 'mkfifo f' --output f
	like "$1: a FIFO is refused" "$out" "code=FAILED_PRECONDITION.*f"
	act "perl -e 'socket(S, 1, 1, 0); bind(S, pack(\"S a*\", 1, \"s\")) \
		or die'" --output s
	like "$1: a socket is refused" "$out" "code=FAILED_PRECONDITION.*s"
	act 'mkdir d; mkfifo d/f' --output d
	like "$1: also inside a directory" "$out" "code=FAILED_PRECONDITION"
	act 'mknod c c 1 3 || mknod b b 8 0; echo tried' --output c
	like "$1: a device cannot be made" "$out" "exit=0.*tried"
	act "perl -e 'open(F, q(>), q(f)); truncate(F, 1e12)'" --output f
	like "$1: a file larger than the disk is refused" "$out" \
		"code=RESOURCE_EXHAUSTED"
	act "perl -e 'for (1 .. 1500) { mkdir q(d); chdir q(d) or last }'" \
		--output d
	like "$1: endless directories are answered" "$out" "code=[A-Z_]+"
	act "perl -e 'open(F, q(>), qq(o\\xff\\n)); mkdir q(o); \
		open(F, q(>), qq(o/\\xff\\n\\e))'" --output o
	like "$1: so are names that are no text" "$out" "code=[A-Z_]+"
	act 'cp /bin/cat s; chmod 6755 s' --output s
	like "$1: set-user-id is a file like any other" "$out" "exit=0.*s [0-9]+"
}

# suite NAME groups|rlimits DIRECTORY: 37 tests, with a worker that limits by
# that and keeps its copies there.
suite() {
	act 'cat small; ./tool' --input big=3000000 --input small=20 \
		--input tool=300000x
	sums "$3" > "$WORK/before"
	reads "$1"
	writes "$1"
	stays "$1"
	takes "$1" "$2"
	hands_in "$1"
	act 'echo serves'
	like "$1: the worker still works" "$out" "code=OK.*exit=0.*serves"
	sums "$3" > "$WORK/after"
	is "$1: its copies are what they were" \
		"$(comm -23 "$WORK/before" "$WORK/after")" ""
}

# limits LOG: by what the worker limits.
limits() {
	if grep -q 'limits by=cgroup' "$1"; then
		echo groups
	else
		echo rlimits
	fi
}

worker_pid=
end_worker() {
	[ -z "$worker_pid" ] || kill -KILL "$worker_pid" 2> /dev/null
}
at_exit end_worker

plan 90
make_root "$WORK/root" perl head tr find grep wc mv rm ln chmod mknod mkfifo \
	touch setsid cp truncate
# That no worker allows it is known when one had time to come.
SERVER_STORE=$WORK/store-asked
SERVER_LOG=$WORK/asked.log
ok "a server starts" server_start --workers 1 || exit 1
/usr/bin/python3 "$run" "$GRPC_ADDR" true --property network=true \
	> "$WORK/network" 2>&1 3>&- &
network=$!
server_put_aside
SERVER_STORE=$WORK/store
SERVER_LOG=$WORK/server.log
ok "the server starts" server_start --workers 2 --config "$WORK/toolroot.conf" || exit 1
root=$("$TOOLROOT" toolchain add hostile --dir "$WORK/root" --json \
	--server "grpc://$GRPC_ADDR" | grep -o '"root_digest": *"[^"]*' |
	grep -o '[0-9a-f]*/[0-9]*$')
wait_until 60 grep -q ' limits by=' "$SERVER_LOG"
suite "local worker" "$(limits "$SERVER_LOG")" "$SERVER_STORE/worker"
ok "the server ends cleanly" server_stop || server_show_log
is "no control group of the worker is left" "$(find /sys/fs/cgroup -type d \
	-name "toolroot-$(sed -n 's/.*local_worker_started pid=\([0-9]*\).*/\1/p' \
		"$SERVER_LOG")-*" 2> /dev/null)" ""
check=$("$TOOLROOT" store check --store "$SERVER_STORE")
is "every byte of the store verifies" $? 0 || diag "$check"

note "a network, where it is allowed"
ok "the server starts with --allow-network" server_start --workers 1 \
	--allow-network
call="perl -e 'socket(my \$s, 2, 1, 0);
	print connect(\$s, pack(q(S n C4 x8), 2, ${GRPC_ADDR##*:}, 127, 0, 0, 1)) ?
	qq(reached\\n) : qq(failed\\n)'"
act "$call" --property network=true
like "an action that asks for it has one" "$out" "exit=0.*reached"
act "$call"
like "another has none" "$out" "exit=0.*failed"
act "$call" --property network=false
like "nor has one that asks for none" "$out" "exit=0.*failed"
server_stop || server_show_log

if [ "$(id -u)" -eq 0 ]; then
	chmod 644 "$WORK/toolroot.conf"
	mkdir -m 777 "$WORK/cache"
	cp "$TOOLROOT" "$WORK/toolroot"
	ok "the server starts again" server_start --workers 0
	"${other_user[@]}" "$WORK/toolroot" worker \
		--config "$WORK/toolroot.conf" \
		--server "grpc://$GRPC_ADDR" --slots 2 \
		--cache "$WORK/cache" 2> "$WORK/worker.log" < /dev/null 3>&- &
	worker_pid=$!
	wait_until 60 grep -q " connected " "$WORK/worker.log"
	suite "worker without root" "$(limits "$WORK/worker.log")" "$WORK/cache"
	kill -TERM "$worker_pid"
	wait "$worker_pid"
	is "the worker ends cleanly" $? 0
	worker_pid=
	ok "so does the server" server_stop || server_show_log
	check=$("$TOOLROOT" store check --store "$SERVER_STORE")
	is "and again every byte verifies" $? 0 || diag "$check"
	check=$("$TOOLROOT" store check --store "$WORK/cache/worker-0/store")
	is "those of the worker's own store, too" $? 0 || diag "$check"
else
	for _ in $(seq 42); do
		skip "worker without root" "it is what the local worker was"
	done
fi
wait $network
like "a network is not to be had by asking" "$(cat "$WORK/network")" \
	"code=FAILED_PRECONDITION.*--allow-network"
server_take_back
ok "its server ends cleanly" server_stop || server_show_log
