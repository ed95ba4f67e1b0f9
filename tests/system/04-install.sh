#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# `make install` puts everything in its place, below DESTDIR and PREFIX.

. "$(dirname "$0")/tap.sh"

plan 10

inside=$WORK/root/opt/toolroot

ok "make install works" \
	make -s -C "$ROOT" BUILD="$BUILD" DESTDIR="$WORK/root" \
	PREFIX=/opt/toolroot install
is "nothing is put outside of the prefix" \
	"$(find "$WORK/root" -type f -not -path "$inside/*")" ""
like "the program runs" "$("$inside/bin/toolroot" --version)" \
	'^toolroot [0-9]+\.[0-9]+\.[0-9]+$'
like "also under the name that cargo looks for" \
	"$("$inside/bin/cargo-toolroot" --version)" '^toolroot '
ok "the man page is there" test -s "$inside/share/man/man1/toolroot.1"
ok "the example of the settings is there" \
	test -s "$inside/share/doc/toolroot/toolroot.conf"
ok "the completion is there" \
	test -s "$inside/share/bash-completion/completions/toolroot"
is "both units start the program where it is" \
	"$(grep -hoE '^ExecStart=[^ ]+' "$inside"/lib/systemd/system/*.service |
		sort -u)" "ExecStart=/opt/toolroot/bin/toolroot"

ok "make uninstall works" \
	make -s -C "$ROOT" BUILD="$BUILD" DESTDIR="$WORK/root" \
	PREFIX=/opt/toolroot uninstall
is "and leaves no file behind" "$(find "$WORK/root" -not -type d)" ""
