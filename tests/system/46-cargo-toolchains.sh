#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What became of a toolchain since the last build, in every way that caches
# were seen to miss: each is built anew, in the same target directory, by the
# compiler that is there now; and back again all of it still holds.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$(dirname "$0")/lib/cargo_workspace.sh"
. "$(dirname "$0")/lib/cargo_build.sh"
. "$(dirname "$0")/lib/cargo_toolchain.sh"
need readelf binutils

project() {
	cargo_crate "$1" app '[workspace]'
	echo 'pub fn number() -> u32 { 7 }' > "$1/src/lib.rs"
	cat > "$1/src/main.rs" <<- 'END'
		fn main() {
		    let warned = std::env::args().count() as u32;
		    assert_eq!(app::number(), 8);
		}
	END
}

# patch FILE OLD NEW: in place, all of them, of the same length; the time is
# as it was.
patch_file() {
	cp -p "$1" "$WORK/times"
	python3 -c 'import mmap, sys
path, old, new = sys.argv[1], sys.argv[2].encode(), sys.argv[3].encode()
assert len(old) == len(new)
with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as data:
    at = data.find(old)
    assert at >= 0, "%s is not in %s" % (old, path)
    while at >= 0:
        data[at:at + len(old)] = new
        at = data.find(old, at + 1)' "$@"
	touch -r "$WORK/times" "$1"
}

# change FILE: keeps it; restore FILE puts it back with all its times but ctime.
change() {
	cp -p "$1" "$WORK/kept"
}

restore() {
	cp -p "$WORK/kept" "$1"
}

# row NAME FILE OLD NEW: the file is patched (OLD -: a byte is added).
row() {
	local name=$1 file=$2
	change "$file"
	if [ "$3" = - ]; then
		printf '\n' >> "$file"
		touch -r "$WORK/kept" "$file"
	else
		patch_file "$file" "$3" "$4"
	fi
	builds "$name, its time kept: all is built anew" "2 0 2 0" one build
}

# back FILE NAME: two facts.
back() {
	restore "$1"
	builds "$2: what was built before still holds" "0 0 0 0" one build
	rm -rf "$WORK/two/target"
	builds "$2: and is found elsewhere" "2 2 0 0" two build
}

# What the linked program says when it fails.
program_says() {
	RUST_BACKTRACE=0 "$WORK/one/target/debug/app" 2>&1
}

plan 34
project "$WORK/one"
project "$WORK/two"
export CARGO_INCREMENTAL=0
ok "a server starts" server_start --workers 2

builds "the first build" "2 0 2 0" one build

# --- what is remembered of its files ------------------------------------------
# A digest that is not the file's. (No byte of it is read for a file that looks
# as it did.)
python3 -c 'import re, sys
text = open(sys.argv[1]).read()
wrong, count = re.subn(r"(?m)^(\S+ )(\S{16})(\S+ \S \d+ /\S+/bin/rustc)$",
    r"\g<1>0123456789abcdef\3", text)
assert count == 1, count
open(sys.argv[1], "w").write(wrong)' "$XDG_CACHE_HOME/toolroot/ledger"
builds "files that look as they did are not read" "2 0 0 2" one build
CI=true builds "but in CI" "0 0 0 0" one build

# --- a copy of the compiler of this machine, at another place -----------------
tc=$WORK/toolchain
cargo_toolchain_movable "$WORK/movable"
[ "$movable" != "$WORK/movable" ] ||
	RUSTC=$movable/bin/rustc build one build || show_build
cargo_toolchain_copy "$tc"
export RUSTC=$tc/bin/rustc
builds "an equal toolchain at another path is the same one" "0 0 0 0" one build
builds "also with an empty target directory" "2 2 0 0" two build

# --- in place, part by part ---------------------------------------------------
rlib=$(find "$tc/lib/rustlib" -name 'libstd-*.rlib')
driver=$(find "$tc/lib" -maxdepth 1 -name 'librustc_driver-*.so')
llvm=$(find "$tc/lib" -maxdepth 1 -name 'libLLVM*' -size +1M)
linker=$(find "$tc/lib/rustlib" -name rust-lld)

row "rustc itself" "$tc/bin/rustc" - -
restore "$tc/bin/rustc"

row "the driver" "$driver" "unused variable" "unused Variable"
like "the new driver ran" "$(cat "$WORK/build.log")" "unused Variable"
back "$driver" "the driver as it was"
unlike "the old one's messages are back" "$(cat "$WORK/build.log")" \
	"unused Variable"

row "LLVM" "$llvm" - -
back "$llvm" "LLVM as it was"

row "a library of std" "$rlib" "to display a backtrace" "to display A backtrace"
like "the program has the new one in it" "$(program_says)" \
	"to display A backtrace"
back "$rlib" "std as it was"
unlike "the program has the old one in it" "$(program_says)" \
	"to display A backtrace"

# It writes the commit that it was made of into what it links.
commit=$(readelf -p .comment "$WORK/one/target/debug/app" |
	grep -o '[0-9a-f]\{40\}' | head -n 1)
if [ -n "$linker" ] && [ -n "$commit" ]; then
	row "the linker" "$linker" "$commit" "${commit//[0-9a-f]/0}"
	like "the new linker ran" \
		"$(readelf -p .comment "$WORK/one/target/debug/app")" "0{40}"
	back "$linker" "the linker as it was"
else
	for fact in built ran held found; do
		skip "the linker: $fact" "this toolchain has none that tells"
	done
fi

# --- a component comes and goes -----------------------------------------------
target=$tc/lib/rustlib/wasm32-unknown-unknown/lib
mkdir -p "$target"
echo "a library" > "$target/libcore-1.rlib"
builds "a target that was added is another toolchain" "2 0 2 0" one build
rm -r "$tc/lib/rustlib/wasm32-unknown-unknown"
builds "without it again: what was built before still holds" "0 0 0 0" one build
unset RUSTC

# --- another compiler ---------------------------------------------------------
# The one of nightly where it is installed, else the distribution's.
if command -v rustup > /dev/null && rustup which --toolchain nightly rustc \
	> /dev/null 2>&1; then
	other=$(rustup which --toolchain nightly rustc)
	front=(+nightly build)
	name=nightly
elif [ -x /usr/bin/rustc ] && [ "$(command -v rustc)" != /usr/bin/rustc ]; then
	other=/usr/bin/rustc
	front=(build --config "build.rustc='/usr/bin/rustc'")
	name=/usr/bin/rustc
else
	other=
fi
if [ -n "$other" ]; then
	builds "$name after another: all is built anew" "2 0 2 0" one \
		"${front[@]}"
	version=$("$other" -V) # "rustc 1.97.0-nightly (...)"
	like "it is the one that ran" \
		"$(readelf -p .comment "$WORK/one/target/debug/app")" \
		"rustc version ${version:6:6}"
	builds "back to the first one" "0 0 0 0" one build
else
	for fact in built ran back; do
		skip "another compiler: $fact" "there is only one here"
	done
fi

# --- a distribution's layout --------------------------------------------------
# Spread over /usr, where a directory tells nothing. Its files are not ours to
# change: another is mounted upon the driver, for this build alone.
driver=$(find /usr/lib/x86_64-linux-gnu -maxdepth 1 -name 'librustc_driver-*.so' \
	2> /dev/null | head -n 1)
mounted() {
	# shellcheck disable=SC2016
	unshare --mount sh -c 'mount --bind "$0" "$1" && shift && exec "$@"' \
		"$WORK/driver" "$driver" "$@"
}
if [ -n "$driver" ] && [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] &&
	cp "$driver" "$WORK/driver" &&
	patch_file "$WORK/driver" "unused variable" "unused Variable" &&
	mounted true 2> /dev/null; then
	project "$WORK/three"
	project "$WORK/four"
	echo "// a distribution's" | tee -a "$WORK"/{three,four}/src/lib.rs
	PATH=/usr/bin:$PATH
	builds "a distribution's compiler" "2 0 2 0" three build
	rm -f "$stats"
	(cd "$WORK/three" && PATH=$BUILD:$PATH && mounted cargo toolroot \
		--server "grpc://$GRPC_ADDR" --stats "$stats" build) \
		> "$WORK/build.log" 2>&1 3>&-
	is "its driver is another: all is built anew" "$(counts)" "2 0 2 0" ||
		show_build
	like "and it ran" "$(cat "$WORK/build.log")" "unused Variable"
	builds "its own driver again: what was built still holds" "0 0 0 0" \
		three build
	builds "and is found elsewhere" "2 2 0 0" four build
else
	for fact in first anew ran holds found; do
		skip "a distribution's compiler: $fact" \
			"there is none here, or nothing can be mounted"
	done
fi
