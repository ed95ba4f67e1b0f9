/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the programs of a toolchain say of themselves, recorded beside it: for
 * people, not part of the digest. One thread at a time.
 */
#ifndef TOOLROOT_CLIENT_CAPTURE_PROGRAMS_H
#define TOOLROOT_CLIENT_CAPTURE_PROGRAMS_H

#include <stddef.h>

struct error;

#define CAPTURE_PROGRAMS_MAX 16
#define CAPTURE_VERSION_MAX 4096u

struct capture_program {
	char *path;    /* owned; in the captured root, absolute */
	char *version; /* owned; what it prints */
};

struct capture_programs {
	struct capture_program items[CAPTURE_PROGRAMS_MAX];
	size_t count;
};

/* Runs the program of this machine with the option and records what it prints
 * under the path it has in the root. */
int capture_programs_ask(struct capture_programs *programs, const char *program,
    const char *option, const char *path, struct error *err);
/* A text that is no UTF-8 gets "?" for all that is not ASCII. */
void capture_programs_clean(char *text);
void capture_programs_clear(struct capture_programs *programs);

#endif
