/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `toolroot doctor` found: one line a check as it is made, for people, or
 * all of them as JSON at the end. One thread.
 */
#ifndef TOOLROOT_CLIENT_DOCTOR_REPORT_H
#define TOOLROOT_CLIENT_DOCTOR_REPORT_H

#include <stdbool.h>

struct doctor_report;

enum doctor_result {
	DOCTOR_OK,
	DOCTOR_WARNING, /* works, but not as well as it could */
	DOCTOR_FAILED,
	DOCTOR_SKIPPED, /* was not looked at */
};

struct doctor_report *doctor_report_new(bool json);
/* NULL is allowed. */
void doctor_report_free(struct doctor_report *report);

/* name: "server: capabilities"; found: what there is; remedy: what to do about
 * it, with a warning or a failure, or NULL where found says it. */
void doctor_report_add(struct doctor_report *report, enum doctor_result result,
    const char *name, const char *found, const char *remedy);
/* Prints the rest. False when a check failed. */
bool doctor_report_finish(struct doctor_report *report);

#endif
