#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The cargo front where it is not as usual: no home, no short place for a
# socket, a server that refuses or is full, a cache that lost outputs,
# directories in OUT_DIR, another linker, another user. The build goes on, rightly, and what is to be said is.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$(dirname "$0")/lib/cargo_workspace.sh"
. "$(dirname "$0")/lib/cargo_build.sh"
. "$(dirname "$0")/lib/other_user.sh"

export CARGO_INCREMENTAL=0
export CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}
[ ! -d "${RUSTUP_HOME:-$HOME/.rustup}" ] ||
	export RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}

# A program of one file; what it prints is the word.
program() {
	mkdir -p "$WORK/$1"
	cargo_crate "$WORK/$1" "$1" '[workspace]'
	printf 'fn main() { println!("%s") }\n' "$2" > "$WORK/$1/src/main.rs"
}

log() {
	cat "$WORK/build.log"
}

plan 45
ok "a server starts" server_start --workers 2

# --- a server that refuses, and is full --------------------------------------------
# little PROGRAM OPTION...: a build through it.
little() {
	(cd "$WORK/$1" && PATH=$BUILD:$PATH cargo toolroot --server "$server" \
		--stats stats.json "${@:2}" build) > "$WORK/$1.log" 2>&1 3>&-
}
program refused one
program full one
"$TOOLROOT" serve --listen 127.0.0.1:0 --http 127.0.0.1:0 --workers 1 \
	--store "$WORK/little" --instance main --max-size 100M \
	> "$WORK/little.out" 2> "$WORK/little.log" < /dev/null 3>&- &
at_exit kill $!
wait_until 60 grep -q '^toolroot ready' "$WORK/little.out"
server=$(cut -d ' ' -f 3 "$WORK/little.out")
ok "a server that refuses: the build ends well" little refused
is "here" "$(stats=$WORK/refused/stats.json counts)" "1 0 0 1"
like "and the remedy is told" "$(cat "$WORK/refused.log")" \
	'no instance "".*setting "instance"; the build goes on here'
# Room is waited for, for a while: beside all that follows.
little full --instance main &
full=$!

# --- nowhere to remember -------------------------------------------------------
program homeless one
kept=$XDG_CACHE_HOME
unset XDG_CACHE_HOME
export TMPDIR=$WORK/temporary
mkdir "$TMPDIR"
HOME=/proc/none builds "a home that cannot be written to" "1 0 1 0" \
	homeless build
like "is told, with the remedy" "$(log)" \
	"nothing is remembered.*/proc/none.*set XDG_CACHE_HOME"
is "what was noted meanwhile is gone" "$(ls "$TMPDIR")" ""
rm -rf "$WORK/homeless/target"
homeless() {
	(unset HOME && build homeless build)
}
ok "no home at all" homeless
like "is told, too" "$(log)" "neither XDG_CACHE_HOME nor HOME is set"
unset TMPDIR
export XDG_CACHE_HOME=$kept

# --- the socket -----------------------------------------------------------------
rm -rf "$WORK/homeless/target"
long=$WORK/$(printf 'long%.0s' {1..30})
mkdir "$long"
# (What an old cargo built where nothing is remembered has other keys.)
XDG_RUNTIME_DIR=$long builds "a place too long for a socket: another is taken" \
	"1 $([ -n "$old_cargo" ] && echo 0 1 || echo 1 0) 0" homeless build
is "nothing is left there" "$(ls "$long")" ""

# --- results that are not whole ---------------------------------------------------
cargo_workspace "$WORK/one"
cargo_workspace "$WORK/two"
builds "a build" "10 0 10 0" one build
cp "$stats" "$WORK/first.json"
# lost ENDING: from how many of its results.
lost() {
	/usr/bin/python3 "$ROOT/tests/system/lib/lose_outputs.py" "$GRPC_ADDR" \
		"$WORK/first.json" "$1" 2>&1
}
is "a cache loses the metadata of all libraries" "$(lost .rmeta)" 7
builds "that is a miss, not a broken build" "10 3 7 0" two build
ok "the program runs" "$WORK/two/target/debug/app"
rm -rf "$WORK/two/target"
builds "and is mended" "10 10 0 0" two build
is "dep-info is lost" "$(lost .d)" 10
rm -rf "$WORK/two/target"
builds "that is a miss" "10 0 10 0" two build
is "the library of a macro is lost" "$(lost .so)" 1
rm -rf "$WORK/two/target"
builds "that is a miss, too" "10 9 1 0" two build

# --- OUT_DIR ----------------------------------------------------------------------
for checkout in three four; do
	program $checkout unused
	cargo_crate "$WORK/$checkout" generated '[workspace]'
	cat > "$WORK/$checkout/build.rs" <<- 'END'
		fn main() {
		    let out = std::env::var("OUT_DIR").unwrap();
		    for name in ["package/src", ".git"] {
		        let at = format!("{out}/{name}");
		        std::fs::create_dir_all(&at).unwrap();
		        std::fs::write(format!("{at}/made.rs"),
		            std::fs::read("made.txt").unwrap()).unwrap();
		    }
		    std::fs::write(format!("{out}/package/Cargo.toml"), "").unwrap();
		    println!("cargo:rerun-if-changed=made.txt");
		}
	END
	echo '"made"' > "$WORK/$checkout/made.txt"
	cat > "$WORK/$checkout/src/main.rs" <<- 'END'
		fn main() {
		    println!("{} {}",
		        include!(concat!(env!("OUT_DIR"), "/package/src/made.rs")),
		        include!(concat!(env!("OUT_DIR"), "/.git/made.rs")));
		}
	END
done
builds "a package and a repository in OUT_DIR are inputs" "2 0 2 0" three build
builds "elsewhere too" "2 2 0 0" four build
echo '"anew"' > "$WORK/four/made.txt"
builds "a change in them is seen" "1 0 1 0" four build
is "and is in the program" "$("$WORK/four/target/debug/generated")" "anew anew"

# --- another linker -----------------------------------------------------------------
cargo_workspace "$WORK/five"
gcc=$(command -v gcc)
RUSTFLAGS="-C linker=$gcc" builds "-C linker=: workers link with it" \
	"10 0 10 0" five build
cargo_workspace "$WORK/six"
RUSTFLAGS="-C linker=$gcc" builds "elsewhere: hits" "10 10 0 0" six build
ok "the program is the same, byte for byte" \
	cmp "$WORK/five/target/debug/app" "$WORK/six/target/debug/app"
if command -v ld.mold > /dev/null; then
	rm -rf "$WORK/six/target"
	RUSTFLAGS="-C link-arg=-fuse-ld=mold" builds "mold, by the usual option" \
		"10 0 10 0" six build
else
	skip "mold, by the usual option" "it is not installed"
fi
# Not in /tmp, which is an action's own. It looks for its parts from where it is.
linkers=$(mktemp -d /var/tmp/toolroot-linkers.XXXXXX)
at_exit rm -rf "$linkers"
mkdir "$linkers/bin"
ln -s /usr/lib "$linkers/lib"
cp "$(realpath "$gcc")" "$linkers/bin/my-gcc"
rm -rf "$WORK/six/target"
RUSTFLAGS="-C linker=$linkers/bin/my-gcc" builds "one of one's own" \
	"10 0 10 0" six build
printf x >> "$linkers/bin/my-gcc"
rm -rf "$WORK/six/target"
RUSTFLAGS="-C linker=$linkers/bin/my-gcc" builds \
	"when it changes, what is linked is linked anew, and no more" \
	"10 7 3 0" six build
# A linker passes over a directory that a worker does not have; what the system
# has is the toolchain's.
rm -rf "$WORK/six/target"
RUSTFLAGS="-L native=/usr/lib -C link-arg=-L -C link-arg=$linkers" builds \
	"a directory that only this machine has links here" "10 0 7 3" six build
like "and is told" "$(log)" "a link argument names $linkers, which is no input"
printf '#!/bin/sh\nexec cc "$@"\n' > "$linkers/wrapper"
chmod +x "$linkers/wrapper"
rm -rf "$WORK/six/target"
RUSTFLAGS="-C linker=$linkers/wrapper" builds \
	"one that may read anything links here" "10 0 7 3" six build
like "and is told" "$(log)" "/wrapper: what it reads is not known"
ok "the program runs" "$WORK/six/target/debug/app"
cp "$linkers/wrapper" "$WORK/my-gcc"
rm -rf "$WORK/six/target"
RUSTFLAGS="-C linker=$WORK/my-gcc" builds "one in /tmp links here" \
	"10 0 7 3" six build
like "and is told, too" "$(log)" "an action has a /tmp of its own"

# --- another user --------------------------------------------------------------------
# Who may not read root's home brings the toolchain where all can read it.
sysroot=$(rustc --print sysroot)
other() {
	(cd "$WORK/user" && unshare --mount sh -c "
		mount --bind '$sysroot' '$WORK/tools' &&
		mount --bind '$BUILD' '$WORK/programs' && exec \"\$@\"" sh \
		"${other_user[@]}" env -i "${sanitizer_options[@]}" \
		HOME="$WORK/user" CARGO_INCREMENTAL=0 \
		PATH="$WORK/programs:$WORK/tools/bin:/usr/bin:/bin" \
		cargo toolroot --server "grpc://$1" --stats stats.json build) \
		> "$WORK/build.log" 2>&1 3>&-
}
if [ "$(id -u)" = 0 ] && unshare --mount true 2> /dev/null &&
	[ "$sysroot" != /usr ]; then
	mkdir "$WORK/tools" "$WORK/programs"
	cargo_workspace "$WORK/user"
	chown -R "$other_user_id:$other_user_id" "$WORK/user"
	ok "another user, without a server" other 127.0.0.1:1 || show_build
	stats=$WORK/user/stats.json
	is "compiles it here" "$(counts)" "10 0 0 10"
	mv "$WORK/user/target" "$WORK/user/here"
	cp "$WORK/user/stats.json" "$WORK/user/here.json"
	ok "with one" other "$GRPC_ADDR" || show_build
	is "takes what workers made for root" "$(counts)" "10 10 0 0"
	made() {
		(cd "$1/debug/deps" && find . -type f ! -name '*.d' \
			-exec sha256sum {} + | sort -k 2)
	}
	same="what was compiled here is the same, byte for byte"
	if grep -q __tsan_ "$TOOLROOT"; then
		skip "$same" "$no_user_namespace"
	else
		is "$same" "$(made "$WORK/user/here")" \
			"$(made "$WORK/user/target")"
	fi
else
	for fact in "without a server" here "with one" workers bytes; do
		skip "another user: $fact" "not root, or Rust is the system's"
	done
fi

# --- the full server --------------------------------------------------------------
ok "a server that is full: the build ends well" wait $full
is "here" "$(stats=$WORK/full/stats.json counts)" "1 0 0 1"
like "and the remedy is told" "$(cat "$WORK/full.log")" \
	"the store (is full|cannot hold this): limit 104857600 bytes.*raise --max-size"
