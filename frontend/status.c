/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the report, one line a group so that people can read it too. */
#include "frontend/status.h"

#include <inttypes.h>
#include <time.h>

#include "base/buffer.h"

static int
write_text(struct buffer *out, const char *text)
{
	if (buffer_append(out, "\"", 1) < 0)
		return -1;
	for (const char *c = text; *c != '\0'; c++) {
		unsigned char byte = (unsigned char)*c;
		int rc;

		if (byte < ' ')
			rc = buffer_printf(out, "\\u%04x", byte);
		else if (byte == '"' || byte == '\\')
			rc = buffer_printf(out, "\\%c", byte);
		else
			rc = buffer_append(out, c, 1);
		if (rc < 0)
			return -1;
	}
	return buffer_append(out, "\"", 1);
}

static int
write_server(struct buffer *out, const struct status_report *report)
{
	time_t started = (time_t)(report->started_ns / 1000000000);
	struct tm utc;
	char stamp[32];

	gmtime_r(&started, &utc);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &utc);
	if (buffer_printf(out,
		"  \"version\": \"%s\",\n  \"grpc\": ", TOOLROOT_VERSION) < 0 ||
	    write_text(out, report->grpc_address) < 0)
		return -1;
	return buffer_printf(out,
	    ",\n  \"ready\": %s,\n  \"started\": \"%s\",\n"
	    "  \"uptime_seconds\": %" PRId64 ",\n",
	    report->not_ready == NULL ? "true" : "false", stamp,
	    (report->now_ns - report->started_ns) / 1000000000);
}

static int
write_store(struct buffer *out, const struct store_usage *usage)
{
	return buffer_printf(out,
	    "  \"store\": {\"bytes\": %" PRIu64 ", \"max_bytes\": %" PRIu64
	    ", \"blobs\": %" PRIu64 ", \"action_results\": %" PRIu64
	    ", \"segments\": %" PRIu64 ", \"dropped\": %" PRIu64 "},\n",
	    usage->bytes, usage->max_bytes, usage->blobs, usage->action_results,
	    usage->segments, usage->dropped);
}

static int
write_execution(
    struct buffer *out, const struct scheduler_statistics *statistics)
{
	return buffer_printf(out,
	    "  \"workers\": {\"connected\": %zu, \"slots\": %zu, "
	    "\"slots_busy\": %zu},\n"
	    "  \"operations\": {\"queued\": %zu, \"executing\": %zu}\n}\n",
	    statistics->workers, statistics->slots, statistics->slots_busy,
	    statistics->queued, statistics->leased);
}

int
status_write(const struct status_report *report, struct buffer *out)
{
	if (buffer_append(out, "{\n", 2) < 0 || write_server(out, report) < 0 ||
	    write_store(out, &report->store) < 0)
		return -1;
	return write_execution(out, &report->execution.scheduler);
}
