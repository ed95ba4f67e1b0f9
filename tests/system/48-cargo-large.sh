#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# A project with more than 150 crates that are not ours (tests/cargo/small):
# built by workers, then elsewhere from the cache alone; a server that is
# killed in mid-build; ten builds at once against a server with little room.
# The crates come from the registry, where that is reached and cargo reads
# Cargo.lock, else from Debian's packages of them. Of these it takes some 130,
# more than config/packages installs.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"
. "$(dirname "$0")/lib/cargo_workspace.sh"
. "$(dirname "$0")/lib/cargo_build.sh"

# --- where the crates are ----------------------------------------------------
debian=/usr/share/cargo/registry
locked=--locked
mkdir "$WORK/source"
cp -a "$ROOT/tests/cargo/." "$WORK/source/"
sed -i 's/, "large"//' "$WORK/source/Cargo.toml"
rm -r "$WORK/source/large" "$WORK/source/Cargo.lock"
cp "$ROOT/tests/cargo/Cargo.lock" "$WORK/source/"
if (cd "$ROOT/tests/cargo" && timeout 120 cargo fetch --locked \
	--manifest-path small/Cargo.toml) > "$WORK/fetch.log" 2>&1; then
	note "crates of the registry"
	cp -a "$ROOT/tests/cargo/large" "$WORK/source/"
	cp "$ROOT/tests/cargo/Cargo.toml" "$WORK/source/"
elif [ -d "$debian/serde" ] || ls -d "$debian"/serde-* > /dev/null 2>&1; then
	# Whatever of them Debian has, in its versions; its radium is nothing for
	# compilers of today.
	note "crates of Debian's packages, in $debian"
	locked=--offline
	rm "$WORK/source/Cargo.lock"
	mkdir "$WORK/source/.cargo"
	printf '[source.crates-io]\nreplace-with = "debian"\n%s\n' \
		"[source.debian]
directory = \"$debian\"" > "$WORK/source/.cargo/config.toml"
	part=
	missing=()
	while read -r line; do
		[ "${line:0:1}" != "[" ] || part=$line
		name=${line%% *}
		if [ "$part" != "[dependencies]" ] || [ "$line" = "$part" ] ||
			{ [ "$name" != radium ] &&
				ls -d "$debian/$name"-[0-9]* > /dev/null 2>&1; }; then
			echo "$line"
		else
			missing+=("$name")
		fi
	done < "$ROOT/tests/cargo/small/Cargo.toml" \
		> "$WORK/source/small/Cargo.toml"
	[ "${#missing[@]}" -le 20 ] ||
		skip_all "the registry: $(tail -n 1 "$WORK/fetch.log"); of Debian's" \
			"crates (librust-NAME-dev) ${#missing[@]} are not installed:" \
			"${missing[*]}"
else
	skip_all "neither the registry nor Debian's crates are here:" \
		"$(tail -n 1 "$WORK/fetch.log")"
fi

checkout() {
	cp -a "$WORK/source" "$WORK/$1"
}

# outputs CHECKOUT: notes the digests of all that the compiler made but
# dep-info, which names the checkout.
outputs() {
	(cd "$WORK/$1/target/debug" &&
		find deps build -type f ! -name '*.d' ! -path '*/out/*' \
			! -path 'build/*/output' ! -name 'stderr' \
			! -name 'root-output' ! -name 'invoked.timestamp' \
			-exec sha256sum {} + | sort -k 2) > "$WORK/$1.outputs"
}

# same_outputs CHECKOUT CHECKOUT
same_outputs() {
	if [ -s "$WORK/$1.outputs" ] &&
		diff "$WORK/$1.outputs" "$WORK/$2.outputs" \
			> "$WORK/outputs.diff"; then
		return 0
	fi
	diag "$(head -n 20 "$WORK/outputs.diff")"
	return 1
}

plan 17
checkout one
checkout two
checkout three

# --- cold, and from the cache ------------------------------------------------
ok "a server starts" server_start --workers 2
ok "the first build" build one build $locked -p small || show_build
read -r actions hits remote here < <(counts)
note "$(tail -n 1 "$WORK/build.log")"
ok "it has more than 150 calls of the compiler: $actions" \
	test "$actions" -ge 150
is "all of them by workers, none here" "$hits $remote $here" "0 $actions 0"
builds "another checkout takes everything from the server" \
	"$actions $actions 0 0" two build $locked -p small
note "$(tail -n 1 "$WORK/build.log")"
outputs one
outputs two
ok "all that it has is the same, byte for byte" same_outputs one two
ok "its program is the same, too" \
	cmp "$WORK/one/target/debug/small" "$WORK/two/target/debug/small"
builds "nothing to do is nothing done" "0 0 0 0" two build $locked -p small
ok "cargo test passes" build one test $locked -p small || show_build
builds "and from results of the cache elsewhere" "1 1 0 0" \
	two test $locked -p small
like "its tests have run" "$(cat "$WORK/build.log")" "1 passed"

# --- killed in mid-build -----------------------------------------------------
server_kill
SERVER_STORE=$WORK/store2
ok "a server with an empty store" server_start --workers 2
some_crates() {
	[ "$(find "$WORK/three/target/debug/deps" -name '*.rlib' \
		2> /dev/null | wc -l)" -ge 15 ]
}
(wait_until 200 some_crates && kill -KILL "$SERVER_PID") 3>&- &
server_workers="$server_workers $(server_children)"
ok "it is killed in mid-build: the build ends well" \
	build three build $locked -p small || show_build
wait $!
SERVER_PID=
read -r actions hits remote here < <(counts)
note "$(tail -n 1 "$WORK/build.log")"
ok "workers made $remote of it, this machine $here" \
	test "$remote" -ge 15 -a "$here" -ge 50
outputs three
ok "what was compiled here is what workers compile, byte for byte" \
	same_outputs one three

# --- ten at once -------------------------------------------------------------
rm -rf "$WORK/one/target" "$WORK/two/target"
SERVER_STORE=$WORK/store3
ok "a server with room for a toolchain and little else" \
	server_start --workers 2 --max-size 1G
processes=
for i in 0 1 2 3 4 5 6 7 8 9; do
	cargo_workspace "$WORK/many$i"
	echo "pub const NUMBER: u32 = $i;" > "$WORK/many$i/leaf0/src/inner.rs"
	(cd "$WORK/many$i" && PATH=$BUILD:$PATH timeout 900 cargo toolroot \
		--server "grpc://$GRPC_ADDR" --stats stats.json build) \
		> "$WORK/many$i.log" 2>&1 3>&- &
	processes="$processes $!"
done
failed=
for process in $processes; do
	wait "$process" || failed="$failed $process"
done
results=
for i in 0 1 2 3 4 5 6 7 8 9; do
	results="$results $("$WORK/many$i/target/debug/app" | cut -d ' ' -f 8)"
done
is "ten builds at once all end well, each with its own" "$failed$results" \
	" 23 24 25 26 27 28 29 30 31 32"
