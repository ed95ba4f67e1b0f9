# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# cargo_toolchain_movable DIRECTORY: sets $movable to the root of a toolchain
# that may be copied: that of the compiler here or, where it is a
# distribution's and spread over /usr, one made of it in DIRECTORY, whose
# programs find their libraries beside them. After tap.sh.
#
# cargo_toolchain_copy DIRECTORY: copies it.

cargo_toolchain_movable() {
	local libraries

	movable=$(rustc --print sysroot)
	[ "$movable" = /usr ] || return 0
	need patchelf patchelf
	movable=$1
	mkdir -p "$1/bin" "$1/lib"
	cp /usr/bin/rustc "$1/bin/"
	cp -rL /usr/lib/rustlib "$1/lib/"
	# What it needs beyond the C library.
	libraries=$(ldd /usr/bin/rustc |
		sed -n 's/.* => \(.*\/lib\(rustc_driver\|std\|LLVM\)-[^ ]*\) .*/\1/p')
	# shellcheck disable=SC2086
	cp -L $libraries "$1/lib/"
	# shellcheck disable=SC2016
	patchelf --set-rpath '$ORIGIN/../lib' "$1/bin/rustc"
	# shellcheck disable=SC2016
	patchelf --set-rpath '$ORIGIN' "$1"/lib/librustc_driver-*.so
}

# No hard links: they change the time of change of files that tests beside this
# one use.
cargo_toolchain_copy() {
	mkdir -p "$1/lib"
	cp -a "$movable/bin" "$1/"
	cp -a "$movable"/lib/*.so* "$movable/lib/rustlib" "$1/lib/"
}
