#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# cargo builds through the front: a source, a flag, an environment variable and
# a file of the toolchain are changed, one a build, and what was built is
# collected; `toolroot explain` and the metric name the cause each time.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$(dirname "$0")/lib/cargo_workspace.sh"
. "$(dirname "$0")/lib/cargo_build.sh"

plan 22

explain() {
	"$TOOLROOT" explain --server "grpc://$GRPC_ADDR" 2>&1
}
# Explaining follows the build, on its own thread.
explained() {
	explain > "$WORK/explained" && grep -qE "$1" "$WORK/explained"
}
# misses CAUSE: the metric.
misses() {
	curl -sf "http://$HTTP_ADDR/metrics" |
		sed -n "s/^toolroot_action_misses_total{cause=\"$1\"} //p"
}
# row NAME CAUSE PATTERN WORD...: the build has misses, for which explain names
# the thing and the metric the cause (two tests).
row() {
	local name=$1 cause=$2 pattern=$3 before
	shift 3
	before=$(misses "$cause")
	build one build "$@" || show_build
	ok "$name: explain names it" wait_until 60 explained "$pattern" ||
		diag "$(cat "$WORK/explained")"
	ok "$name: the metric says $cause" \
		[ "$(misses "$cause")" -gt "$before" ] ||
		diag "$(cat "$WORK/explained")"
}

cargo_crate "$WORK/one" app '[workspace]'
# source_of NUMBER
source_of() {
	echo "pub fn number() -> u32 { $1 }"
	echo 'pub fn text() -> Option<&'"'static str"'> { option_env!("EXPLAIN_AMBIENT") }'
}
source_of 7 > "$WORK/one/src/lib.rs"
echo 'fn main() { println!("{}", app::number()) }' > "$WORK/one/src/main.rs"
echo 'fn main() { println!("cargo:rerun-if-changed=build.rs") }' \
	> "$WORK/one/build.rs"
export CARGO_INCREMENTAL=0
tc=$WORK/toolchain
sysroot=$(rustc --print sysroot)
mkdir -p "$tc/lib"
cp -a "$sysroot/bin" "$tc/"
cp -a "$sysroot"/lib/*.so* "$sysroot/lib/rustlib" "$tc/lib/"
export RUSTC=$tc/bin/rustc

ok "the server starts" server_start --workers 2
row "the first build" first-seen ": first-seen"
# Of one name, all three of them.
is "each with its own name" "$(sed -n 's/ Rustc: .*//p' "$WORK/explained" |
	sort | tr '\n' ',')" 'app (bin "app"),app (build script),app (lib),'
is "and none is compared with another" \
	"$(grep -c ': first-seen' "$WORK/explained")" 3
like "a package is asked for by its name" \
	"$("$TOOLROOT" explain --server "grpc://$GRPC_ADDR" app)" \
	'app \(build script\) Rustc'
is "or one of its targets" "$("$TOOLROOT" explain --server "grpc://$GRPC_ADDR" \
	'app (lib)' | grep -c Rustc)" 1

source_of 8 > "$WORK/one/src/lib.rs"
row "a source" source 'changed input .*src/lib\.rs'
like "with the line" "$(explain)" '\+pub fn number\(\) -> u32 \{ 8 \}'

export RUSTFLAGS="--cfg explain_flag"
row "a flag" command 'explain_flag'
export EXPLAIN_AMBIENT=here
row "a variable" environment 'added variable EXPLAIN_AMBIENT'

rlib=$(find "$tc/lib/rustlib" -name 'libstd-*.rlib')
printf '\n' >> "$rlib"
row "a file of the toolchain" toolchain "${rlib##*/}"

# A crate that asks where it is gets its true place, by a property of the
# platform, and finds its toolchain there, without the property for that.
echo 'pub fn place() -> &'"'static str"' { env!("CARGO_MANIFEST_DIR") }' \
	>> "$WORK/one/src/lib.rs"
row "a platform property" toolchain 'changed property InputRootAbsolutePath'

# As if nobody had built for a day.
ok "the server stops" server_stop || server_show_log
"$BUILD/tests/system/age_store" "$SERVER_STORE" 24
server_restart || BAIL_OUT "the server does not start again"
"$TOOLROOT" gc --server "grpc://$GRPC_ADDR" --run --max-age 23h > /dev/null
rm -rf "$WORK/one/target"
row "what was collected" evicted 'evicted [0-9]+ min ago by toolroot gc, for its age'
ok "the server ends cleanly" server_stop || server_show_log
