/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing run of bytes that gets its limit when it is made: past the limit
 * an append fails and leaves the buffer as it was. One thread at a time.
 */
#ifndef TOOLROOT_BASE_BUFFER_H
#define TOOLROOT_BASE_BUFFER_H

#include "base/str.h"

struct buffer {
	char
	    *data; /* owned; always followed by a NUL once anything was added */
	size_t len;
	size_t capacity;
	size_t limit; /* len never exceeds it */
};

void buffer_init(struct buffer *buffer, size_t limit);
void buffer_clear(struct buffer *buffer);
/* Forgets the content, keeps the memory. */
void buffer_reset(struct buffer *buffer);

/* 0, or -1 when the limit would be passed. */
int buffer_append(struct buffer *buffer, const void *data, size_t len)
    __attribute__((warn_unused_result));
int buffer_printf(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3), warn_unused_result));
/* Room for len bytes at the end, to be written by the caller, who then adds
 * what it wrote to buffer->len. NULL past the limit. */
char *buffer_reserve(struct buffer *buffer, size_t len);

static inline struct str
buffer_str(const struct buffer *buffer)
{
	return (struct str){
	    buffer->data != NULL ? buffer->data : "", buffer->len};
}

#endif
