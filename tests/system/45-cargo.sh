#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# `cargo toolroot`: an unchanged workspace is built through the server; another
# checkout of it takes everything from there, and what changes is built anew,
# no more and no less: sources, files that only a macro reads, variables, the
# toolchain. Without a server, or when it dies, the build ends well here.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$(dirname "$0")/lib/cargo_workspace.sh"
. "$(dirname "$0")/lib/cargo_build.sh"
. "$(dirname "$0")/lib/cargo_toolchain.sh"

run_app() {
	"$WORK/$1/target/debug/app"
}

plan 33
cargo_workspace "$WORK/one"
cargo_workspace "$WORK/two"
ok "a server starts" server_start --workers 2

# --- two checkouts ---------------------------------------------------------
builds "the first build is made by workers" "10 0 10 0" one build
is "what it made runs" "$(run_app one)" \
	"read by a macro included script 0.1.0 33 None (7, 7) 42 1"
like "the compiler's warnings come through" "$(cat "$WORK/build.log")" \
	"app/src/main.rs:4:9"
builds "another checkout takes everything from the server" "10 10 0 0" \
	two build
ok "its program is the same, byte for byte" \
	cmp "$WORK/one/target/debug/app" "$WORK/two/target/debug/app"
not_ok "dep-info files know nothing of the fixed paths" \
	grep -rqE '(^|[ :=])/b/[wt]/' "$WORK/two/target/debug/deps" \
	--include='*.d'
like "dep-info files have the checkout's paths" \
	"$(cat "$WORK"/two/target/debug/deps/core_parts-*.d)" "$WORK/two/target/"
builds "nothing to do is nothing done" "0 0 0 0" two build

# --- changes ---------------------------------------------------------------
echo "pub const NUMBER: u32 = 20;" > "$WORK/one/leaf3/src/inner.rs"
builds "an edited source rebuilds its users alone" "2 0 2 0" one build
is "these are they" "$(crates)" "app leaf3"
is "the program shows it" "$(run_app one)" \
	"read by a macro included script 0.1.0 33 None (7, 7) 52 1"
echo "pub const NUMBER: u32 = 20;" > "$WORK/two/leaf3/src/inner.rs"
builds "the same edit elsewhere is a hit" "2 2 0 0" two build
echo "pub const NUMBER: u32 = 10;" > "$WORK/one/leaf3/src/inner.rs"
builds "the edit undone is a hit" "2 2 0 0" one build

echo "another text" > "$WORK/one/core/data/macro.txt"
touch "$WORK/one/core/src/lib.rs"
builds "a file that a macro reads is an input" "2 0 2 0" one build
like "its text is the new one" "$(run_app one)" "^another text included"

export CARGO_WORKSPACE_AMBIENT=first
builds "option_env! of the surroundings is seen" "2 0 2 0" one build
like "the program has its value" "$(run_app one)" 'Some."first".'
export CARGO_WORKSPACE_AMBIENT=second
builds "another value is no hit" "2 0 2 0" one build
like "the program has the other value" "$(run_app one)" 'Some."second".'
unset CARGO_WORKSPACE_AMBIENT

for checkout in one two; do
	cargo_crate "$WORK/$checkout/leaf5" leaf5
	echo 'pub fn number() -> u32 { println!(env!("CARGO_MANIFEST_DIR")); 1 }' \
		> "$WORK/$checkout/leaf5/src/lib.rs"
	build "$checkout" build || show_build
	like "a program finds its own files, not those of others: $checkout" \
		"$(run_app "$checkout")" "^$WORK/$checkout/leaf5"
done

echo 'fn main() { wrong }' > "$WORK/one/app/src/main.rs"
not_ok "a mistake fails the build" build one build
like "the compiler says what it is" "$(cat "$WORK/build.log")" \
	"cannot find value .*wrong"

# --- tests -----------------------------------------------------------------
ok "cargo test passes, built by workers" build two test
like "none of it was built here" "$(counts)" "^[0-9]+ [0-9]+ [0-9]+ 0$"

# --- another toolchain ------------------------------------------------------
cargo_toolchain_movable "$WORK/movable"
if [ "$movable" = "$WORK/movable" ]; then
	# A distribution's stays where it is: the first of two others, then.
	cargo_workspace "$WORK/moved"
	RUSTC=$movable/bin/rustc build moved build || show_build
fi
cargo_toolchain_copy "$WORK/toolchain"
library=$(find "$WORK/toolchain/lib/rustlib" -name 'libtest-*.rlib')
cp -p "$library" "$WORK/library"
export RUSTC=$WORK/toolchain/bin/rustc
cargo_workspace "$WORK/three"
builds "an equal toolchain elsewhere is the same one" "10 10 0 0" three build
printf 'x' >> "$library"
touch -r "$WORK/library" "$library"
builds "one byte of it in place, with its old time: all is built anew" \
	"10 0 10 0" three build
cp -p "$WORK/library" "$library"
builds "back again: what was built then still holds" "0 0 0 0" three build
unset RUSTC

# shims: process ids of our compiler calls, not of a test that runs beside us.
shims() {
	local pid

	for pid in $(pgrep -f "$BUILD/toolroot-rustc"); do
		! grep -qaF "$WORK" "/proc/$pid/environ" 2> /dev/null ||
			echo "$pid"
	done
}

# --- servers that fail -----------------------------------------------------
cargo_workspace "$WORK/four"
echo "pub const NUMBER: u32 = 11;" > "$WORK/four/leaf0/src/inner.rs"
(wait_until 60 test -e "$WORK/four/target/debug/deps" &&
	kill -KILL "$SERVER_PID") 3>&- &
ok "the server is killed in mid-build: it ends well" build four build
wait $!
like "the summary tells it" "$(cat "$WORK/build.log")" "the build goes on here"
server_workers="$server_workers $(server_children)"
SERVER_PID=
cargo_workspace "$WORK/five"
CARGO_INCREMENTAL=0 builds "no server: all is built here" "10 0 0 10" five build
is "nothing of it is left" "$(shims)" ""
