#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The unit tests of actions in sandboxes once more, without root: in a user
# namespace. (As root they ran with the unit tests.)

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/lib/other_user.sh"

if grep -q __tsan_ "$BUILD/toolroot"; then
	skip_all "$no_user_namespace"
fi
plan 5
for test in test_run_action test_run_outputs test_hostile_action test_unfenced \
	test_toolchain; do
	# Where the other user can read it.
	if ! install -m 0755 "$BUILD/tests/unit/worker/$test" "$WORK/$test"; then
		fail "$test: build it with make unit"
		continue
	fi
	if "${other_user[@]}" "$WORK/$test" > "$WORK/out" 2>&1; then
		pass "$test without root"
	else
		fail "$test without root"
		diag "$(grep -vE '(RUN|OK) ' "$WORK/out" | tail -n 40)"
	fi
done
