/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capturing a C and C++ compiler of this machine (gcc, clang) by closure: the
 * driver and what it calls, the directories it searches for headers, crt
 * objects and libraries, what linker scripts name, and everything that these
 * need to run, all at their absolute paths, so that the root file system made
 * of the tree has /usr/bin/gcc where it was. Runs the compiler to ask it.
 */
#ifndef TOOLROOT_CLIENT_CAPTURE_CC_H
#define TOOLROOT_CLIENT_CAPTURE_CC_H

#include <stddef.h>

struct capture_host;
struct capture_programs;
struct error;

enum capture_cc_scope {
	CAPTURE_CC_WHOLE,
	/* Without the shell and the usual commands, and without sanitizer
	 * libraries. */
	CAPTURE_CC_MINIMAL,
	/* What linking needs alone: no compilers, no headers. */
	CAPTURE_CC_LINKER,
};

struct capture_cc_options {
	const char *compiler; /* "gcc", "clang" or a path; NULL = gcc or cc */
	enum capture_cc_scope scope;
	/* Libraries, as after -l, that are to be there for linking. */
	char *const *libraries;
	size_t library_count;
};

/* Adds to host->tree; capture_host_close completes it. */
int capture_cc(struct capture_host *host,
    const struct capture_cc_options *options, struct capture_programs *programs,
    struct error *err);

#endif
