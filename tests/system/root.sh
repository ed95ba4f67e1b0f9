# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Small root file systems for actions, to be sourced by system tests.

# make_root DIRECTORY [PROGRAM...]: a shell, some commands and the programs, with
# the libraries that they need, and /etc/issue, which says "captured".
make_root() {
	local directory=$1 program file
	shift

	mkdir -p "$directory/usr/bin" "$directory/etc"
	ln -s usr/bin "$directory/bin"
	for program in dash cat env ls sleep stat mkdir "$@"; do
		file=$(readlink -f "$(command -v "$program")")
		cp "$file" "$directory/usr/bin/$program"
		ldd "$file" | grep -o '/[^ ]*' | while read -r file; do
			mkdir -p "$directory/$(dirname "$file")"
			cp -L "$file" "$directory/$file"
		done
	done
	ln -s dash "$directory/usr/bin/sh"
	echo captured > "$directory/etc/issue"
}
