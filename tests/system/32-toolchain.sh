#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# toolroot toolchain: one digest from every source, names that last, what is
# told of them, uploads that are gone on with, archives that are refused, and
# this machine's own compiler.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"

need python3 python3
need gcc gcc

plan 77

cd "$WORK" || exit 1

# run ARGUMENT...: of `toolroot toolchain`; sets output, errors and status.
run() {
	output=$("$TOOLROOT" toolchain "$@" 2> "$WORK/errors" < /dev/null)
	status=$?
	errors=$(cat "$WORK/errors")
}

# field NAME: of the JSON in $output.
field() {
	python3 -c 'import json, sys
print(json.load(sys.stdin)[sys.argv[1]])' "$1" <<< "$output"
}

# root_of ARGUMENT...: the digest that add would make.
root_of() {
	run add x --dry-run --json "$@"
	field root_digest
}

# --- one digest from every source, no server needed ---------------------------

mkdir -p one/bin one/lib/deep
printf '#!/bin/sh\necho tool\n' > one/bin/tool
chmod 755 one/bin/tool
echo library > one/lib/deep/library
ln -s ../bin/tool one/lib/link
ln -s nowhere one/lib/broken
wanted=$(root_of --dir one)
like "a directory has a digest" "$wanted" '^[0-9a-f]{64}/[0-9]+$'

cp -r one two
touch -d 2001-02-03 two/bin/tool two/lib
chmod 500 two/bin/tool
is "a copy at another path, with other times and modes, has the same" \
	"$(root_of --dir two)" "$wanted"
tar -C one -cf one.tar .
is "so has its tar" "$(root_of --archive one.tar)" "$wanted"
(cd two && tar -czf ../two.tgz --owner=7 bin lib)
is "and the compressed tar of the copy, with another owner" \
	"$(root_of --archive two.tgz)" "$wanted"
for kind in bz2 xz; do
	python3 -c 'import sys, tarfile
with tarfile.open(sys.argv[1], "w:" + sys.argv[2]) as out:
    out.add("one", ".")' "one.tar.$kind" "$kind"
	is "and its tar.$kind" "$(root_of --archive "one.tar.$kind")" "$wanted"
done
for program in zstd lz4; do
	if command -v "$program" > /dev/null; then
		"$program" -qc one.tar > "one.tar.$program"
		is "and its tar for $program" \
			"$(root_of --archive "one.tar.$program")" "$wanted"
	else
		skip "and its tar for $program" "there is no $program here"
	fi
done
python3 - <<'EOF'
import os, stat, zipfile
with zipfile.ZipFile("one.zip", "w") as out:
    for top, _, names in os.walk("one"):
        for name in names:
            path = os.path.join(top, name)
            info = zipfile.ZipInfo(os.path.relpath(path, "one"))
            info.create_system = 3
            info.external_attr = os.lstat(path).st_mode << 16
            link = stat.S_ISLNK(os.lstat(path).st_mode)
            data = os.readlink(path) if link else open(path).read()
            out.writestr(info, data)
EOF
is "and its zip" "$(root_of --archive one.zip)" "$wanted"
python3 - <<'EOF'
import hashlib, json, os
os.makedirs("image/blobs/sha256")
def blob(data):
    name = hashlib.sha256(data).hexdigest()
    open("image/blobs/sha256/" + name, "wb").write(data)
    return {"digest": "sha256:" + name, "size": len(data)}
layer = blob(open("one.tar", "rb").read())
manifest = blob(json.dumps({"schemaVersion": 2, "layers": [layer]}).encode())
json.dump({"schemaVersion": 2, "manifests": [manifest]},
          open("image/index.json", "w"))
EOF
is "and an image with it as its layer" "$(root_of --oci image)" "$wanted"
tar -C image -cf image.tar .
is "and that image in a tar" "$(root_of --oci image.tar)" "$wanted"
python3 - <<'EOF'
import json, os, tarfile
# As docker save writes it: layers with too much, and whiteouts after them.
os.makedirs("saved")
with tarfile.open("saved/1.tar", "w") as out:
    out.add("one", ".")
    for path in "bin/gone", "lib/deep/gone", "opaque/gone":
        out.addfile(tarfile.TarInfo(path))
with tarfile.open("saved/2.tar", "w") as out:
    out.addfile(tarfile.TarInfo("bin/.wh.gone"))
    out.addfile(tarfile.TarInfo(".wh.opaque"))
with tarfile.open("saved/3.tar", "w") as out:
    out.addfile(tarfile.TarInfo("lib/deep/.wh..wh..opq"))
    out.add("one/lib/deep/library", "lib/deep/library")
json.dump([{"Config": "c.json", "RepoTags": ["x:1"],
            "Layers": ["1.tar", "2.tar", "3.tar"]}],
          open("saved/manifest.json", "w"))
json.dump({"architecture": "amd64", "os": "linux"}, open("saved/c.json", "w"))
EOF
tar -C saved -cf saved.tar manifest.json c.json 1.tar 2.tar 3.tar
is "and what docker save wrote, its whiteouts applied" \
	"$(root_of --oci saved.tar)" "$wanted"
chmod 644 two/bin/tool
unlike "an executable bit makes another digest" "$(root_of --dir two)" \
	"$wanted"
chmod 755 two/bin/tool
ln -sfn ../bin two/lib/link
unlike "so does the target of a link" "$(root_of --dir two)" "$wanted"

# --- names --------------------------------------------------------------------

run list --server grpc://127.0.0.1:1
is "without a server it fails" "$status" 1
run add one --dir one --server grpc://127.0.0.1:1
like "and says where it looked" "$errors" "127\.0\.0\.1:1.*TOOLROOT_SERVER"

server_start --workers 0 || BAIL_OUT "the server does not start"
export TOOLROOT_SERVER=grpc://$GRPC_ADDR

run add one --dir one
is "a directory is added" "$status $errors" "0 "
like "the line for .bazelrc is printed" "$output" \
	"build --remote_default_exec_properties=toolchain-root=$wanted"
like "and the one for a platform" "$output" \
	"\{\"toolchain-root\": \"$wanted\"\}"
like "and how much there is" "$output" "files +2, in 4 directories, with 2"
run add one --dir one
like "the second time nothing is sent" "$output" "uploaded +0 B in 0 blobs"
like "and nothing changes" "$output" "unchanged"
run add again --archive two.tgz --json
is "another name may have the same digest" "$(field root_digest)" "$wanted"
run add other --dir two
run list
is "all are listed, sorted" "$(awk '{ print $1 }' <<< "$output" | xargs)" \
	"again one other"
like "with size and digest" "$output" "one +[0-9.]+ B +2 files .* $wanted"
run list --instance elsewhere
is "another instance does not see them" "$status $output" "0 "
run list --json
is "as JSON too" "$(python3 -c 'import json, sys
print([t["name"] for t in json.load(sys.stdin)])' <<< "$output")" \
	"['again', 'one', 'other']"

server_kill
server_restart || BAIL_OUT "the server does not start again"
run show one
is "a name survives the server's sudden end" "$status" 0
like "show tells the digest" "$output" "root +$wanted"
like "and the source" "$output" "source +--dir one"
like "and the programs" "$output" $'Programs in /bin\n  tool\n'
like "and the tree with sizes" "$output" "8 B +1 files +/lib/deep"
run show one --files
like "and every file" "$output" "exec /bin/tool [0-9a-f]{64}/20"
like "and link" "$output" "link /lib/link -> \.\./bin/tool"

# --- diff and rm --------------------------------------------------------------

run diff one again
like "equal toolchains have no difference" "$output" "the same"
cp -r one three
echo more > three/lib/new
rm three/lib/broken
echo LIBRARY > three/lib/deep/library
chmod 644 three/bin/tool
ln -sfn elsewhere three/lib/link
run add three --dir three
run diff one three
is "a difference is told path by path" "$output" \
"! /bin/tool (executable 20 bytes, now file 20 bytes)
- /lib/broken (link -> nowhere)
! /lib/deep/library (file 8 bytes, other content)
! /lib/link (link -> ../bin/tool, now link -> elsewhere)
+ /lib/new (file 5 bytes)
1 added, 1 removed, 3 changed"
mkdir odd
echo x > $'odd/a\nb\033c'
run add odd --dir odd
run show odd --files
like "odd names do not reach the terminal" "$output" "file /a\?b\?c [0-9a-f]"
run diff nothing one
is "diff with what is not there fails" "$status" 1
like "by its name" "$errors" 'nothing.*there is no toolchain "nothing"'
run rm again
is "a name is forgotten" "$status" 0
run show again
is "and is gone" "$status" 1
run rm again
is "and cannot be forgotten twice" "$status" 1
run show one
is "the other name of its digest stays" "$status" 0

# --- going on after an interruption -------------------------------------------

mkdir big
for i in $(seq 24); do
	head -c 4194304 /dev/urandom > "big/$i"
done
server_stop || server_show_log
server_start --workers 0 --max-size 48M || BAIL_OUT "no server"
export TOOLROOT_SERVER=grpc://$GRPC_ADDR
run add big --dir big
is "a store that is too small ends the upload" "$status" 1
like "with the reason" "$errors" "upload.*(limit|full|max)"
run show big
is "and gives no name to what is not whole" "$status" 1
server_stop || server_show_log
server_start --workers 0 --max-size 1G || BAIL_OUT "no server"
export TOOLROOT_SERVER=grpc://$GRPC_ADDR
run add big --dir big --json
present=$(field present_bytes)
is "the next try finishes it" "$status" 0
ok "and did not send all of it again ($present bytes were there)" \
	test "$present" -gt 4000000
head -c 4194304 /dev/urandom > big/25
"$TOOLROOT" toolchain add killed --dir big > /dev/null 2>&1 3>&- &
client=$!
sleep 0.1
kill -KILL "$client"
wait "$client" 2> /dev/null
run add killed --dir big
is "after the client's sudden end too" "$status" 0
rm -r big

# --- refusals -----------------------------------------------------------------

python3 - <<'EOF'
import io, tarfile
def make(name, **fields):
    with tarfile.open(name + ".tar", "w") as out:
        info = tarfile.TarInfo(fields.pop("path", "x"))
        for key, value in fields.items():
            setattr(info, key, value)
        out.addfile(info, io.BytesIO(b"\0" * info.size))
make("absolute", path="/etc/passwd", size=1)
make("dots", path="a/../../x", size=1)
make("device", type=tarfile.CHRTYPE)
make("hardlink", type=tarfile.LNKTYPE, linkname="../outside")
make("bomb", size=3 << 20)
EOF
# refuses NAME REGEX [OPTION...]
refuses() {
	run add bad --archive "$1.tar" "${@:3}"
	like "$1 is refused" "$status $errors" "^1 .*archive $1\.tar: .*$2"
}
refuses absolute '"/etc/passwd" is absolute'
refuses dots '"a/\.\./\.\./x" leads out'
refuses device 'device'
refuses hardlink '"\.\./outside" leads out'
refuses bomb '--max-bytes' --max-bytes 1M
run add bad --archive one
like "a directory is refused" "$status $errors" "^1 .*archive one: .*--dir"
run add bad/name --dir one
like "a bad name is refused" "$errors" "a name has 1 to 100 letters"
run add x --dir one --archive one.tar
like "two sources are refused" "$status $errors" "^[12] .*one source"
run add
is "a call without a name is a mistake" "$status" 2

# --- compilers ----------------------------------------------------------------

# A rustc that tells only where it is.
for place in here there; do
	mkdir -p "$place/bin" "$place/share/doc" \
		"$place/lib/rustlib/unknown/lib" "$place/lib/rustlib/src"
	cat > "$place/bin/rustc" <<'EOF'
#!/bin/sh
case $* in
'--print sysroot') cd "$(dirname "$0")/.." && pwd ;;
-vV) echo 'rustc 0.0.0 (test)' ;;
*) exit 1 ;;
esac
EOF
	chmod 755 "$place/bin/rustc"
	echo "$place" > "$place/share/doc/index.html"
	echo source > "$place/lib/rustlib/src/lib.rs"
	echo std > "$place/lib/rustlib/unknown/lib/libstd.rlib"
	echo asan > "$place/lib/rustlib/unknown/lib/librustc-x_rt.asan.a"
done
run add rust --rust "$WORK/here" --json
is "a sysroot at two places has one digest" "$(field root_digest)" \
	"$(root_of --rust "$WORK/there/bin/rustc")"
run show rust --files
like "it comes to /tc with its libraries" "$output" \
	"/tc/lib/rustlib/unknown/lib/libstd.rlib"
unlike "without documents, sources and sanitizers" "$output" \
	"share|rustlib/src|asan"
like "its part can be mounted alone" "$output" "toolchain-root:/tc=[0-9a-f]"

run add sh --commands
is "the shell and the usual commands can be all" "$status" 0
run show sh --files
like "with what they need to run" "$output" "/usr/bin/(da|ba)sh .*libc\.so\.6"
unlike "and no compiler" "$output" "/cc1 |/usr/bin/gcc "

run add gcc --cc --minimal --json
is "this machine's gcc is captured" "$status" 0
gcc_root=$(field root_digest)
is "twice the same" "$(root_of --cc --minimal)" "$gcc_root"
mkdir wrappers
printf '#!/bin/sh\nexit 1\n' > wrappers/ccache
chmod 755 wrappers/ccache
ln -s ccache wrappers/gcc
is "with ccache before it in PATH, too" \
	"$(PATH=$WORK/wrappers:$PATH root_of --cc --minimal)" "$gcc_root"
run add x --dry-run --minimal --cc "$WORK/wrappers/gcc"
like "ccache itself is refused" "$errors" "wrappers/gcc is ccache; name the"
run show gcc --files --json
missing=$(python3 -c '
import json, os, sys
shown = json.load(sys.stdin)
paths = {"/" + e["path"] for e in shown["entries"]}
wanted = ["/usr/include/stdio.h", "/usr/bin/gcc"]
for question in ("-print-prog-name=cc1", "-print-prog-name=collect2",
                 "-print-file-name=crt1.o", "-print-file-name=libgcc.a",
                 "-print-file-name=libc.so"):
    path = os.popen("gcc " + question).read().strip()
    wanted.append(os.path.realpath(path))
wanted += [os.path.realpath(p) for p in ("/usr/bin/as", "/usr/bin/ld")]
for library in os.popen("ldd $(gcc -print-prog-name=cc1)"):
    for word in library.split():
        if word.startswith("/"):
            wanted.append(os.path.realpath(word))
print([p for p in wanted if p not in paths])
assert any("bin/bash" in p for p in paths) is False
' <<< "$output")
is "with all that compiling and linking opens, and no shell" "$missing" "[]"
version=$(python3 -c 'import json, sys
print(json.load(sys.stdin)["programs"][0]["version"].splitlines()[0])' \
	<<< "$output")
is "and what it says of itself" "$version" "$(gcc --version | head -n 1)"

# What gcc finds of g++ is hidden in mounts of a shell's own.
cc1plus=$(gcc -print-prog-name=cc1plus)
if unshare -rm true 2> /dev/null && [ -x "$cc1plus" ]; then
	output=$(unshare -rm bash -c 'mount --bind /dev/null "$1" &&
		"$2" toolchain add c --cc --minimal --dry-run --json' \
		_ "$cc1plus" "$TOOLROOT" 2> "$WORK/errors" < /dev/null)
	is "gcc without g++ is captured for C" "$?" 0
	like "which a note says" "$(field notes)" "compiles no C\\+\\+"
else
	skip "gcc without g++ is captured for C" "no user namespaces, or no g++"
	skip "which a note says" "the same"
fi
# What a person sees on a terminal; what a program reads has none of it.
mkdir "$WORK/large"
head -c 300000000 /dev/zero > "$WORK/large/zeros"
script -qec "stty cols 120
	'$TOOLROOT' toolchain add large --dir '$WORK/large'" /dev/null \
	< /dev/null > "$WORK/terminal" 2> "$WORK/errors"
is "a capture on a terminal" "$?" 0
like "shows a bar with files, bytes and rate" "$(tr '\r' '\n' < "$WORK/terminal")" \
	"\[[#.]+\] [01]/1 files, [0-9.]+ [KMG]?i?B? ?of 286.1? MiB, .*/s"
run add again --dir "$WORK/large"
unlike "there is none elsewhere" "$output$errors" "\[[#.]+\]"
ok "the server ends well" server_stop
