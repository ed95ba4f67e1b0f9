/* SPDX-License-Identifier: Apache-2.0 */
/* Formatting of error values. No state, any thread. */
#define TOOLROOT_BASE_ERROR_C
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const code_names[] = {
    [ERROR_OK] = "OK",
    [ERROR_CANCELLED] = "CANCELLED",
    [ERROR_UNKNOWN] = "UNKNOWN",
    [ERROR_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
    [ERROR_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
    [ERROR_NOT_FOUND] = "NOT_FOUND",
    [ERROR_ALREADY_EXISTS] = "ALREADY_EXISTS",
    [ERROR_PERMISSION_DENIED] = "PERMISSION_DENIED",
    [ERROR_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
    [ERROR_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
    [ERROR_ABORTED] = "ABORTED",
    [ERROR_OUT_OF_RANGE] = "OUT_OF_RANGE",
    [ERROR_UNIMPLEMENTED] = "UNIMPLEMENTED",
    [ERROR_INTERNAL] = "INTERNAL",
    [ERROR_UNAVAILABLE] = "UNAVAILABLE",
    [ERROR_DATA_LOSS] = "DATA_LOSS",
    [ERROR_UNAUTHENTICATED] = "UNAUTHENTICATED",
};

static void
error_format(
    struct error *err, enum error_code code, const char *format, va_list args)
{
	err->code = code;
	err->retry_delay_ms = 0;
	vsnprintf(err->text, sizeof(err->text), format, args);
}

int
error_set(struct error *err, enum error_code code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error_format(err, code, format, args);
	va_end(args);
	return -1;
}

int
error_set_retry(struct error *err, enum error_code code,
    uint32_t retry_delay_ms, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error_format(err, code, format, args);
	va_end(args);
	err->retry_delay_ms = retry_delay_ms;
	return -1;
}

static enum error_code
error_code_from_errno(int number)
{
	switch (number) {
	case ENOSPC:
	case EDQUOT:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return ERROR_RESOURCE_EXHAUSTED;
	case EACCES:
	case EPERM:
	case EROFS:
		return ERROR_PERMISSION_DENIED;
	case ENOENT:
		return ERROR_NOT_FOUND;
	default:
		return ERROR_INTERNAL;
	}
}

int
error_set_errno(struct error *err, int number, const char *format, ...)
{
	char reason[128];
	size_t used;
	va_list args;

	va_start(args, format);
	error_format(err, error_code_from_errno(number), format, args);
	va_end(args);
	used = strlen(err->text);
	snprintf(err->text + used, sizeof(err->text) - used, ": %s",
	    strerror_r(number, reason, sizeof(reason)));
	return -1;
}

void
error_prefix(struct error *err, const char *format, ...)
{
	char text[sizeof(err->text)];
	char prefix[sizeof(err->text)];
	va_list args;

	va_start(args, format);
	vsnprintf(prefix, sizeof(prefix), format, args);
	va_end(args);
	memcpy(text, err->text, sizeof(text));
	/* A longer whole is cut, which is what the header promises. */
	if (snprintf(err->text, sizeof(err->text), "%s: %s", prefix, text) < 0)
		err->text[0] = '\0';
}

const char *
error_code_name(enum error_code code)
{
	size_t index = (size_t)code;

	if (index >= sizeof(code_names) / sizeof(code_names[0]))
		return code_names[ERROR_UNKNOWN];
	return code_names[index];
}
