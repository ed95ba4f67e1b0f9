# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The Test Anything Protocol for system tests, to be sourced by bash:
#
#	. "$(dirname "$0")/tap.sh"
#	plan 2
#	ok "the file is there" test -e "$WORK/file"
#	is "it has one line" "$(wc -l < "$WORK/file")" 1
#
# A test's name comes first, always. Standard output belongs to TAP and is
# kept on descriptor 3; what any command prints goes to standard error. A
# command that stays in the background must be started with `3>&-`, or prove
# waits for it for ever.
#
# BUILD is where the programs are: what make says, else the directory build.
# WORK is a directory of this test alone and goes away at the end (KEEP=1
# leaves it). at_exit adds a command to run before that, whatever happened.

set -u
exec 3>&1 1>&2
# Those of the make that runs the tests are not for what they start; Bazel,
# for one, would take its CC.
unset MAKEFLAGS MFLAGS MAKELEVEL CC CXX CFLAGS CPPFLAGS LDFLAGS

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=${TOOLROOT_BUILD:-${BUILD:-$ROOT/build}}
[[ $BUILD = /* ]] || BUILD=$ROOT/$BUILD
WORK=$(mktemp -d "${TMPDIR:-/tmp}/toolroot-test.XXXXXX") || exit 1

tap_planned=
tap_count=0
tap_failed=0
tap_at_exit=()

# plan COUNT
plan() {
	tap_planned=$1
	echo "1..$1" >&3
}

# at_exit COMMAND [ARGUMENT...]: the last one added runs first.
at_exit() {
	tap_at_exit=("$(printf '%q ' "$@")" "${tap_at_exit[@]}")
}

# diag TEXT: each line becomes a comment beside the test.
diag() {
	printf '%s\n' "$*" | sed 's/^/# /' >&2
}

# note TEXT: the same, but seen with `prove -v` only.
note() {
	printf '%s\n' "$*" | sed 's/^/# /' >&3
}

pass() {
	tap_count=$((tap_count + 1))
	echo "ok $tap_count - $1" >&3
}

# Returns 1, so that `is ... || show_log` works.
fail() {
	tap_count=$((tap_count + 1))
	tap_failed=$((tap_failed + 1))
	echo "not ok $tap_count - $1" >&3
	diag "failed: $1"
	return 1
}

# skip NAME REASON
skip() {
	tap_count=$((tap_count + 1))
	echo "ok $tap_count - $1 # SKIP $2" >&3
}

# skip_all REASON: nothing of it can be shown here; before plan.
skip_all() {
	tap_planned=0
	echo "1..0 # SKIP $*" >&3
	exit 0
}

# ok NAME COMMAND [ARGUMENT...]: passes if the command succeeds.
ok() {
	local name=$1
	shift
	if "$@"; then
		pass "$name"
	else
		local status=$?
		fail "$name"
		diag "  exit status $status: $*"
		return 1
	fi
}

# not_ok NAME COMMAND [ARGUMENT...]: passes if the command fails.
not_ok() {
	local name=$1
	shift
	if "$@"; then
		fail "$name"
		diag "  succeeded: $*"
		return 1
	fi
	pass "$name"
}

# is NAME GOT WANTED
is() {
	if [ "$2" = "$3" ]; then
		pass "$1"
	else
		fail "$1"
		diag "  got:    $2"
		diag "  wanted: $3"
		return 1
	fi
}

# like NAME TEXT REGEX: an extended regular expression, as in [[ =~ ]].
like() {
	if [[ $2 =~ $3 ]]; then
		pass "$1"
	else
		fail "$1"
		diag "  no match for: $3"
		diag "$(printf '%s\n' "$2" | tail -n 40)"
		return 1
	fi
}

# unlike NAME TEXT REGEX
unlike() {
	if [[ $2 =~ $3 ]]; then
		fail "$1"
		diag "  matches: $3 with ${BASH_REMATCH[0]}"
		return 1
	fi
	pass "$1"
}

# BAIL_OUT REASON: nothing else can work either; prove stops altogether.
BAIL_OUT() {
	echo "Bail out!  $*" >&3
	exit 255
}

# need COMMAND PACKAGE: a missing tool is no reason to pass.
need() {
	command -v "$1" > /dev/null ||
		BAIL_OUT "$1 is not installed: apt-get install $2"
}

# wait_until SECONDS COMMAND...: asks every 50 ms until the command succeeds;
# returns 1 when the time is up.
wait_until() {
	local end=$(($(date +%s%N) + $1 * 1000000000))
	shift
	until "$@"; do
		[ "$(date +%s%N)" -lt "$end" ] || return 1
		sleep 0.05
	done
}

tap_end() {
	local status=$? command

	trap - EXIT
	trap '' INT TERM HUP
	for command in "${tap_at_exit[@]}"; do
		eval "$command"
	done
	if [ -n "${KEEP:-}" ]; then
		diag "kept: $WORK"
	else
		chmod -R u+w "$WORK" 2> /dev/null
		rm -rf "$WORK"
	fi
	if [ "$tap_count" != "$tap_planned" ]; then
		diag "planned ${tap_planned:-nothing}, ran $tap_count tests"
		[ "$status" -ne 0 ] || status=1
	fi
	[ "$tap_failed" -eq 0 ] || [ "$status" -ne 0 ] || status=1
	exit "$status"
}
trap tap_end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
