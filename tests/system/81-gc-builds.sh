#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A build while the store is being collected: just above what it needs, with the
# rest of the store full of what nobody uses any more. The build passes, the old
# goes, and nothing that the build needs. Below what it needs it fails, and says
# what to do.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$ROOT/tests/bazel/lib.sh"

need bazel bazel-bootstrap
plan 19

targets=(//words/... //shapes/... //trees/... //bulk/...)
mib=$((1 << 20))

# fresh SIZE: a server on a new store of at most so many bytes, almost full of
# what was not used for days: some of it longer than the rest.
fresh() {
	SERVER_STORE=$WORK/store-$1
	for _ in 1 2 3 4; do
		server_start --workers 0 --max-size "$1" || return 1
		/usr/bin/python3 "$(dirname "$0")/lib/fill_store.py" \
			"$GRPC_ADDR" $(($1 * 3 / 16)) || return 1
		server_stop || return 1
		"$BUILD/tests/system/age_store" "$SERVER_STORE" 12 || return 1
	done
	server_start --workers 2 --host-root --max-size "$1"
}

# build: from nothing.
build() {
	bazel_run base clean
	bazel_run base build --config=exec --remote_local_fallback=false \
		--remote_executor="grpc://$GRPC_ADDR" "${targets[@]}"
}

note "how much a build needs"
SERVER_STORE=$WORK/store-measured
ok "a server starts" server_start --workers 2 --host-root --max-size 1G ||
	exit 1
bazel_copy_workspace "$WORK/almanac"
build
is "the build passes" "$BAZEL_STATUS" 0 || bazel_show_log
sleep 1
needed=$(status bytes)
note "$needed bytes"
ok "it needs something" test "$needed" -gt 100000
ok "the server ends" server_stop

note "just above that"
# No room is made for one blob of more than a third: there is one of 24 MiB.
above=$((needed + needed / 4 + 6 * mib))
test $((above / 3)) -gt $((25 * mib)) || above=$((3 * 25 * mib))
ok "a store of that size is full of old things" fresh "$above" || {
	server_show_log
	exit 1
}
before=$(status blobs)
build
is "the build passes while the store is collected" "$BAZEL_STATUS" 0 ||
	bazel_show_log
not_ok "no input was lost" grep -qiE 'lost input|missing digest|evicted' \
	"$BAZEL_LOG"
collected() {
	[ "$(metric toolroot_store_collections_total)" -gt 0 ]
}
ok "there were collections" wait_until 60 collected
ok "old things went" \
	test "$(metric toolroot_store_evicted_blobs_total)" -gt 0
note "of $before blobs before, $(status blobs) are there now"
build
is "a second build passes" "$BAZEL_STATUS" 0 || bazel_show_log
ok "from the cache: no result of the first was dropped" \
	test "${BAZEL_REMOTE:-0}" -eq 0
ok "the store is within its limit" \
	test "$(status bytes)" -le "$(status max_bytes)"
ok "the server ends" server_stop || server_show_log

note "below that"
SERVER_STORE=$WORK/store-below
below=$((mib / 3))
# A worker tries for some seconds to store what it made, in each attempt.
ok "a server starts" server_start --workers 2 --host-root \
	--max-size "$below" --attempts 1
bazel_run base clean
# Without --verbose_failures Bazel counts "errors during bulk transfer" only.
bazel_run base build --config=exec --remote_local_fallback=false \
	--verbose_failures --remote_retries=1 --remote_executor="grpc://$GRPC_ADDR" \
	//words/... //shapes/... //bulk:pieces
not_ok "the build fails" test "$BAZEL_STATUS" -eq 0
like "it names limit, use and remedy" "$(cat "$BAZEL_LOG")" \
	"the store is full: limit $below bytes, in use [0-9]+, needed [0-9]+.*max-size"
not_ok "no input was lost" grep -qiE 'lost input|missing digest|evicted' \
	"$BAZEL_LOG"
ok "the server ends" server_stop || server_show_log
bazel_shutdown base
"$TOOLROOT" store check --store "$SERVER_STORE" > "$WORK/check.out" 2>&1
is "nothing in the store is bad" "$?" 0 || diag "$(cat "$WORK/check.out")"
