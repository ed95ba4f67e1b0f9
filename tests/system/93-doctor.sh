#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# `toolroot doctor`: what works is told as working, what does not fails with a
# remedy, and scripts can read both.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$(dirname "$0")/lib/cargo_workspace.sh"

unset CI RUSTC_WRAPPER RUSTC CARGO TOOLROOT_SERVER
export XDG_CACHE_HOME=$WORK/cache
mkdir "$WORK/tmp"
export TMPDIR=$WORK/tmp
cargo_workspace "$WORK/project"

# doctor DIRECTORY OPTION...: into $WORK/doctor.log.
doctor() {
	local at=$1
	shift
	(cd "$at" && timeout 900 "$TOOLROOT" doctor "$@") \
		> "$WORK/doctor.log" 2>&1 3>&-
}

# result CHECK: of the JSON in doctor.log.
result() {
	python3 -c 'import json, sys
checks = json.load(open(sys.argv[1]))["checks"]
print(*(c["result"] for c in checks if c["check"] == sys.argv[2]))' \
		"$WORK/doctor.log" "$1"
}

plan 16
# It knows that no worker comes when some time has gone by.
SERVER_STORE=$WORK/store2
server_start --workers 0
server_put_aside
SERVER_STORE=$WORK/store
doctor "$WORK" --server grpc://127.0.0.1:1 --no-host
is "a server that is not there fails it" "$?" 1
like "it says how to name another" "$(cat "$WORK/doctor.log")" \
	'failed +server .*to mend it: .*TOOLROOT_SERVER'
doctor "$WORK" --wrong
is "an unknown option is wrong usage" "$?" 2

ok "a server starts" server_start --workers 1
ok "all is well without a project" doctor "$WORK" \
	--server "grpc://$GRPC_ADDR" --json || diag "$(cat "$WORK/doctor.log")"
is "the sandbox was tried" "$(result 'host: sandbox')" ok
is "an action was executed" "$(result 'server: execute')" ok
is "cargo was not looked at" "$(result cargo)" skipped
like "the limit of batches is the server's" "$(cat "$WORK/doctor.log")" \
	"batches of 4128768 bytes"
if command -v cargo > /dev/null; then
	ok "all is well with a project" doctor "$WORK/project" --no-host \
		--server "grpc://$GRPC_ADDR" --json ||
		diag "$(cat "$WORK/doctor.log")"
	is "a crate was built, and then a hit" \
		"$(result 'cargo: build') $(result 'cargo: cache')" "ok ok"
	RUSTC_WRAPPER=other doctor "$WORK/project" --no-host \
		--server "grpc://$GRPC_ADDR" --json
	is "another wrapper fails it" "$? $(result 'cargo: wrapper')" "1 failed"
else
	for name in "a project" "a build" "a wrapper"; do
		skip "$name" "there is no cargo on this machine"
	done
fi
if [ "$(id -u)" -eq 0 ]; then
	mkdir "$WORK/root"
	unshare --mount sh -c 'mount --rbind / "$1/root" &&
		exec chroot "$1/root" "$2" doctor --no-cargo --server "$3"' \
		sh "$WORK" "$TOOLROOT" "grpc://$GRPC_ADDR" > "$WORK/doctor.log"
	like "a chroot is told as such" "$? $(cat "$WORK/doctor.log")" \
		'^1.*failed +host: sandbox .*in a chroot'
else
	skip "a chroot is told as such" "only root can make one"
fi
not_ok "it leaves nothing behind" \
	ls -d "$WORK"/tmp/toolroot-doctor-*
server_stop
server_start --workers 1 --sandbox none
doctor "$WORK" --no-host --server "grpc://$GRPC_ADDR"
like "workers without a sandbox are told as such" \
	"$? $(cat "$WORK/doctor.log")" \
	'^1.*failed +server: execute.*to mend it: .*without --sandbox none'
server_stop
server_take_back
doctor "$WORK" --no-host --server "grpc://$GRPC_ADDR"
like "so is a server without workers" "$? $(cat "$WORK/doctor.log")" \
	'^1.*failed +server: (execute|capabilities).*to mend it: '
