#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What a cache must not miss: whatever changes in a toolchain, by whatever way,
# makes other actions, which run with the new one; and going back hits the old
# results. With this machine's own compiler, captured once and then changed in
# a copy, in ways that fool caches which look at paths, times and sizes.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"

run=$ROOT/tests/system/lib/run_action.py

# add OPTION...: the toolchain named "tc", always the same name; sets root.
add() {
	root=$("$TOOLROOT" toolchain add tc "$@" --json \
		--server "grpc://$GRPC_ADDR" 2> "$WORK/add.log" | python3 -c \
		'import json, sys; print(json.load(sys.stdin)["root_digest"])')
}

# build: compiles, links and runs the program with $root; sets out.
build() {
	out=$(/usr/bin/python3 "$run" "$GRPC_ADDR" 'set -e
		export PATH=/usr/bin
		cc -c in.c -o in.o; cc in.o -o in; ./in
		readelf -p .comment in.o | grep -o "GCC: .*"
		if row-tool 2> /dev/null; then echo tool; else echo no tool; fi' \
		--file "in.c=$WORK/in.c" --cached \
		--property "toolchain-root=$root")
}

# row NAME PATTERN OPTION...: what add makes now is new, and runs (three tests).
row() {
	local name=$1 pattern=$2
	shift 2
	add "$@"
	unlike "$name: another digest" " $seen " " $root "
	seen+=" $root"
	build
	like "$name: a miss" "$out" "code=OK.*exit=0.*cached=False"
	like "$name: the new toolchain ran" "$out" "trees=$root.*$pattern"
}

# back NAME: the copy is as it was (one test).
back() {
	add --dir "$tc"
	build
	like "$1: back again is a hit" "$root $out" \
		"^$first .*exit=0.*cached=True"
}

# change FILE: keeps the original beside the copy; restore FILE puts it back.
change() {
	mkdir -p "$WORK/kept/$(dirname "$1")"
	mv "$tc/$1" "$WORK/kept/$1"
	cp "$WORK/kept/$1" "$tc/$1"
	chmod u+w "$tc/$1"
}

restore() {
	mv -f "$WORK/kept/$1" "$tc/$1"
}

# copy_toolchain DIRECTORY [SYSROOT]: the toolchain "tc" made again out of the
# files of this machine that it was captured from, those of /tc in SYSROOT.
copy_toolchain() {
	"$TOOLROOT" toolchain show tc --files --json \
		--server "grpc://$GRPC_ADDR" > "$WORK/shown.json"
	python3 - "$WORK/shown.json" "$@" <<'END'
import json, os, shutil, sys

shown, directory = sys.argv[1:3]
for entry in json.load(open(shown))["entries"]:
    path = os.path.join(directory, entry["path"])
    source = "/" + entry["path"]
    if entry["path"].startswith("tc/"):
        source = sys.argv[3] + entry["path"][2:]
    if entry["kind"] == "directory":
        os.makedirs(path, exist_ok=True)
        continue
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if entry["kind"] == "symlink":
        os.symlink(entry["target"], path)
    else:
        shutil.copy(source, path)
        os.chmod(path, 0o755 if entry["executable"] else 0o644)
END
}

# below PATH: of the host, as it is in the copy, links resolved.
below() {
	readlink -f "$1" | cut -c 2-
}

plan 60
need gcc gcc
need readelf binutils

cat > "$WORK/in.c" <<'END'
#include <stdio.h>
#if __has_include(<added.h>)
#include <added.h>
#else
#define ADDED "nothing"
#endif
#if __has_include(<linked.h>)
#include <linked.h>
#else
#define LINKED "nowhere"
#endif
#ifndef MARK
#define MARK "plain"
#endif
int main(void)
{
	printf("added %s, linked %s, header %s\n", ADDED, LINKED, MARK);
	return 0;
}
END

ok "the server starts" server_start --workers 1 || exit 1
add --cc gcc
captured=$root
build
like "the captured compiler runs" "$out" "exit=0.*cached=False.*header plain"

# What an action sees is another machine: other host name, user and paths, and
# of the files those that the compiler needs alone. Our program and its
# libraries are inputs.
files=(--file "toolroot=$TOOLROOT")
while read -r library; do
	files+=(--file "$(basename "$library")=$library")
done < <(ldd "$TOOLROOT" | grep -o '/[^ ]*')
loader=$(ldd "$TOOLROOT" | grep -o '/[^ ]*/ld-[^ ]*')
out=$(/usr/bin/python3 "$run" "$GRPC_ADDR" "export PATH=/usr/bin
	$loader --library-path . ./toolroot toolchain add x --cc gcc --dry-run \
		--json" "${files[@]}" --property "toolchain-root=$captured")
like "captured on another machine it has the same digest" "$out" \
	"\"root_digest\": *\"$captured\""

# A copy of it to change, without what compiling C does not need, for each
# change is laid out anew.
tc=$WORK/copy
copy_toolchain "$tc"
add --dir "$tc"
is "a copy of its files has the same digest" "$root" "$captured"
find "$tc/usr/include" -mindepth 1 -maxdepth 1 -type d ! -name linux \
	! -name 'asm*' ! -name '*-linux-gnu*' -exec rm -r {} +
find "$tc" -type f \( -name cc1plus -o -name 'lto*' -o -name '*san*' -o \
	-name '*++*' -o -name '*.py' \) -delete
note "$(find "$tc" -type f | wc -l) files, $(du -sm "$tc" | cut -f 1) MB"
printf '#!/bin/sh\nexit 0\n' > "$tc/usr/bin/row-tool"
chmod 755 "$tc/usr/bin/row-tool"
echo '#define LINKED "one"' > "$tc/usr/include/one.h"
echo '#define LINKED "two"' > "$tc/usr/include/two.h"
ln -s one.h "$tc/usr/include/linked.h"
seen=$captured
row "a toolchain of our own" "linked one.*tool" --dir "$tc"
first=$root
build
like "asked again, it is a hit" "$out" "cached=True"

cc1=$(below "$(gcc -print-prog-name=cc1)")
said=$(grep -aom 1 'GCC: (Debian [^)]*)' <<< "$out")
said=${said#GCC: (}
note "the compiler says: $said"

# Same length: Debian becomes Tobian.
patch_compiler() {
	sed -i 's/(Debian /(Tobian /g' "$tc/$1"
}

note "(a) another toolchain under the same name"
cp -r "$tc" "$WORK/second"
printf '#define MARK "second"\n' >> "$WORK/second/usr/include/stdio.h"
row "another toolchain" "header second" --dir "$WORK/second"
rm -r "$WORK/second"
back "another toolchain"

note "(b) the compiler replaced in place"
change "$cc1"
patch_compiler "$cc1"
printf 'longer' >> "$tc/$cc1"
row "another compiler" "Tobian" --dir "$tc"
restore "$cc1"
back "another compiler"

note "(c) the same, with size and time of modification preserved"
change "$cc1"
patch_compiler "$cc1"
touch -r "$WORK/kept/$cc1" "$tc/$cc1"
is "size and time are the same" "$(stat -c '%s %Y' "$tc/$cc1")" \
	"$(stat -c '%s %Y' "$WORK/kept/$cc1")"
row "another compiler in disguise" "Tobian" --dir "$tc"
restore "$cc1"
back "another compiler in disguise"

note "(d) only one of the files around it"
library=$(ldd "/$cc1" | grep -o '/[^ ]*libmpfr[^ ]*' | head -n 1)
for file in "$(below "$library")" usr/include/stdio.h \
	"$(below "$(gcc -print-file-name=crt1.o)")" \
	"$(below "$(gcc -print-file-name=libc.so)")"; do
	name=$(basename "$file")
	change "$file"
	case $name in
	stdio.h) echo '#define MARK "changed"' >> "$tc/$file" ;;
	libc.so) echo '/* changed */' >> "$tc/$file" ;;
	*) printf 'changed' >> "$tc/$file" ;;
	esac
	row "$name" "header (plain|changed)" --dir "$tc"
	restore "$file"
	back "$name"
done

note "(d) only one of the standard libraries of Rust"
# rust_build: with $root; sets out.
rust_build() {
	out=$(/usr/bin/python3 "$run" "$GRPC_ADDR" 'set -e
		export PATH=/tc/bin:/usr/bin
		rustc in.rs -o in; ./in' --file "in.rs=$WORK/in.rs" --cached \
		--property "toolchain-root=$root")
}

rust_tests() {
	local rust=$WORK/rust base std

	printf '%s\n' 'fn main() {' '	let kind = std::io::ErrorKind::NotFound;' \
		'	println!("{}", std::io::Error::from(kind));' '}' \
		> "$WORK/in.rs"
	add --cc gcc --minimal --also /bin/sh --rust
	base=$root
	rust_build
	like "a captured rustc runs" "$out" \
		"code=OK.*exit=0.*cached=False.*entity not found"
	copy_toolchain "$rust" "$(rustc --print sysroot)"
	add --dir "$rust"
	is "a copy of it has the same digest" "$root" "$base"
	std=$(find "$rust" -name 'libstd-*.rlib' | head -n 1)
	cp "$std" "$WORK/std"
	# The same length, in a new file.
	sed -i 's/entity not found/entity not FOUND/g' "$std"
	add --dir "$rust"
	unlike "another libstd.rlib: another digest" " $base " " $root "
	rust_build
	like "another libstd.rlib: a miss, and it is what is linked" "$out" \
		"code=OK.*exit=0.*cached=False.*entity not FOUND"
	cp "$WORK/std" "$std"
	add --dir "$rust"
	rust_build
	like "another libstd.rlib: back again is a hit" "$root $out" \
		"^$base .*exit=0.*cached=True.*entity not found"
	rm -r "$rust"
}

if command -v rustc > /dev/null; then
	rust_tests
else
	for _ in 1 2 3 4 5; do
		skip "another libstd.rlib" "there is no rustc on this machine"
	done
fi

note "(e) an archive replaced by one of the same name"
tar -C "$tc" -cf "$WORK/tc.tar" .
add --archive "$WORK/tc.tar"
is "an archive of it has the same digest" "$root" "$first"
change usr/include/stdio.h
echo '#define MARK "packed"' >> "$tc/usr/include/stdio.h"
tar -C "$tc" -cf "$WORK/tc.tar" .
row "another archive" "header packed" --archive "$WORK/tc.tar"
restore usr/include/stdio.h
rm "$WORK/tc.tar"
back "another archive"

note "(f) a file added to a directory that the compiler searches"
echo '#define ADDED "something"' > "$tc/usr/include/added.h"
row "an added header" "added something" --dir "$tc"
rm "$tc/usr/include/added.h"
back "an added header"

note "(g) a symbolic link that leads elsewhere"
ln -sf two.h "$tc/usr/include/linked.h"
row "another link" "linked two" --dir "$tc"
ln -sf one.h "$tc/usr/include/linked.h"
back "another link"

note "(h) only an executable bit"
chmod 644 "$tc/usr/bin/row-tool"
row "another executable bit" "no tool" --dir "$tc"
chmod 755 "$tc/usr/bin/row-tool"
back "another executable bit"

ok "the server ends cleanly" server_stop || server_show_log
