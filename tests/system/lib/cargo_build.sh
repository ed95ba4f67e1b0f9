# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Building through the cargo front, to be sourced after tap.sh, server.sh and a
# workspace's file. Checkouts are directories of $WORK. Nothing of the caller's
# environment that cargo or we would look at stays.

if ! command -v cargo > /dev/null; then
	skip_all "there is no cargo on this machine"
fi
need cc gcc

unset CI RUSTC_WRAPPER CARGO_TARGET_DIR CARGO_BUILD_TARGET_DIR RUSTFLAGS CARGO
unset RUSTC CARGO_INCREMENTAL TOOLROOT_SERVER RUSTC_WORKSPACE_WRAPPER
unset CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTC_WRAPPER LIBRARY_PATH
export XDG_CACHE_HOME=$WORK/cache
export CARGO_TERM_COLOR=never
stats=$WORK/stats.json
# Before 1.79: it asks the compiler for its version, not us, where there is no
# front; RUSTFLAGS are no part of how it calls crates.
old_cargo=$(cargo -V | awk -F '[ .]' '$2 == 1 && $3 < 79')

# build CHECKOUT WORD...: `cargo toolroot WORD...` in it; its output goes to
# $WORK/build.log.
build() {
	local at=$WORK/$1
	shift
	rm -f "$stats"
	(cd "$at" && PATH=$BUILD:$PATH timeout 900 cargo toolroot \
		--server "grpc://$GRPC_ADDR" --stats "$stats" "$@") \
		> "$WORK/build.log" 2>&1 3>&-
}

# counts: "ACTIONS HITS REMOTE LOCAL" of the last build.
counts() {
	python3 -c 'import json, sys
s = json.load(open(sys.argv[1]))
print(s["actions"], s["hits"], s["remote"], s["local"])' "$stats"
}

# crates: the names of what was compiled, sorted.
crates() {
	python3 -c 'import json, sys
print(*sorted(r["crate"] for r in json.load(open(sys.argv[1]))["crates"]))' \
		"$stats"
}

show_build() {
	diag "$(tail -n 25 "$WORK/build.log")"
}

# builds NAME COUNTS CHECKOUT WORD...: succeeds, with these counts (a regular
# expression).
builds() {
	local name=$1 wanted=$2
	shift 2
	if build "$@"; then
		like "$name" "$(counts)" "^$wanted$" || show_build
	else
		fail "$name"
		show_build
	fi
}

# changes NAME CRATES CHECKOUT WORD...: succeeds; these crates are compiled, by
# workers, and no others.
changes() {
	local name=$1 wanted=$2
	shift 2
	if build "$@"; then
		is "$name" "$(crates), $(counts | cut -d' ' -f 2,4)" \
			"$wanted, 0 0" || show_build
	else
		fail "$name"
		show_build
	fi
}
