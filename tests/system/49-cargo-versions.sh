#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Cargo before 1.79 asks the compiler itself for its version, past
# RUSTC_WRAPPER: it is given another RUSTC, which answers that one question and
# is the compiler for all others. Newer ones are given none. Which cargo is here
# does not matter: old and new are played; then the one that is here builds.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$(dirname "$0")/lib/cargo_workspace.sh"
. "$(dirname "$0")/lib/cargo_build.sh"

export CARGO_INCREMENTAL=0
plan 29
ok "a server starts" server_start --workers 1
rustc=$(rustc --print sysroot)/bin/rustc
plain=$("$rustc" -vV)

# --- played -------------------------------------------------------------------
# Our program knows cargo by the name of what runs.
mkdir "$WORK/played"
cp "$(command -v bash)" "$WORK/played/cargo"
printf '#!%s\n' "$WORK/played/cargo" > "$WORK/played/play"
cat >> "$WORK/played/play" <<- 'END'
	at=${0%/*}
	case $1 in
	-V) cat "$at/version" && exit ;;
	metadata) exit 1 ;;
	esac
	echo "${RUSTC-none}" > "$at/rustc"
	rustc=${RUSTC-rustc}
	"$rustc" -vV > "$at/cargo-asks"
	bash -c '"$0" -vV; "$0" --print sysroot' "$rustc" > "$at/script-asks"
	bash -c '"$(readlink -f "$0")" -vV; true' "$rustc" > "$at/canonical"
	"$RUSTC_WRAPPER" "$rustc" -vV > "$at/wrapper-asks"
	exit 0
END
chmod +x "$WORK/played/play"

# play VERSION [VARIABLE...]
play() {
	rm -f "$WORK"/played/*asks "$WORK"/played/{rustc,canonical}
	echo "cargo $1" > "$WORK/played/version"
	(cd "$WORK/played" && env "${@:2}" CARGO="$WORK/played/play" \
		"$BUILD/toolroot" cargo --server "grpc://$GRPC_ADDR" build) \
		> "$WORK/build.log" 2>&1 3>&-
}
played() {
	cat "$WORK/played/$1"
}
digest='toolchain-digest: [0-9a-f]{64}/[0-9]+'

ok "an old cargo is run" play 1.78.0 || show_build
stand_in=$(played rustc)
like "with another RUSTC, of the compiler's name" "$stand_in" \
	"^$XDG_CACHE_HOME/toolroot/.*/rustc$"
like "its question is answered with the toolchain" "$(played cargo-asks)" \
	"$digest"
is "as the wrapper answers it" "$(played cargo-asks)" "$(played wrapper-asks)"
is "others are answered by the compiler" "$(played script-asks)" \
	"$plain
$(rustc --print sysroot)"
is "also who asks where it leads" "$(played canonical)" "$plain"
is "and when the build is over" "$("$stand_in" -vV)" "$plain"

ok "RUSTC of the user's" play "1.65.0 (4bc8f24d3 2022-10-20)" \
	RUSTC="$rustc" || show_build
unlike "has another in its place" "$(played rustc)" "^($rustc|$stand_in)$"
is "that is this one" "$("$(played rustc)" -vV)" "$plain"
like "and answers cargo" "$(played cargo-asks)" "$digest"
mine=$(played rustc)
ok "one build in another" play 1.65.0 RUSTC="$mine" || show_build
is "has the same" "$(played rustc)" "$mine"

mkdir -p "$WORK/played/.cargo" "$WORK/played/mine"
printf '#!/bin/sh\necho mine\n' > "$WORK/played/mine/rustc"
chmod +x "$WORK/played/mine/rustc"
echo 'build.rustc = "mine/rustc"' > "$WORK/played/.cargo/config.toml"
ok "build.rustc of cargo's configuration" play 1.65.0 || show_build
is "is what is called" "$("$(played rustc)" -vV)" mine
ok "RUSTC is stronger" play 1.65.0 RUSTC="$rustc" || show_build
is "and has what it had" "$(played rustc)" "$mine"
rm -r "$WORK/played/.cargo"

ok "a new cargo is run" play 1.79.0 || show_build
is "with no RUSTC" "$(played rustc)" none
ok "RUSTC of the user's" play 1.79.0 RUSTC="$rustc" || show_build
is "is left alone" "$(played rustc)" "$rustc"
ok "where nothing is remembered an old one has none either" \
	play 1.65.0 -u XDG_CACHE_HOME HOME=/proc/none || show_build
is "since it could not last" "$(played rustc)" none

# --- the one that is here -----------------------------------------------------
for checkout in one two; do
	cargo_crate "$WORK/$checkout" app '[workspace]'
	cat > "$WORK/$checkout/build.rs" <<- 'END'
		fn main() {
		    let rustc = std::env::var("RUSTC").unwrap();
		    let told = std::process::Command::new(&rustc).arg("-vV")
		        .output().unwrap().stdout;
		    let lines = String::from_utf8(told).unwrap().lines().count();
		    println!("cargo:rustc-env=LINES={lines}");
		    println!("cargo:rerun-if-changed=build.rs");
		}
	END
	echo 'fn main() { println!("{} {:?}", env!("LINES"), option_env!("RUSTC")) }' \
		> "$WORK/$checkout/src/main.rs"
done
builds "a build script that asks RUSTC" "2 0 2 0" one build
is "is answered by the compiler, and crates see no RUSTC" \
	"$("$WORK/one/target/debug/app")" "$(wc -l <<< "$plain") None"
builds "elsewhere it is found" "2 2 0 0" two build
rm -rf "$WORK/two/target"
RUSTC=$rustc builds "who reads a RUSTC that is set is compiled here" "2 1 0 1" \
	two build
like "and sees it" "$("$WORK/two/target/debug/app")" "Some..$rustc"
