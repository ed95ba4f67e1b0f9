# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# cargo_workspace DIRECTORY: a workspace of path dependencies alone, so that it
# is built without a network, with what makes caching hard: a build script that
# generates code, a proc-macro that reads a file when it expands, include_str!,
# env!, option_env!, a native library, a library that others share. Rust 2021.

# crate DIRECTORY NAME [LINE...]: its Cargo.toml; the lines come last.
cargo_crate() {
	local directory=$1 name=$2
	shift 2
	mkdir -p "$directory/src"
	{
		printf '[package]\nname = "%s"\nversion = "0.1.0"\n' "$name"
		printf 'edition = "2021"\n'
		printf '%s\n' "$@"
	} > "$directory/Cargo.toml"
}

cargo_workspace() {
	local at=$1 i

	mkdir -p "$at"
	printf '[workspace]\nresolver = "2"\nmembers = ["app", "core", "macros"%s]\n' \
		', "leaf0", "leaf1", "leaf2", "leaf3", "leaf4", "leaf5"' \
		> "$at/Cargo.toml"
	for i in 0 1 2 3 4 5; do
		cargo_crate "$at/leaf$i" "leaf$i"
		cat > "$at/leaf$i/src/lib.rs" <<- END
			pub mod inner;
			/// A generic function, so that users compile it.
			pub fn twice<T: Clone>(value: &T) -> (T, T) {
			    (value.clone(), value.clone())
			}
			pub fn number() -> u32 { inner::NUMBER + $i }
		END
		echo "pub const NUMBER: u32 = 10;" > "$at/leaf$i/src/inner.rs"
	done

	cargo_crate "$at/macros" macros '[lib]' 'proc-macro = true'
	cat > "$at/macros/src/lib.rs" <<- 'END'
		use proc_macro::TokenStream;
		/// The text of a file of the package that uses it.
		#[proc_macro]
		pub fn text_of(input: TokenStream) -> TokenStream {
		    let name = input.to_string().replace('"', "");
		    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap();
		    let text =
		        std::fs::read_to_string(format!("{root}/{name}")).unwrap();
		    format!("{:?}", text.trim()).parse().unwrap()
		}
	END

	cargo_crate "$at/core" core-parts '[dependencies]' \
		'macros = { path = "../macros" }' \
		'leaf0 = { path = "../leaf0" }' 'leaf1 = { path = "../leaf1" }' \
		'[build-dependencies]' 'leaf2 = { path = "../leaf2" }'
	mkdir -p "$at/core/data"
	echo "read by a macro" > "$at/core/data/macro.txt"
	echo "included" > "$at/core/data/included.txt"
	cat > "$at/core/build.rs" <<- 'END'
		fn main() {
		    let out = std::env::var("OUT_DIR").unwrap();
		    std::fs::write(format!("{out}/made.rs"),
		        format!("pub const MADE: u32 = {};", leaf2::number()))
		        .unwrap();
		    println!("cargo:rerun-if-changed=build.rs");
		    println!("cargo:rustc-env=FROM_BUILD=script");
		}
	END
	cat > "$at/core/src/lib.rs" <<- 'END'
		include!(concat!(env!("OUT_DIR"), "/made.rs"));
		pub fn text() -> String {
		    format!("{} {} {} {} {} {:?} {:?}",
		        macros::text_of!("data/macro.txt"),
		        include_str!("../data/included.txt").trim(),
		        env!("FROM_BUILD"), env!("CARGO_PKG_VERSION"),
		        MADE + leaf0::number() + leaf1::number(),
		        option_env!("CARGO_WORKSPACE_AMBIENT"),
		        leaf0::twice(&7))
		}
		#[cfg(test)]
		mod tests {
		    #[test]
		    fn numbers() { assert_eq!(super::MADE, 12); }
		}
	END

	cargo_crate "$at/app" app '[dependencies]' \
		'core-parts = { path = "../core" }' \
		'leaf3 = { path = "../leaf3" }' 'leaf4 = { path = "../leaf4" }' \
		'leaf5 = { path = "../leaf5" }'
	cat > "$at/app/src/main.rs" <<- 'END'
		#[link(name = "m")]
		extern "C" { fn cosh(value: f64) -> f64; }
		fn main() {
		    let unused = 1;
		    println!("{} {} {}", core_parts::text(),
		        leaf3::number() + leaf4::number() + leaf5::number(),
		        unsafe { cosh(0.0) });
		}
	END
	sed -i 's/let unused/let warned/' "$at/app/src/main.rs"
}
