# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# cargo_project DIRECTORY: a workspace as projects are, with crates of the
# registry (serde, syn, regex, libc): a library, a program, a build script that
# generates code from a file and a variable, a proc-macro that reads a file,
# include_str!, env!, option_env!, a feature, a native library of the system.
# After cargo_workspace.sh.
#
# cargo_project_fetch DIRECTORY: gets the crates, into $CARGO_HOME; fails with
# $fetch_reason when that cannot be. From the registry where it is reachable,
# else from a distribution's packages.

cargo_project() {
	local at=$1

	mkdir -p "$at"
	cat > "$at/Cargo.toml" <<- 'END'
		[workspace]
		resolver = "2"
		members = ["app", "core", "macros"]
	END
	cargo_crate "$at/macros" macros '[lib]' 'proc-macro = true' \
		'[dependencies]' 'syn = { version = ">=1, <3", features = ["full"] }' \
		'quote = "1"'
	cat > "$at/macros/src/lib.rs" <<- 'END'
		use proc_macro::TokenStream;
		/// The text of a file of the package that uses it.
		#[proc_macro]
		pub fn text_of(input: TokenStream) -> TokenStream {
		    let name = syn::parse_macro_input!(input as syn::LitStr);
		    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap();
		    let path = format!("{root}/{}", name.value());
		    let text = std::fs::read_to_string(path).unwrap();
		    let text = text.trim();
		    quote::quote!(#text).into()
		}
	END

	cargo_crate "$at/core" core-parts 'build = "build.rs"' \
		'[features]' 'louder = []' '[dependencies]' \
		'macros = { path = "../macros" }' 'regex = "1"' 'libc = "0.2"' \
		'serde = { version = "1", features = ["derive"] }'
	mkdir -p "$at/core/data"
	echo "read by a macro" > "$at/core/data/macro.txt"
	echo "included" > "$at/core/data/included.txt"
	echo "generated" > "$at/core/data/generated.txt"
	cat > "$at/core/build.rs" <<- 'END'
		fn main() {
		    let out = std::env::var("OUT_DIR").unwrap();
		    let text = std::fs::read_to_string("data/generated.txt").unwrap();
		    std::fs::write(format!("{out}/made.rs"),
		        format!("pub const MADE: &str = {:?};", text.trim())).unwrap();
		    let mode = std::env::var("PROJECT_MODE").unwrap_or("none".into());
		    println!("cargo:rustc-env=MODE={mode}");
		    println!("cargo:rerun-if-env-changed=PROJECT_MODE");
		    println!("cargo:rerun-if-changed=data/generated.txt");
		}
	END
	cat > "$at/core/src/lib.rs" <<- 'END'
		include!(concat!(env!("OUT_DIR"), "/made.rs"));
		#[derive(serde::Serialize, serde::Deserialize, Debug, Default)]
		pub struct Part { pub name: String, pub count: u32 }
		#[link(name = "z")]
		extern "C" { fn zlibVersion() -> *const libc::c_char; }
		pub fn zlib() -> String {
		    unsafe { std::ffi::CStr::from_ptr(zlibVersion()) }
		        .to_str().unwrap().into()
		}
		pub fn text() -> String {
		    let word = regex::Regex::new("[a-z]+").unwrap();
		    let version = env!("CARGO_PKG_VERSION");
		    let part = Part { name: version.into(), ..Default::default() };
		    let mut text = format!("{}|{}|{}|{}|{:?}|{}|{}|{}",
		        macros::text_of!("data/macro.txt"),
		        include_str!("../data/included.txt").trim(),
		        MADE, env!("MODE"), option_env!("PROJECT_NOTE"), part.name,
		        word.find("12ab3").unwrap().as_str(),
		        include_bytes!("../data/included.txt").len());
		    if cfg!(feature = "louder") { text.push('!'); }
		    text
		}
		/// ```
		/// assert!(core_parts::text().contains("included"));
		/// ```
		pub fn documented() {}
		#[cfg(test)]
		mod tests {
		    #[test]
		    fn it_finds_its_files() {
		        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/macro.txt");
		        assert!(std::path::Path::new(path).exists());
		    }
		}
	END

	cargo_crate "$at/app" app '[features]' 'louder = ["core-parts/louder"]' \
		'[dependencies]' 'core-parts = { path = "../core" }'
	cat > "$at/app/src/main.rs" <<- 'END'
		fn main() {
		    assert!(!core_parts::zlib().is_empty());
		    println!("{}", core_parts::text());
		}
	END
	mkdir -p "$at/app/tests"
	cat > "$at/app/tests/run.rs" <<- 'END'
		#[test]
		fn the_program_runs() {
		    let app = std::process::Command::new(env!("CARGO_BIN_EXE_app"))
		        .output().unwrap();
		    assert!(String::from_utf8_lossy(&app.stdout).contains("included"));
		}
	END
}

cargo_project_fetch() {
	local log=$WORK/fetch.log packages=/usr/share/cargo/registry

	if (cd "$1" && timeout 120 cargo fetch) > "$log" 2>&1 3>&-; then
		note "crates come from the registry"
		return 0
	fi
	fetch_reason=$(grep -m 1 '^error' "$log")
	[ -d "$packages" ] || return 1
	printf '%s\n' '[source.crates-io]' 'replace-with = "distribution"' \
		'[source.distribution]' "directory = '$packages'" \
		>> "$CARGO_HOME/config.toml"
	if ! (cd "$1" && timeout 120 cargo fetch) > "$log" 2>&1 3>&-; then
		fetch_reason="$fetch_reason; $(grep -m 1 '^error' "$log")"
		return 1
	fi
	note "crates are the distribution's"
}
