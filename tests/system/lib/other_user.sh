# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Another user, for what has to work without root; source after tap.sh.
#
#	"${other_user[@]}" "$WORK/program" ...
#
# It may read $WORK and what the system gives to all, and perhaps not this
# checkout: what it runs is copied first. Who is not root stays who he is.

# With an environment of their own, programs are given these, too: without its
# suppressions a sanitizer ends them for what gRPC does, and without a right to
# read them for that.
sanitizer_options=(TSAN_OPTIONS="suppressions=$WORK/tsan.supp"
	LSAN_OPTIONS="suppressions=$WORK/lsan.supp")
install -m 0644 "$ROOT/tests/tsan.supp" "$ROOT/tests/lsan.supp" "$WORK"
chmod 755 "$WORK"

other_user_id=12345
other_user=(env "${sanitizer_options[@]}")
if [ "$(id -u)" -eq 0 ]; then
	need setpriv util-linux
	other_user=(setpriv --reuid "$other_user_id" --regid "$other_user_id"
		--clear-groups "${other_user[@]}")
fi

# Only a process of one thread can enter a user namespace, and without root that
# is how mounts are made. A program with ThreadSanitizer (one that has __tsan_
# in it) is never one.
no_user_namespace="ThreadSanitizer's own thread forbids a new user namespace"
