#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The cargo front with all that people do with cargo: its commands, profiles,
# target directories, configuration, toolchains, other wrappers; what the
# compiler says and writes is what it would without us; how many run at once;
# when it is stopped nothing stays behind.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$(dirname "$0")/lib/cargo_workspace.sh"
. "$(dirname "$0")/lib/cargo_build.sh"

# A blank in its path: dep-info files have it escaped.
one="a checkout"

project() {
	local at=$1

	mkdir -p "$at"
	printf '[workspace]\nresolver = "2"\nmembers = ["app", "shared"]\n%s\n' \
		'[profile.mine]
inherits = "dev"
opt-level = 1' > "$at/Cargo.toml"
	cargo_crate "$at/shared" shared '[lib]' \
		'crate-type = ["rlib", "cdylib", "staticlib"]'
	echo 'pub const X: u32 = 1;' > "$at/outside.rs"
	echo 'A text.' > "$at/README.md"
	cat > "$at/shared/src/lib.rs" <<- 'END'
		#![doc = include_str!("../../README.md")]
		#[path = "../../outside.rs"]
		mod outside;
		#[no_mangle]
		pub extern "C" fn shared_number() -> u32 { outside::X + number() }
		fn number() -> u32 { if cfg!(given) { 100 } else { 6 } }
		/// ```
		/// assert!(shared::shared_number() > 6);
		/// ```
		pub fn documented() {}
	END
	cargo_crate "$at/app" app '[dependencies]' \
		'shared = { path = "../shared" }'
	cat > "$at/app/build.rs" <<- 'END'
		use std::{env, path::Path, process::Command};
		fn run(program: &str, words: &[&str], at: &Path) {
		    assert!(Command::new(program).args(words).current_dir(at)
		        .status().unwrap().success());
		}
		fn main() {
		    let out = env::var("OUT_DIR").unwrap();
		    let out = Path::new(&out);
		    std::fs::write(out.join("made.rs"),
		        "pub fn made() { let warned_in_made = 1; }").unwrap();
		    std::fs::write(out.join("three.c"),
		        "int three(void) { return 3; }").unwrap();
		    run("cc", &["-c", "three.c", "-o", "three.o"], out);
		    run("ar", &["crs", "libthree.a", "three.o"], out);
		    println!("cargo:rustc-link-search=native={}", out.display());
		    println!("cargo:rustc-link-lib=static=three");
		    println!("cargo:rustc-check-cfg=cfg(given)");
		    println!("cargo:rerun-if-changed=build.rs");
		}
	END
	cat > "$at/app/src/main.rs" <<- 'END'
		mod made { include!(concat!(env!("OUT_DIR"), "/made.rs")); }
		extern "C" { fn three() -> i32; }
		fn main() {
		    made::made();
		    let words: Vec<String> = std::env::args().skip(1).collect();
		    println!("{} {} {:?}", shared::shared_number(),
		        unsafe { three() }, words);
		}
		#[test]
		fn it_is_seven() { assert_eq!(shared::shared_number(), 7); }
	END
}

# plain CHECKOUT WORD...: cargo without us; its output as build's.
plain() {
	local at=$WORK/$1
	shift
	(cd "$at" && timeout 900 cargo "$@") > "$WORK/build.log" 2>&1 3>&-
}

# dep_info CHECKOUT: all of it, with names.
dep_info() {
	(cd "$WORK/$1/target/debug" && find . -name '*.d' -exec tail -n +1 {} \; |
		without_hashes)
}

# What cargo has in names for what it was made by: the compiler has another
# version for it with us.
without_hashes() {
	sed 's/[0-9a-f]\{16\}/HASH/g' | LC_ALL=C sort
}

# What cargo tells programs on standard output, in the last build.
messages() {
	grep '^{' "$WORK/build.log" | without_hashes
}

local_ones() {
	counts | cut -d' ' -f 4
}

plan 91
project "$WORK/$one"
project "$WORK/two"
export CARGO_INCREMENTAL=0
ok "a server starts" server_start --workers 2

# --- the same as without us ---------------------------------------------------
format=--message-format=json-diagnostic-rendered-ansi
builds "libraries of all kinds, programs, native code: by workers" "3 0 3 0" \
	"$one" build "$format" --color always
messages > "$WORK/ours.json"
dep_info "$one" > "$WORK/ours.d"
rm -rf "$WORK/$one/target"
ok "plain cargo builds it" plain "$one" build "$format" --color always
messages > "$WORK/plain.json"
dep_info "$one" > "$WORK/plain.d"
ok "what it tells programs is the same, byte for byte" \
	diff "$WORK/ours.json" "$WORK/plain.json"
like "warnings with colours in generated code are among it" \
	"$(cat "$WORK/ours.json")" 'made.rs:1:21'
ok "dep-info files are the same, byte for byte" \
	diff "$WORK/ours.d" "$WORK/plain.d"
builds "what plain cargo built is not taken for ours" "3 3 0 0" "$one" build
builds "elsewhere it is found" "3 3 0 0" two build
is "and runs" "$("$WORK/two/target/debug/app")" "7 3 []"

# --- commands -----------------------------------------------------------------
builds "run" "0 0 0 0" two run -q -p app -- a b
like "passes words on" "$(cat "$WORK/build.log")" '7 3 ."a", "b".'
builds "check" "2 0 2 0" two check
builds "check elsewhere" "2 2 0 0" "$one" check
ok "test, with tests in documentation" build two test
like "they ran" "$(cat "$WORK/build.log")" "Doc-tests shared"
is "compiled by workers" "$(local_ones)" 0
ok "doc" build two doc --no-deps
ok "it is there" test -e "$WORK/two/target/doc/shared/index.html"
if cargo clippy --version > /dev/null 2>&1; then
	sed -i 's/made::made();/made::made(); let v = 1; let _ = v \& 0;/' \
		"$WORK/two/app/src/main.rs"
	ok "clippy fails as it does" eval '! build two clippy'
	like "with its own lints" "$(cat "$WORK/build.log")" "bit_mask|erasing_op"
	git -C "$WORK" init -q 2> /dev/null
	sed -i 's/ let v = 1; let _ = v & 0;//' "$WORK/two/app/src/main.rs"
	builds "clippy, by workers" "[12] 0 [12] 0" two clippy
	builds "clippy elsewhere" "([23]) \1 0 0" "$one" clippy
else
	for fact in fails lints workers elsewhere; do
		skip "clippy: $fact" "it is not installed"
	done
fi

# --- profiles, targets, directories -------------------------------------------
builds "release" "3 0 3 0" two build --release
builds "a profile of one's own" "3 0 3 0" two build --profile mine
CARGO_PROFILE_DEV_LTO=thin builds "optimization at link time" "3 0 3 0" \
	two build
host=$(rustc -vV | sed -n 's/^host: //p')
# (An old cargo has the build script already.)
builds "--target" "([23]) 0 \1 0" two build --target "$host"
rm -rf "$WORK/two/target"
CARGO_TARGET_DIR=$WORK/elsewhere builds "CARGO_TARGET_DIR" "3 3 0 0" two build
builds "--target-dir" "3 3 0 0" two build --target-dir "$WORK/else where"
CARGO_BUILD_BUILD_DIR=$WORK/between builds "another place for what is between" \
	"3 3 0 0" two build
rm -rf "$WORK/two/target"
mkdir "$WORK/two/.cargo"
printf '[build]\ntarget-dir = "made-here"\nrustflags = ["--cfg", "given"]\n' \
	> "$WORK/two/.cargo/config.toml"
builds "cargo's configuration" "3 0 3 0" two build
is "counts" "$("$WORK/two/made-here/debug/app")" "101 3 []"
rm "$WORK/two/.cargo/config.toml"
printf -- '--cfg\ngiven\n' > "$WORK/arguments"
# (An old cargo calls crates the same whatever RUSTFLAGS says: they are those of
# the configuration before.)
RUSTFLAGS=@$WORK/arguments builds "an argument file" "3 (1 2|3 0) 0" two build
is "counts" "$("$WORK/two/target/debug/app")" "101 3 []"

# --- wrappers -----------------------------------------------------------------
not_ok "another wrapper in the environment is refused" \
	env RUSTC_WRAPPER=sccache "$BUILD/toolroot" cargo build
printf '[build]\nrustc-wrapper = "sccache" # mine\n' \
	> "$WORK/two/.cargo/config.toml"
not_ok "another wrapper in the configuration is refused" build two build
like "with its place" "$(cat "$WORK/build.log")" \
	"two/.cargo/config.toml: sccache.*RUSTC_WRAPPER="
RUSTC_WRAPPER='' builds "or turned off" "[0-9]+ [0-9]+ [0-9]+ 0" two build
printf '[build]\nrustc-wrapper = "toolroot-rustc"\n' \
	> "$WORK/two/.cargo/config.toml"
rm -rf "$WORK/two/target"
RUSTC_WRAPPER=toolroot-rustc TOOLROOT_BROKER=/none \
	builds "ours is none, also within another build" "3 3 0 0" two build
rm "$WORK/two/.cargo/config.toml"
# shellcheck disable=SC2016
printf '#!/bin/sh\nexec "$@"\n' > "$WORK/wrapper"
chmod +x "$WORK/wrapper"
touch "$WORK/two/app/src/main.rs"
RUSTC_WORKSPACE_WRAPPER=$WORK/wrapper builds \
	"a wrapper of workspace crates is run here" "([234]) 0 0 \1" two build
like "and the reason told" "$(cat "$WORK/build.log")" "wrapper that is not known"

# --- toolchains ---------------------------------------------------------------
if command -v rustup > /dev/null && rustup which --toolchain nightly rustc \
	> /dev/null 2>&1; then
	builds "+nightly" "3 0 3 0" two +nightly build
	printf '[toolchain]\nchannel = "nightly"\n' \
		> "$WORK/$one/rust-toolchain.toml"
	rm -rf "$WORK/$one/target"
	builds "rust-toolchain.toml" "3 3 0 0" "$one" build
	rm "$WORK/$one/rust-toolchain.toml"
	RUSTC=$(command -v rustc) RUSTUP_TOOLCHAIN=nightly builds \
		"a proxy of rustup's for rustc" "[0-9]+ [0-9]+ 0 0" "$one" build
else
	for fact in +nightly rust-toolchain.toml proxy; do
		skip "$fact" "there is one toolchain here"
	done
fi

# --- without the front --------------------------------------------------------
echo '// only here' >> "$WORK/two/app/src/main.rs"
alone() {
	rm -rf "$WORK/two/target"
	PATH=$BUILD:$PATH RUSTC_WRAPPER=toolroot-rustc TOOLROOT_SERVER=grpc://$1 \
		plain two build
}
ok "plain cargo with the shim" alone "$GRPC_ADDR"
cp "$WORK/two/target/debug/app" "$WORK/kept"
rm -rf "$WORK/two/target"
if [ -z "$old_cargo" ]; then
	builds "fills the cache" "3 3 0 0" two build
	ok "for the same program" cmp "$WORK/kept" "$WORK/two/target/debug/app"
else
	builds "with an old cargo, for calls without the front" "3 2 1 0" \
		two build
	ok "and again without it" alone "$GRPC_ADDR"
fi
ok "without a server it builds, too" alone 127.0.0.1:1
ok "the same program" cmp "$WORK/kept" "$WORK/two/target/debug/app"

# --- what stays here ----------------------------------------------------------
cargo_crate "$WORK/three" three '[workspace]'
echo 'const X: &str = include_str!("/etc/hostname"); fn main() { print!("{X}") }' \
	> "$WORK/three/src/main.rs"
builds "a source that is nobody's is compiled here" "1 0 0 1" three build
like "and told" "$(cat "$WORK/build.log")" \
	"three.*it reads /etc/hostname, which is outside of the workspace"
like "in one word where it is one" "$(cat "$WORK/build.log")" \
	"toolroot: 1 crate: 0 hits, 0 remote, 1 local "
is "rightly" "$("$WORK/three/target/debug/three")" "$(cat /etc/hostname)"

touch "$WORK/two/app/src/main.rs"
(cd "$WORK/two" && PATH=$BUILD:$PATH cargo toolroot --local app --stats "$stats" \
	--server "grpc://$GRPC_ADDR" build) > "$WORK/build.log" 2>&1 3>&-
like "a crate that is to stay here does" "$(counts)" "1$"
ok "at its true path" grep -q "$WORK/two" "$WORK/two/target/debug/app"

# State of the compiler here is used, also at its fixed paths.
unset CARGO_INCREMENTAL
plain three build
echo '// an edit' >> "$WORK/three/src/main.rs"
sed -i 's/\/etc\/hostname/main.rs/' "$WORK/three/src/main.rs"
builds "a warm crate stays here" "1 0 0 1" three build
like "and is told" "$(cat "$WORK/build.log")" "there is state for it here"
export CARGO_INCREMENTAL=0

# --- how much at once ---------------------------------------------------------
# In cargo's place: it tells what it was told and calls three compilers at once.
cat > "$WORK/as-cargo" <<- 'END'
	#!/bin/bash
	[ "$1" = metadata ] || [ "$1" = -V ] && exit 1
	echo "${CARGO_BUILD_JOBS-none} ${GLIBC_TUNABLES-none}"
	for i in 1 2 3; do
		"$RUSTC_WRAPPER" "${0%/*}/as-rustc" --crate-name "c$i" a.rs \
			--out-dir . -C metadata=1 --emit=dep-info,link &
	done
	wait
END
cat > "$WORK/as-rustc" <<- 'END'
	#!/bin/bash
	echo 1 >> "${0%/*}/running"
	sleep 0.2
	if [ -e "${0%/*}/stay" ]; then
		for i in {1..300}; do
			[ ! -e "${0%/*}/stay" ] || sleep 1
		done > /dev/null 2>&1 &
	fi
	echo -1 >> "${0%/*}/running"
END
chmod +x "$WORK/as-cargo" "$WORK/as-rustc"
# told WORD...: what cargo is, on one processor.
told() {
	: > "$WORK/running"
	CARGO=$WORK/as-cargo timeout "${patience:-300}" \
		taskset -c "$processor" "$BUILD/toolroot" cargo \
		--server "grpc://$GRPC_ADDR" "$@" 2> "$WORK/build.log" 3>&-
}
processor=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
is "cargo starts more calls than there are processors" "$(told build)" \
	"5 glibc.malloc.hugetlb=1"
is "no more compilers than these run here" \
	"$(awk '{ now += $1; if (now > most) most = now; calls++ }
	END { print most, calls, now }' "$WORK/running")" "1 6 0"
touch "$WORK/stay"
ok "what a compiler leaves behind is not waited for" \
	eval 'patience=200 told build > /dev/null'
rm "$WORK/stay"
is "tests have no setting of ours" "$(told test)" "5 none"
is "-j is cargo's" "$(told build -j 2)" "none glibc.malloc.hugetlb=1"
mkdir -p "$WORK/configured/.cargo"
printf '[build]\njobs = 2\n' > "$WORK/configured/.cargo/config.toml"
is "so is its configuration" "$(cd "$WORK/configured" && told build)" \
	"none glibc.malloc.hugetlb=1"

# --- servers ------------------------------------------------------------------
# One that takes connections and says nothing.
python3 -c 'import socket, time
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen(9)
print(s.getsockname()[1], flush=True)
time.sleep(300)' > "$WORK/port" 3>&- &
silent=$!
at_exit kill "$silent"
wait_until 60 test -s "$WORK/port"
server=$GRPC_ADDR
GRPC_ADDR=127.0.0.1:$(cat "$WORK/port")
rm -rf "$WORK/two/target"
builds "a server that says nothing is not waited for" "3 0 0 3" two build
GRPC_ADDR=$server

# --- the end ------------------------------------------------------------------
# What the compiler has to do takes some seconds. Many constants, none of which
# takes so long that a compiler refuses it.
cargo_crate "$WORK/four" four '[workspace]'
{
	echo 'const fn slow(n: u64) -> u64 { let mut i = 0; let mut s = n;
		while i < 40_000 { s = (s + i) % 7919; i += 1; } s }'
	for i in {1..3000}; do
		echo "pub const N$i: u64 = slow($i);"
	done
	echo 'fn main() { println!("{}", N1) }'
} > "$WORK/four/src/main.rs"

# of_this PROGRAM: processes of this test's, by what is in their environment.
of_this() {
	local process

	find /proc/[0-9]*/exe -maxdepth 0 -lname "*/$1" 2> /dev/null |
		while IFS=/ read -r _ _ process _; do
			if tr '\0' '\n' 2> /dev/null < "/proc/$process/environ" |
				grep -qx "XDG_CACHE_HOME=$WORK/cache"; then
				echo "$process"
			fi
		done
}
# Other tests that run beside this one have their sockets elsewhere.
export XDG_RUNTIME_DIR=$WORK/run
mkdir -m 0700 "$XDG_RUNTIME_DIR"
# start CHECKOUT ADDRESS: the front, in the background, in a group of its own;
# $front is its process.
start() {
	rm -rf "$WORK/$1/target"
	(cd "$WORK/$1" && PATH=$BUILD:$PATH exec setsid "$BUILD/toolroot" cargo \
		--server "grpc://$2" build) > "$WORK/build.log" 2>&1 3>&- &
	front=$!
}
# ends NAME STATUS: the front does, with the status, and all else with it.
ends() {
	local status=0

	ok "$1: it ends" wait_until 60 eval "! kill -0 $front 2> /dev/null"
	wait "$front" || status=$?
	is "$1: its status tells why" "$status" "$2"
	ok "$1: nothing stays behind" wait_until 60 eval \
		'[ -z "$(of_this rustc; of_this cargo; of_this toolroot-rustc)" ]'
}
# stopped NAME SIGNAL ADDRESS STATUS [GROUP]: in the middle of a compilation.
stopped() {
	start four "$3"
	wait_until 60 grep -q Compiling "$WORK/build.log"
	sleep 1
	kill "-$2" -- "${5:+-}$front"
	ends "$1" "$4"
	is "$1: no socket stays behind" "$(ls "$XDG_RUNTIME_DIR")" ""
	is "$1: no unfinished file does" \
		"$(find "$WORK/four/target/debug/deps" -type f ! -name '*.d' \
			! -name '*.rcgu.o' ! -path '*/rmeta*')" ""
}
stopped "SIGTERM, compiling here" TERM 127.0.0.1:1 143
stopped "SIGINT, compiling here" INT 127.0.0.1:1 130
stopped "the terminal's SIGINT, compiling there" INT "$GRPC_ADDR" 130 group

# Killed while results come, over a line that is slow enough to see it.
cargo_crate "$WORK/five" five '[workspace]'
head -c 4M /dev/urandom > "$WORK/five/data"
echo 'pub static DATA: &[u8] = include_bytes!("../data");' \
	> "$WORK/five/src/lib.rs"
echo 'fn main() { println!("{}", five::DATA.len()) }' > "$WORK/five/src/main.rs"
builds "a large crate" "2 0 2 0" five build
(cd "$WORK/five/target/debug/deps" && sha256sum libfive-*.r* five-* |
	grep -v '[.]d$') > "$WORK/five.sums"
python3 "$ROOT/tests/system/lib/slow_link.py" "$GRPC_ADDR" 4000000 \
	> "$WORK/slow" 3>&- &
at_exit kill $!
wait_until 60 test -s "$WORK/slow"
slow=127.0.0.1:$(cat "$WORK/slow")
# Its file is there, and has no name yet.
fetching() {
	[[ $(readlink "/proc/$front"/fd/* 2> /dev/null) == */deps/\#* ]]
}
# killed PROGRAM
killed() {
	start five "$slow"
	wait_until 60 fetching || return 1
	if [ "$1" = toolroot ]; then
		kill -KILL "$front"
	else
		kill -KILL "$(of_this "$1")"
	fi
}
for program in toolroot cargo; do
	ok "$program is killed while it fetches" killed $program
	ends "$program killed" 137
	builds "$program killed: the next build takes all of it" \
		"([12]) \1 0 0" five build
	ok "$program killed: rightly" eval \
		'(cd "$WORK/five/target/debug/deps" && sha256sum --quiet -c ../../../../five.sums)'
done
