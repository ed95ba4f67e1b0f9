#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Programs that look for files when they run, where a variable told them at
# compile time: the package's directory, of a fetched package, too, OUT_DIR, a
# variable of the build script's, cargo itself. They find them, whoever
# compiled them and wherever; what merely includes a file from there is shared
# all the same.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$(dirname "$0")/lib/cargo_workspace.sh"
. "$(dirname "$0")/lib/cargo_build.sh"

export CARGO_INCREMENTAL=0
[ ! -d "${RUSTUP_HOME:-$HOME/.rustup}" ] ||
	export RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}
export CARGO_HOME=$WORK/home
fetched=$CARGO_HOME/registry/src/index-1

# A program in a package, as those that bring a tool for build scripts.
cargo_crate "$fetched/finder" finder
echo "found" > "$fetched/finder/tool.txt"
cat > "$fetched/finder/src/lib.rs" <<- 'END'
	pub fn tool() -> String { format!("{}/tool.txt", env!("CARGO_MANIFEST_DIR")) }
	pub fn about() -> &'static str {
	    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tool.txt"))
	}
END
# One that makes the tool when it is built.
cargo_crate "$fetched/maker" maker
cat > "$fetched/maker/build.rs" <<- 'END'
	fn main() {
	    let out = std::env::var("OUT_DIR").unwrap();
	    std::fs::write(format!("{out}/tool.txt"), "made").unwrap();
	}
END
echo 'pub fn tool() -> String { format!("{}/tool.txt", env!("OUT_DIR")) }' \
	> "$fetched/maker/src/lib.rs"
# One that includes what it makes, told by a variable of its own, and looks at
# more variables than one.
cargo_crate "$fetched/includer" includer
cat > "$fetched/includer/build.rs" <<- 'END'
	fn main() {
	    let made = format!("{}/made.rs", std::env::var("OUT_DIR").unwrap());
	    std::fs::write(&made, "pub const MADE: u32 = 3;").unwrap();
	    println!("cargo:rustc-env=MADE={made}");
	}
END
cat > "$fetched/includer/src/lib.rs" <<- 'END'
	include!(env!("MADE"));
	pub fn seen() -> Vec<Option<&'static str>> {
	    vec![option_env!("PLACES_A"), option_env!("PLACES_B"),
	        option_env!("PLACES_C"), option_env!("PLACES_D"),
	        option_env!("PLACES_E"), option_env!("PLACES_F")]
	}
END
export PLACES_A=1 PLACES_B=2 PLACES_C=3 PLACES_D=4 PLACES_E=5 PLACES_F=6

project() {
	cargo_crate "$WORK/$1" app '[workspace]' \
		'[dependencies]' "includer = { path = \"$fetched/includer\" }" \
		'[build-dependencies]' "finder = { path = \"$fetched/finder\" }" \
		"maker = { path = \"$fetched/maker\" }"
	echo "of $1" > "$WORK/$1/data.txt"
	cat > "$WORK/$1/build.rs" <<- 'END'
		use std::{env, fs};
		fn main() {
		    println!("cargo:rustc-env=DATA={}/data.txt",
		        env::var("CARGO_MANIFEST_DIR").unwrap());
		    println!("cargo:rustc-env=TOOLS={} {} {}",
		        fs::read_to_string(finder::tool()).unwrap().trim(),
		        finder::about().trim(),
		        fs::read_to_string(maker::tool()).unwrap().trim());
		}
	END
	cat > "$WORK/$1/src/main.rs" <<- 'END'
		fn main() {
		    let data = std::fs::read_to_string(env!("DATA")).unwrap();
		    let cargo = std::path::Path::new(env!("CARGO")).exists();
		    println!("{} {} {} {} {}", data.trim(), env!("TOOLS"), cargo,
		        includer::MADE, includer::seen().iter().flatten().count());
		}
	END
}

app() {
	"$WORK/$1/target/debug/app"
}

plan 11
for checkout in one two three; do
	project $checkout
done
ok "a server starts" server_start --workers 2

builds "all but what knows this machine's cargo is made by workers" \
	"7 0 6 1" one build
is "a build script and a program find their files" "$(app one)" \
	"of one found found made true 3 6"
# Shared: two build scripts, what was fetched and is at the same place, what
# only includes.
builds "elsewhere what has no place of this checkout in it is found" \
	"7 4 2 1" two build
is "the program there finds its own" "$(app two)" \
	"of two found found made true 3 6"
rm -rf "$WORK/one/target"
builds "at the same place all of it is found" "7 6 0 1" one build
is "and runs" "$(app one)" "of one found found made true 3 6"
# What the linker writes into a program is true for who starts it.
cargo_crate "$WORK/four" four '[workspace]'
cat > "$WORK/four/build.rs" <<- 'END'
	fn main() {
	    let out = std::env::var("OUT_DIR").unwrap();
	    println!("cargo:rustc-link-arg=-Wl,-rpath,{out}");
	}
END
echo 'fn main() {}' > "$WORK/four/src/main.rs"
builds "a program that names a place of libraries" "2 0 2 0" four build
like "names the true one" \
	"$(readelf -d "$WORK/four/target/debug/four" | grep -i 'r.*path')" \
	"\[$WORK/four/target/debug/build/four-.*/out\]"
server_kill
builds "without a server all of it is made here" "7 0 0 7" three build
is "and finds its files" "$(app three)" "of three found found made true 3 6"
