#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The metrics of a running server and docs/observability.md name the same, and
# an executed action is seen in them.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"

plan 7

metrics=$WORK/metrics
scrape() {
	curl -sf -o "$metrics" "http://$HTTP_ADDR/metrics"
}
# The local worker chooses its port and says so in the log.
scrape_worker() {
	local address

	address=$(sed -n 's/.* info http address=//p' "$SERVER_LOG")
	curl -sf -o "$metrics.worker" "$address/metrics" &&
		curl -sf "$address/readyz"
}

# value NAME: of one series.
value() {
	sed -n "s/^$1 //p" "$metrics"
}

ok "the server starts" server_start --workers 1 --host-root \
	--worker-http 127.0.0.1:0 || exit 1
like "an action is executed" \
	"$(/usr/bin/python3 "$ROOT/tests/system/lib/run_action.py" \
		"$GRPC_ADDR" 'sleep 0.1')" "exit=0"
ok "metrics are served" scrape
ok "by the worker, too" scrape_worker

sed -n 's/^# TYPE \([a-z_]*\) .*/\1/p' "$metrics" "$metrics.worker" |
	sort -u > "$WORK/served"
grep -oE '(toolroot|process)_[a-z_]+' "$ROOT/docs/observability.md" |
	sort -u > "$WORK/told"
is "the documentation names every metric, and no other" \
	"$(comm -3 "$WORK/served" "$WORK/told")" ""

run='toolroot_operation_stage_duration_seconds'
is "the run of the action took more than 0.1 s and less than 10 s" \
	"$(value "${run}_bucket{stage=\"run\",le=\"0.1\"}"),$(
		value "${run}_bucket{stage=\"run\",le=\"10\"}")" "0,1"
ok "the server ends cleanly" server_stop || server_show_log
