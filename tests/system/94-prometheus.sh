#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Prometheus itself reads our metrics, its linter finds nothing, the alert rules
# fire when they should and only then, and each query of the dashboard has an
# answer.

. "$(dirname "$0")/tap.sh"
. "$(dirname "$0")/server.sh"

need promtool prometheus
plan 13

rules=$ROOT/config/prometheus/toolroot.rules.yml

sed "s#RULES#$rules#" "$ROOT/tests/system/lib/alerts.test.yml" \
	> "$WORK/alerts.test.yml"
ok "the alert rules are well-formed" promtool check rules "$rules"
ok "each fires when it should, and only then" \
	promtool test rules "$WORK/alerts.test.yml"
# Of the rules and of the tests.
alerts() {
	grep -o "$1: Toolroot[A-Za-z]*" "$2" | sed 's/.*: //' | sort -u
}
is "each rule is tested" "$(alerts alert "$rules")" \
	"$(alerts alertname "$WORK/alerts.test.yml")"

# Of the table in the documentation and of the rules, without what histograms
# and recordings add to names.
metrics_in() {
	grep -oE '(toolroot|process)_[a-z_]+' | sed 's/_bucket$//' | sort -u
}
is "the documentation tells what to alert on, as the rules do" \
	"$(sed -n '/^## What to alert on/,$p' "$ROOT/docs/observability.md" |
		metrics_in)" \
	"$(sed '/^ *summary:/d; /^ *description:/d; /^#/d' "$rules" |
		metrics_in)"

ok "the server starts" server_start --workers 1 --host-root \
	--worker-http 127.0.0.1:0 || exit 1
# Something of everything: a miss, a hit, bytes each way, an error.
for _ in 1 2; do
	/usr/bin/python3 "$ROOT/tests/system/lib/run_action.py" "$GRPC_ADDR" \
		'cat a > out' --input a=1000 --output out --cached
done
worker_addr=$(sed -n 's#.* info http address=http://##p' "$SERVER_LOG")

lint() {
	curl -sf "http://$1/metrics" | promtool check metrics
}
is "the linter finds nothing in the server's metrics" \
	"$(lint "$HTTP_ADDR" 2>&1)" ""
is "nor in the worker's" "$(lint "$worker_addr" 2>&1)" ""

cat > "$WORK/prometheus.yml" <<END
global: {scrape_interval: 500ms, evaluation_interval: 1s}
rule_files: ["$rules"]
scrape_configs:
  - job_name: toolroot
    static_configs: [{targets: ["$HTTP_ADDR"]}]
  - job_name: toolroot-worker
    static_configs: [{targets: ["$worker_addr"]}]
END
prometheus --config.file="$WORK/prometheus.yml" \
	--storage.tsdb.path="$WORK/prometheus" \
	--web.listen-address=127.0.0.1:0 > "$WORK/prometheus.log" 2>&1 3>&- &
prometheus_pid=$!
end_prometheus() {
	kill "$prometheus_pid" 2> /dev/null
	wait "$prometheus_pid" 2> /dev/null
}
at_exit end_prometheus
find_prometheus() {
	prometheus_addr=$(sed -n \
		's/.*Listening on.* address=\([0-9.:]*\).*/\1/p' \
		"$WORK/prometheus.log")
	[ -n "$prometheus_addr" ]
}
# query EXPRESSION: the answer as JSON.
query() {
	curl -sf -G --data-urlencode "query=$1" \
		"http://$prometheus_addr/api/v1/query"
}
has_answer() {
	query "$1" | grep -q '"status":"success".*"result":\[{'
}
# Rates need two scrapes.
scraped() {
	has_answer 'count_over_time(up[1m]) >= 3' &&
		has_answer 'count(up == 1) == 2'
}
ok "Prometheus starts" wait_until 60 find_prometheus ||
	diag "$(tail -n 5 "$WORK/prometheus.log")"
ok "and reads both" wait_until 60 scraped
ok "it asks for OpenMetrics, and gets them" curl -sf -o "$WORK/open" \
	-H 'Accept: application/openmetrics-text; version=1.0.0' \
	"http://$HTTP_ADDR/metrics"

# Queries of all panels, one a line, with the variables that Grafana fills in.
/usr/bin/python3 - "$ROOT/config/grafana/toolroot.json" > "$WORK/queries" <<'END'
import json
import sys

for panel in json.load(open(sys.argv[1], encoding="utf-8"))["panels"]:
    for target in panel.get("targets", []):
        expression = target["expr"]
        for name, value in (
            ("$__rate_interval", "1m"),
            ("$instance", ".*"),
            ("$job", "toolroot"),
        ):
            expression = expression.replace(name, value)
        print(expression)
END
unanswered=
while IFS= read -r expression; do
	has_answer "$expression" || unanswered+="$expression"$'\n'
done < "$WORK/queries"
is "each query of the dashboard has an answer" "$unanswered" ""
ok "and there are more than 40" [ "$(wc -l < "$WORK/queries")" -gt 40 ]
ok "the server ends cleanly" server_stop || server_show_log
