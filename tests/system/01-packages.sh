#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# config/packages, with dpkg-query, apt-get and sudo played by scripts.

. "$(dirname "$0")/tap.sh"

plan 15

mkdir "$WORK/bin"
calls=$WORK/calls
packages=$ROOT/config/packages

# play NAME: a command made of standard input, with $calls and $WORK known.
play() {
	{
		printf '#!/bin/bash\ncalls=%q WORK=%q\n' "$calls" "$WORK"
		cat
	} > "$WORK/bin/$1"
	chmod +x "$WORK/bin/$1"
}

# with_path PATH COMMAND...: sets output and status.
with_path() {
	: > "$calls"
	output=$(PATH=$1 "${@:2}" 2>&1)
	status=$?
}

# Says that all it is asked for is there, except what $WORK/missing names.
play dpkg-query <<'END'
shift 3
for package; do
	grep -qx -- "$package" "$WORK/missing" || echo "$package installed"
done
END
play apt-get <<'END'
echo "apt-get $*" >> "$calls"
echo "apt-get says much"
if [ -e "$WORK/no-update" ] && [ "$1" = update ]; then
	exit 100
fi
END
play id <<'END'
cat "$WORK/uid"
END
play sudo <<'END'
echo "sudo $*" >> "$calls"
exec "$@"
END

: > "$WORK/missing"
echo 0 > "$WORK/uid"
with_path "$WORK/bin:$PATH" "$packages" build test lint
is "nothing is said or done when all is there" \
	"$status $output $(cat "$calls")" "0  "

printf 'libgrpc-dev\nperl\n' > "$WORK/missing"
with_path "$WORK/bin:$PATH" "$packages" --dry-run build test
like "a dry run names what is missing" "$output" \
	"apt-get install .* libgrpc-dev perl$"
is "and calls nothing" "$(cat "$calls")" ""

with_path "$WORK/bin:$PATH" "$packages" build
is "root installs the missing package of the purpose, and no other" \
	"$status $(grep install "$calls")" \
	"0 apt-get install -y --no-install-recommends -o\
 DPkg::Lock::Timeout=300 libgrpc-dev"
like "having said so" "$output" "libgrpc-dev.*apt-get says much"
is "and nothing on standard output, which is the server's" \
	"$(PATH=$WORK/bin:$PATH "$packages" build 2> /dev/null)" ""

: > "$WORK/no-update"
with_path "$WORK/bin:$PATH" "$packages" build
is "lists that cannot be updated are used as they are" \
	"$status $(grep -c install "$calls")" "0 1"

echo 1000 > "$WORK/uid"
with_path "$WORK/bin:$PATH" "$packages" build
like "others go through sudo" "$(cat "$calls")" \
	"sudo .*apt-get install .* libgrpc-dev"
rm "$WORK/bin/sudo"
mkdir "$WORK/tools"
for tool in bash cat cut dirname grep; do
	ln -s "$(command -v "$tool")" "$WORK/tools/"
done
with_path "$WORK/bin:$WORK/tools" "$packages" build
is "without sudo it fails" "$status $(cat "$calls")" "1 "
like "and says what to run as root" "$output" \
	"apt-get install .*libgrpc-dev.*run that as root"

rm "$WORK/bin/apt-get"
with_path "$WORK/bin:$WORK/tools" "$packages" build
is "without apt-get it fails when something is missing" "$status" 1
like "naming the package and what was looked for" "$output" \
	"libgrpc-dev .*library:grpc"
play pkg-config < /dev/null
for tool in cc make protoc protoc-c; do
	play "$tool" < /dev/null
done
with_path "$WORK/bin:$WORK/tools" "$packages" build
is "and passes when all is found" "$status $output" "0 "

with_path "$PATH" "$packages"
is "no purpose is a mistake" "$status" 2
with_path "$PATH" "$packages" --list build test lint
missing=$(for library in $(sed -n 's/^PKGS *:= *//p' "$ROOT/Makefile"); do
	grep -q "library:$library " "$packages" || echo "$library"
done)
is "every library of the Makefile has its package" "$missing" ""
