#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A cargo build while the store is being collected: just above what it needs,
# toolchain and all, with the rest full of what nobody uses any more. It passes,
# all of it remotely, and another checkout takes everything from the server.
# Below it: the build passes here, since the store refuses what it cannot keep.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$(dirname "$0")/lib/cargo_workspace.sh"

if ! command -v cargo > /dev/null; then
	echo "1..0 # SKIP there is no cargo on this machine" >&3
	exit 0
fi
need cc gcc
plan 12

unset CI RUSTC_WRAPPER CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR RUSTFLAGS CARGO
unset RUSTC CARGO_INCREMENTAL TOOLROOT_SERVER
stats=$WORK/stats.json
mib=$((1 << 20))

# build CHECKOUT: `cargo toolroot build` in it.
build() {
	rm -f "$stats"
	(cd "$WORK/$1" && XDG_CACHE_HOME=$WORK/cache-$1 PATH=$BUILD:$PATH \
		timeout 300 cargo toolroot --server "grpc://$GRPC_ADDR" \
		--stats "$stats" build) > "$WORK/build.log" 2>&1 3>&-
}

# counts: "HITS REMOTE LOCAL" of the last build.
counts() {
	/usr/bin/python3 -c 'import json, sys
s = json.load(open(sys.argv[1]))
print(s["hits"], s["remote"], s["local"])' "$stats"
}

# status FIELD: a number of the server's report.
status() {
	curl -sf "http://$HTTP_ADDR/status" |
		/usr/bin/python3 -c 'import json, sys
print(json.load(sys.stdin)["store"][sys.argv[1]])' "$1"
}

show_build() {
	diag "$(tail -n 25 "$WORK/build.log")"
}

for name in measured above other below; do
	cargo_workspace "$WORK/$name"
done

SERVER_STORE=$WORK/store-measured
ok "a server starts" server_start --workers 2 --max-size 4G || exit 1
ok "the build passes" build measured || show_build
is "on workers" "$(counts)" "0 10 0" || show_build
sleep 1
needed=$(status bytes)
note "it needs $needed bytes"
ok "the server ends" server_stop
rm -rf "$SERVER_STORE"

above=$((needed + needed / 5 + 8 * mib))
SERVER_STORE=$WORK/store-above
server_start --workers 0 --max-size "$above" || exit 1
ok "a store just above that is filled with old things" \
	/usr/bin/python3 "$(dirname "$0")/lib/fill_store.py" "$GRPC_ADDR" \
	$((above * 3 / 4)) || exit 1
server_stop
"$BUILD/tests/system/age_store" "$SERVER_STORE" 48
server_start --workers 2 --max-size "$above" || exit 1
ok "the build passes while the store is collected" build above || show_build
is "on workers" "$(counts)" "0 10 0" || show_build
ok "old things went" test "$(curl -sf "http://$HTTP_ADDR/metrics" |
	sed -n 's/^toolroot_store_evicted_blobs_total //p')" -gt 0
ok "another checkout builds" build other || show_build
is "from what the first one left" "$(counts)" "10 0 0" || show_build
server_stop
rm -rf "$SERVER_STORE"

SERVER_STORE=$WORK/store-below
server_start --workers 2 --max-size $((needed / 4)) || exit 1
ok "below it, the build passes all the same" build below || show_build
like "and says why it ran here" "$(cat "$WORK/build.log")" \
	"the store is full: limit"
