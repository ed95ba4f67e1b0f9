/* SPDX-License-Identifier: Apache-2.0 */
/* Lines on standard output, or a JSON array until the end. */
#include "client/doctor_report.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

#define RESULTS 4

struct doctor_report {
	json_t *checks; /* NULL: for people */
	unsigned counts[RESULTS];
};

static const char *const words[RESULTS] = {
    "ok", "warning", "failed", "skipped"};

struct doctor_report *
doctor_report_new(bool json)
{
	struct doctor_report *report = xcalloc(1, sizeof(*report));

	report->checks = json ? json_array() : NULL;
	return report;
}

void
doctor_report_free(struct doctor_report *report)
{
	if (report == NULL)
		return;
	json_decref(report->checks);
	free(report);
}

void
doctor_report_add(struct doctor_report *report, enum doctor_result result,
    const char *name, const char *found, const char *remedy)
{
	report->counts[result]++;
	if (report->checks != NULL) {
		json_array_append_new(report->checks,
		    json_pack("{s:s, s:s, s:s, s:s}", "check", name, "result",
			words[result], "found", found, "remedy",
			remedy != NULL ? remedy : ""));
		return;
	}
	printf("%-8s %-22s %s\n", words[result], name, found);
	if (remedy != NULL)
		printf("%-8s %-22s to mend it: %s\n", "", "", remedy);
	/* The next check may take a while. */
	fflush(stdout);
}

bool
doctor_report_finish(struct doctor_report *report)
{
	const unsigned *counts = report->counts;
	bool good = counts[DOCTOR_FAILED] == 0;
	json_t *json;

	if (report->checks == NULL) {
		printf("%u ok, %u warnings, %u failed, %u skipped\n",
		    counts[DOCTOR_OK], counts[DOCTOR_WARNING],
		    counts[DOCTOR_FAILED], counts[DOCTOR_SKIPPED]);
		return good;
	}
	json = json_pack("{s:b, s:O}", "good", good, "checks", report->checks);
	json_dumpf(json, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
	putchar('\n');
	json_decref(json);
	return good;
}
