/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking a program of this machine, as a compiler is asked where it finds
 * things: run with a bare environment (PATH, HOME, what rustup looks at,
 * LC_ALL=C), no input, a bound on what it may print and on its time. Blocks.
 */
#ifndef TOOLROOT_CLIENT_CAPTURE_RUN_H
#define TOOLROOT_CLIENT_CAPTURE_RUN_H

#include <stdbool.h>

struct buffer;
struct error;

#define CAPTURE_RUN_OUTPUT_MAX (4u << 20)

/* argv[0] is a path or found in PATH. Appends standard output and standard
 * error, as they come, to output. FAILED_PRECONDITION
 * when it cannot be started or exits with another status than 0. */
int capture_run(char *const argv[], struct buffer *output, struct error *err);
/* The same, standard output alone and without blanks at its end: the caller
 * frees it. NULL on error. */
char *capture_run_text(char *const argv[], struct error *err);
/* The absolute path of a program: as given when it has a "/", else the first
 * in PATH; the caller frees it. NULL when there is none. */
char *capture_run_find(const char *program);
/* The same, but those in PATH that unwanted(), unless NULL, tells are passed
 * over. */
char *capture_run_find_other(
    const char *program, bool (*unwanted)(const char *path));

#endif
