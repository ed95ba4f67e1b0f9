/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors as values: a gRPC status code and a sentence for the person who has
 * to mend it.
 *
 * A function that can fail takes a `struct error *err` as its last parameter
 * and returns -1 (or NULL). Whoever detects the failure sets the error,
 * always; callers on the way up may prefix what they were doing. Nothing is
 * logged while an error travels: where it stops, it is sent or logged, once.
 * err is never NULL. A plain value: no memory is owned, copying is allowed.
 */
#ifndef TOOLROOT_BASE_ERROR_H
#define TOOLROOT_BASE_ERROR_H

#include <stdint.h>

/* The numbers of google.rpc.Code. */
enum error_code {
	ERROR_OK = 0,
	ERROR_CANCELLED = 1,
	ERROR_UNKNOWN = 2,
	ERROR_INVALID_ARGUMENT = 3,
	ERROR_DEADLINE_EXCEEDED = 4,
	ERROR_NOT_FOUND = 5,
	ERROR_ALREADY_EXISTS = 6,
	ERROR_PERMISSION_DENIED = 7,
	ERROR_RESOURCE_EXHAUSTED = 8,
	ERROR_FAILED_PRECONDITION = 9,
	ERROR_ABORTED = 10,
	ERROR_OUT_OF_RANGE = 11,
	ERROR_UNIMPLEMENTED = 12,
	ERROR_INTERNAL = 13,
	ERROR_UNAVAILABLE = 14,
	ERROR_DATA_LOSS = 15,
	ERROR_UNAUTHENTICATED = 16,
};

struct error {
	enum error_code code;
	/* When a retry makes sense, in ms; 0 = no advice (RetryInfo). */
	uint32_t retry_delay_ms;
	/* NUL-terminated, valid UTF-8 as far as the callers' texts are. */
	char text[504];
};

/* All three return -1, so that `return error_set(...)` reads well. A text that
 * is too long is cut. */
int error_set(struct error *err, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* As error_set with UNAVAILABLE or RESOURCE_EXHAUSTED and advice to retry. */
int error_set_retry(struct error *err, enum error_code code,
    uint32_t retry_delay_ms, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Code from number (an errno value): full disks and quotas become
 * RESOURCE_EXHAUSTED, EACCES PERMISSION_DENIED, ENOENT NOT_FOUND, the rest
 * INTERNAL. ": <strerror>" is appended to the text. */
int error_set_errno(struct error *err, int number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* clang-tidy looks at one file at a time: it is told what these return. */
#if defined(__clang_analyzer__) && !defined(TOOLROOT_BASE_ERROR_C)
#define error_set(...) ((error_set)(__VA_ARGS__), -1)
#define error_set_retry(...) ((error_set_retry)(__VA_ARGS__), -1)
#define error_set_errno(...) ((error_set_errno)(__VA_ARGS__), -1)
#endif
/* "<prefix>: <text so far>". */
void error_prefix(struct error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* "NOT_FOUND" and so on; "CODE_<n>" never: unknown numbers give "UNKNOWN". */
const char *error_code_name(enum error_code code);

#endif
