/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a capture leaves out or does in its own way, as sentences for the
 * person who ordered it. The first hundred are kept, all are counted. One
 * thread at a time.
 */
#ifndef TOOLROOT_CLIENT_CAPTURE_NOTES_H
#define TOOLROOT_CLIENT_CAPTURE_NOTES_H

#include <stddef.h>

#define CAPTURE_NOTES_MAX 100

struct capture_notes {
	char *lines[CAPTURE_NOTES_MAX]; /* owned */
	size_t count;                   /* of those kept */
	size_t dropped;
};

/* A note that stands there already is not added again. */
void capture_notes_add(struct capture_notes *notes, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void capture_notes_clear(struct capture_notes *notes);

#endif
