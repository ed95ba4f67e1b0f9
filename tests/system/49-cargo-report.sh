#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What the cargo front tells: the line at the end, the causes, --explain, and
# the progress line on a terminal, which cargo and we must not garble.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$(dirname "$0")/lib/cargo_workspace.sh"
. "$(dirname "$0")/lib/cargo_build.sh"

need script bsdutils

# explain CRATE: into $WORK/explain.log.
explain() {
	(cd "$WORK/one" && PATH=$BUILD:$PATH cargo toolroot \
		--server "grpc://$GRPC_ADDR" --explain "$1") \
		> "$WORK/explain.log" 2>&1 3>&-
}

# on_terminal CHECKOUT WORD...: a build on a terminal of 100 columns; what that
# was sent is in $WORK/screen, each redrawn line a line of its own.
on_terminal() {
	local at=$WORK/$1
	shift
	(cd "$at" && unset CARGO_TERM_COLOR && export TERM=xterm &&
		PATH=$BUILD:$PATH script -qec "stty cols 100
			cargo toolroot --server grpc://$GRPC_ADDR $*" \
			"$WORK/typescript") > /dev/null 2>&1 < /dev/null 3>&-
	tr '\r' '\n' < "$WORK/typescript" > "$WORK/screen"
}

number() {
	echo "pub const NUMBER: u32 = $1;" > "$WORK/one/leaf3/src/inner.rs"
}

plan 22
cargo_workspace "$WORK/one"
cargo_workspace "$WORK/two"
ok "a server starts" server_start --workers 2

# --- a terminal --------------------------------------------------------------
on_terminal one build
screen=$(cat "$WORK/screen")
like "cargo's progress line ends with our counts" "$screen" \
	'Building.*/11.* \| [0-9]+ hits, [0-9]+ remote, [0-9]+ local'
like "cargo's messages have their colours" "$screen" $'\033''\[1m.*Compiling'
is "each message is whole and alone in its line" \
	"$(sed 's/\x1b\[[0-9;]*[A-Za-z]//g' "$WORK/screen" |
		grep -cE '^   Compiling [a-z0-9-]+ v0.1.0 \([^|]*\)$')" 9
like "the line at the end is there" "$screen" \
	'toolroot: 10 crates: 0 hits, 10 remote, 0 local, '
rm -rf "$WORK/one/target"
# shellcheck disable=SC2016
sed -i '/fn main/a println!("cargo:warning=of a file with returns\\r");' \
	"$WORK/one/core/build.rs"
on_terminal one build
ok "a message that ends in a return, too, is not lost" \
	grep -q 'of a file with returns$' "$WORK/screen"
on_terminal two build -q
unlike "cargo build -q is quiet" "$(cat "$WORK/screen")" 'Building|Compiling'
on_terminal two run
like "what runs a program keeps the terminal" "$(cat "$WORK/screen")" \
	'read by a macro included'
unlike "our counts are not in it then" "$(cat "$WORK/screen")" ' \| [0-9]+ hits'

# --- why ----------------------------------------------------------------------
number 20
build one build
ok "--explain tells of a crate that was no hit" explain leaf3
like "what became of it" "$(cat "$WORK/explain.log")" '^leaf3 .lib.: remote, '
like "which file differs, with both digests" "$(cat "$WORK/explain.log")" \
	'inner.rs.*before  file [0-9a-f]{64}.*after   file [0-9a-f]{64}'
ok "a package is known by its name, too" explain app ||
	diag "$(cat "$WORK/explain.log")"
not_ok "a crate that was not compiled is none" explain nothing
like "the error says so" "$(cat "$WORK/explain.log")" \
	'nothing is none of the [0-9]+ crates'

# --- a library of the system that workers do not have --------------------------
mkdir "$WORK/lib"
echo 'int ours;' | gcc -x c -c -o "$WORK/ours.o" -
ar cr "$WORK/lib/libours.a" "$WORK/ours.o"
printf '#[link(name = "ours")]\nextern "C" {}\n' >> "$WORK/two/app/src/main.rs"
LIBRARY_PATH=$WORK/lib builds "a program with a library of this machine" \
	"([0-9]+) [0-9]+ [0-9]+ 1" two build
like "the report says which, and by what option it is sent" \
	"$(cat "$WORK/build.log")" \
	'1 local .the linker lacks libraries on the worker; try --library ours'

# --- a crate that does not compile ----------------------------------------------
echo 'pub const NUMBER: u32 = ;' > "$WORK/one/leaf3/src/inner.rs"
not_ok "a crate that does not compile fails the build" build one build
like "the report says what is wrong with it" "$(cat "$WORK/build.log")" \
	'1 local .it may not compile: '

# --- local --------------------------------------------------------------------
server_kill
number 21
build one build
like "the only cause is in the line" "$(cat "$WORK/build.log")" \
	'toolroot: 2 crates: 0 hits, 0 remote, 2 local .no server., '
ok "--explain tells it without a server" explain leaf3
like "the cause" "$(cat "$WORK/explain.log")" 'leaf3 .lib.: local.*why +no server'
