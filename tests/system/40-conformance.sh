#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The conformance suite against our own server: every rule with all digest
# functions, hostile input within the memory budget, the storage rules under
# an instance name with slashes, and reads and writes over TLS with a limit on
# blob sizes. Each rule is a test here too. Where a rule allows several
# statuses, ours is the one in lib/statuses.txt.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"

suite=$ROOT/tests/conformance/run
# --memory, and what docs/operations.md allows beside it.
memory_limit=512M

# relay FILE: the suite's results, numbered on in this test's own TAP.
relay() {
	local line title

	while IFS= read -r line; do
		title=${line#* - }
		case $line in
		"ok "*" # SKIP "*)
			skip "${title%% # SKIP *}" "${line##* # SKIP }"
			;;
		"ok "*)
			pass "$title"
			;;
		"not ok "*" # TODO "*)
			tap_count=$((tap_count + 1))
			echo "not ok $tap_count - $title" >&3
			;;
		"not ok "*)
			fail "$title"
			;;
		"# "*" chose "*) ;;
		"# "*)
			diag "${line#\# }"
			;;
		"Bail out!"*)
			fail "the suite runs to its end"
			diag "$line"
			;;
		esac
	done < "$1"
}

# conform NAME SERVER [OPTION...]: the suite must run as many tests as it
# planned, or that is a failure too.
conform() {
	local name=$1 server=$2 out=$WORK/$1.tap planned
	shift 2
	"$suite" "$server" --deadline 20 --execute-deadline 40 \
		"$@" > "$out" 2> "$WORK/$name.err"
	relay "$out"
	planned=$(sed -n 's/^1\.\.//p' "$out")
	is "$name: all of the planned rules were tried" \
		"$(grep -cE '^(not )?ok ' "$out")" "${planned:-a plan}" ||
		diag "$(tail -n 20 "$WORK/$name.err")"
}

need protoc protobuf-compiler
/usr/bin/python3 -c 'import grpc, google.protobuf' ||
	BAIL_OUT "apt-get install python3-grpcio python3-protobuf"
need openssl openssl

ok "the server starts" server_start --workers 2 --host-root --memory 256M \
	--property conformance=yes \
	--digest-function sha256 --digest-function sha384 \
	--digest-function sha512 --digest-function sha1 || exit 1

# Its first worker that offers what an action asks for has some time to come,
# for which the rules wait: all else is tried meanwhile.
server_put_aside
SERVER_STORE=$WORK/store-tls
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
	-days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 \
	-keyout "$WORK/key.pem" -out "$WORK/cert.pem"
ok "the server starts with TLS" server_start --workers 0 \
	--max-blob-size 64M --tls-cert "$WORK/cert.pem" \
	--tls-key "$WORK/key.pem" || exit 1
conform tls "grpcs://$GRPC_ADDR" --tls-ca "$WORK/cert.pem" \
	--only capabilities --only bytestream
ok "it ends when asked, without a fault" server_stop

server_take_back
conform instance "grpc://$GRPC_ADDR" --instance team/linux/main \
	--only capabilities --only cas --only bytestream --only ac

watched=(--server-pid "$SERVER_PID" --memory-limit "$memory_limit")
if grep -qE "__(asan|tsan|ubsan|sanitizer)_" "$TOOLROOT"; then
	note "a sanitizer takes memory of its own: the budget is not watched"
	watched=()
fi
conform hostile "grpc://$GRPC_ADDR" --platform conformance=yes --choices \
	--only hostile "${watched[@]}"
conform rules "grpc://$GRPC_ADDR" --platform conformance=yes --choices
# That of BSW-RES-09 depends on who is first.
ok "each bad call has the status that it always had" diff -u \
	"$ROOT/tests/system/lib/statuses.txt" <(sed -n \
		'/^# BSW-RES-09/d; s/^# \(.*\) chose /\1 /p' \
		"$WORK/rules.tap" "$WORK/hostile.tap")
ok "the server is still there" server_running
ok "it ends when asked, without a fault" server_stop

plan "$tap_count"
