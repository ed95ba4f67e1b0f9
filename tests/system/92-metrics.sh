#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The metrics of a running server and docs/observability.md name the same, and
# an executed action is seen in them.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"

plan 18

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
		"$GRPC_ADDR" 'sleep 0.1' --cached --target //app:timed)" "exit=0"
like "without an invocation, all misses are the last build's" \
	"$("$TOOLROOT" explain --server "grpc://$GRPC_ADDR")" \
	"//app:timed: first-seen"
ok "metrics are served" scrape
ok "by the worker, too" scrape_worker

sed -n 's/^# TYPE \([a-z_]*\) .*/\1/p' "$metrics" "$metrics.worker" |
	sort -u > "$WORK/served"
grep -oE '(toolroot|process)_[a-z_]+' "$ROOT/docs/observability.md" |
	sort -u > "$WORK/told"
is "the documentation names every metric, and no other" \
	"$(comm -3 "$WORK/served" "$WORK/told")" ""

is "a local worker claims no limit for the server's store" \
	"$(sed -n 's/^toolroot_worker_store_limit_bytes //p' \
		"$metrics.worker")" "0"

run='toolroot_operation_stage_duration_seconds'
is "the run of the action took more than 0.1 s and less than 10 s" \
	"$(value "${run}_bucket{stage=\"run\",le=\"0.1\"}"),$(
		value "${run}_bucket{stage=\"run\",le=\"10\"}")" "0,1"

# Ends without a result: it is answered, but not well.
like "another runs out of time" \
	"$(/usr/bin/python3 "$ROOT/tests/system/lib/run_action.py" \
		"$GRPC_ADDR" 'sleep 60' --target //app:late --timeout 1)" \
	"code=DEADLINE_EXCEEDED"
like "and a third is refused" \
	"$(/usr/bin/python3 "$ROOT/tests/system/lib/run_action.py" \
		"$GRPC_ADDR" true --target //app:odd --property toolchain-root=x)" \
	"code=[A-Z_]+.*toolchain-root"

# As a disk does that fails: nothing can be written any more.
not_ready() {
	! curl -sf "http://$HTTP_ADDR/readyz"
}
not_ok "it is ready" not_ready
rm -rf "${SERVER_STORE:?}/incoming"
ok "it is not, when the disk does not take writes" wait_until 60 not_ready
like "and says why" "$(curl -s "http://$HTTP_ADDR/readyz")" "incoming/probe"
ok "health stays up" curl -sf "http://$HTTP_ADDR/healthz"
like "an operation's line tells whom, what and how long" "$(cat "$SERVER_LOG")" \
	"operation_done name=operations/.* action=[0-9a-f]+/[0-9]+ .* us=[0-9]+ \
exit=0 out=[0-9]+ queue_us=[0-9]+ fetch_us=[0-9]+ stage_us=[0-9]+ run_us=[0-9]+ \
collect_us=[0-9]+ upload_us=[0-9]+ target=\"//app:timed\""
like "and that of one that failed what its client was told" \
	"$(grep 'operation_done .*//app:late' "$SERVER_LOG")" \
	"code=DEADLINE_EXCEEDED .* error=\"[^\"]+\"\$"
like "a refused call's line names the action of the request" \
	"$(grep ' rpc .*//app:odd' "$SERVER_LOG")" "action=\"[0-9a-f]{64}/[0-9]+\""
ok "the server ends cleanly" server_stop || server_show_log
