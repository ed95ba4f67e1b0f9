#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A project with crates of the registry through the server: cold, elsewhere,
# its tests, without a server. What a compiler makes on a worker and what it
# makes here is the same, byte for byte; what changes is built anew, no more and
# no less.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$(dirname "$0")/lib/cargo_workspace.sh"
. "$(dirname "$0")/lib/cargo_project.sh"
. "$(dirname "$0")/lib/cargo_build.sh"

# Fetched once, for this test alone; the compilers are where they were.
rustup_home=${RUSTUP_HOME:-$HOME/.rustup}
[ ! -d "$rustup_home" ] || export RUSTUP_HOME=$rustup_home
export CARGO_HOME=$WORK/home
mkdir -p "$CARGO_HOME"
cargo_project "$WORK/one"
if ! cargo_project_fetch "$WORK/one"; then
	skip_all "neither the registry nor a distribution has the crates:" \
		"$fetch_reason"
fi
export CARGO_NET_OFFLINE=true
# As in CI. State of the compiler here would win over the server.
export CARGO_INCREMENTAL=0
cp -a "$WORK/one" "$WORK/two"
cp -a "$WORK/one" "$WORK/third"

app() {
	"$WORK/$1/target/debug/app"
}

# files CHECKOUT: what compilers made there, with their digests.
files() {
	(cd "$WORK/$1/target/debug" && find deps build -type f \
		\( -name '*.rlib' -o -name '*.rmeta' -o -name '*.so' -o -perm -1 \) \
		! -name 'build-script-build' -exec sha256sum {} + | sort -k 2)
}

# dep_info CHECKOUT: of all crates, without the checkout's path.
dep_info() {
	(cd "$WORK/$1/target/debug" && find deps build -name '*.d' -print0 |
		sort -z | xargs -0 sed "s#$WORK/$1/#CHECKOUT/#g")
}

# same NAME COMMAND CHECKOUT CHECKOUT: it says the same of both, and something.
same() {
	"$2" "$3" > "$WORK/first.txt"
	"$2" "$4" > "$WORK/second.txt"
	if [ -s "$WORK/first.txt" ]; then
		ok "$1" diff "$WORK/first.txt" "$WORK/second.txt"
	else
		fail "$1"
	fi
}

plan 34
ok "a server starts" server_start --workers 2
with_z=(--library z)

# --- cold, elsewhere, nothing ---------------------------------------------------
builds "all of it is compiled and linked by workers" \
	"(2[0-9]|3[0-9]) 0 \1 0" one "${with_z[@]}" build
all=$(counts | cut -d' ' -f 1)
is "the program runs" "$(app one)" \
	"read by a macro|included|generated|none|None|0.1.0|ab|9"
builds "another checkout, at another path: all hits" "$all $all 0 0" \
	two "${with_z[@]}" build
ok "the programs are equal, byte for byte" \
	cmp "$WORK/one/target/debug/app" "$WORK/two/target/debug/app"
same "all that compilers made is equal" files one two
same "dep-info differs by the path alone" dep_info one two
builds "nothing to do is nothing done" "0 0 0 0" two "${with_z[@]}" build

# --- here, without a server ---------------------------------------------------
server=$GRPC_ADDR
GRPC_ADDR=127.0.0.1:1
builds "without a server all of it is compiled here" \
	"$all 0 0 $all" third "${with_z[@]}" build
GRPC_ADDR=$server
same "as a worker would have, byte for byte" files one third
same "dep-info differs by the path alone" dep_info one third
is "the program runs" "$(app third)" "$(app one)"

# --- tests ----------------------------------------------------------------------
ok "its tests pass" build one "${with_z[@]}" test || show_build
like "compiled by workers" "$(counts)" "^[0-9]+ 0 [0-9]+ 0$"
# What knows its place by env! is not shared between places.
ok "elsewhere they pass, too" build two "${with_z[@]}" test || show_build
like "with most of it from the first" "$(counts)" "^[0-9]+ [1-9] 2 0$"
rm -rf "$WORK/two/target"
builds "at the same place all of it is found" "([0-9]+) \1 0 0" \
	two "${with_z[@]}" test

# --- changes ----------------------------------------------------------------------
z_changes() {
	changes "$1" "$2" one "${with_z[@]}" "${@:3}"
}
undone() {
	builds "$1 undone" "([0-9]+) \1 0 0" one "${with_z[@]}" "${@:2}"
}
parts="app build_script_build core_parts"

echo "more" > "$WORK/one/core/data/macro.txt"
touch "$WORK/one/core/src/lib.rs"
z_changes "the macro's file" "app core_parts" build
like "is in the program" "$(app one)" "^more.included"
echo "read by a macro" > "$WORK/one/core/data/macro.txt"
touch "$WORK/one/core/src/lib.rs"
undone "the macro's file" build

echo "made anew" > "$WORK/one/core/data/generated.txt"
z_changes "what the build script generates" "app core_parts" build
like "is in the program" "$(app one)" "made anew"
echo "generated" > "$WORK/one/core/data/generated.txt"
undone "what the build script generates" build

PROJECT_MODE=fast z_changes "what the build script reads from the environment" \
	"app core_parts" build
like "is in the program" "$(app one)" "fast"
undone "what the build script reads from the environment" build

PROJECT_NOTE=hello z_changes "what option_env! sees" "app core_parts" build
like "is in the program" "$(app one)" "hello"
undone "what option_env! sees" build

z_changes "a feature" "$parts" build --features app/louder
like "is in the program" "$(app one)" '!$'
undone "a feature" build

# Another version of one crate: it and what uses it, no other.
# (A directory of packages has one version of each, whatever is asked for.)
old=$(cd "$WORK/one" && unset CARGO_NET_OFFLINE &&
	timeout 120 cargo update -p memchr --precise 2.7.4 > "$WORK/update.log" \
		2>&1 3>&- && timeout 120 cargo fetch >> "$WORK/update.log" 2>&1 3>&- &&
	grep -qF 'version = "2.7.4"' Cargo.lock && echo yes)
if [ -n "$old" ]; then
	z_changes "another version in Cargo.lock" \
		"aho_corasick app core_parts memchr regex regex_automata" build
	cp "$WORK/two/Cargo.lock" "$WORK/one/Cargo.lock"
	undone "another version in Cargo.lock" build
else
	reason=$(grep -m 1 '^error' "$WORK/update.log")
	skip "another version in Cargo.lock" "${reason:-no other is to be had}"
	skip "another version in Cargo.lock undone" "there was none"
fi
