#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The helpers of these tests themselves: what they must fail, they fail.

. "$(dirname "$0")/tap.sh"

plan 13

# script TEXT: a test script of its own; sets output and status.
script() {
	printf '. %q/tests/system/tap.sh\n%s\n' "$ROOT" "$1" > "$WORK/script"
	output=$(bash "$WORK/script" 2> "$WORK/errors")
	status=$?
}

script 'plan 1; ok "a fact" true'
is "a script that passes exits with 0" "$status" 0
is "its output is a plan and a result" "$output" "1..1
ok 1 - a fact"

script 'plan 1; ok "a fact" false'
is "a command that fails is a failure" "$status ${output##*$'\n'}" \
	"1 not ok 1 - a fact"
script 'plan 1; not_ok "a fact" true'
is "so is one that should fail and does not" "$status" 1
script 'plan 1; is "a fact" one two'
is "so is a difference" "$status" 1
like "which is shown" "$(cat "$WORK/errors")" "got: +one.*wanted: +two"
script 'plan 1; like "a fact" "some text" "^text"'
is "so is text that does not match" "$status" 1
script 'plan 1; unlike "a fact" "some text" "text"'
is "so is text that should not match" "$status" 1
script 'plan 2; pass "a fact"'
is "so is a script that ends early" "$status" 1
script 'plan 1; echo "not ok 1"; pass "a fact"'
unlike "what a command prints does not get into the results" "$output" \
	"not ok"

script 'plan 1; at_exit echo "cleaned up" "$WORK"; kill -TERM $$; sleep 9'
like "a script that is ended cleans up" "$(cat "$WORK/errors")" \
	"cleaned up /"
not_ok "and removes its directory" \
	test -e "$(sed -n 's/^cleaned up //p' "$WORK/errors")"
not_ok "what does not happen in time is given up" wait_until 1 false
