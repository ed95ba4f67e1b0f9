#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A cargo build while the store is being collected: just above what it needs, with
# the rest full of what nobody uses any more, it passes and loses nothing; below,
# the refusal names limit, use and remedy, and the build ends well here.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$(dirname "$0")/lib/cargo_workspace.sh"
. "$(dirname "$0")/lib/cargo_build.sh"

plan 14
mib=$((1 << 20))

# old BYTES MAX_SIZE: a new store with so much that was not used for hours.
old() {
	SERVER_STORE=$WORK/store-$2
	server_start --workers 0 --max-size "$2" &&
		/usr/bin/python3 "$(dirname "$0")/lib/fill_store.py" \
			"$GRPC_ADDR" "$1" $((mib / 4)) && server_stop &&
		"$BUILD/tests/system/age_store" "$SERVER_STORE" 12
}

for checkout in one two three; do
	cargo_workspace "$WORK/$checkout"
done
SERVER_STORE=$WORK/store-measured
ok "a server starts" server_start --workers 2
builds "how much a build needs" "10 0 10 0" one build
all_counted() {
	[ "$(status action_results)" -eq 10 ]
}
wait_until 60 all_counted
needed=$(status bytes)
note "$needed bytes"
ok "the server ends" server_stop
rm -rf "$SERVER_STORE"

above=$((needed + needed / 10 + 8 * mib))
ok "a store just above that is full of old things" \
	old $((above * 3 / 10)) "$above"
ok "a server starts on it" server_start --workers 2 --max-size "$above"
builds "the build passes while the store is collected" "10 0 10 0" two build
ok "there were collections" \
	test "$(metric toolroot_store_collections_total)" -gt 0
ok "old things went" \
	test "$(metric toolroot_store_evicted_bytes_total)" -gt $((48 * mib))
rm -rf "$WORK/two/target"
builds "a second one takes all from the server: no result was lost" \
	"10 10 0 0" two build
ok "the store is within its limit" \
	test "$(status bytes)" -le "$(status max_bytes)"
server_stop

SERVER_STORE=$WORK/store-below
server_start --workers 2 --max-size 64M || BAIL_OUT "no server"
builds "below what it needs, a build ends well here" "1 0 0 1" three build \
	-p leaf1
full="the store is full: limit $((64 * mib)) bytes, in use [0-9]+, needed [0-9]+"
like "and says what is too small, how full it is, and what to do" \
	"$(cat "$WORK/build.log")" "${full}[,;].* raise --max-size"
"$TOOLROOT" store check --store "$SERVER_STORE" > "$WORK/check.out" 2>&1
is "nothing in the store is bad" "$?" 0 || diag "$(cat "$WORK/check.out")"
ok "the server ends" server_stop
