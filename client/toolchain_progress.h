/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line on the terminal that shows how far a capture is: files, bytes, rate,
 * what the server had already. Drawn by a thread of its own, five times a
 * second; nothing is shown where standard error is no terminal.
 */
#ifndef TOOLROOT_CLIENT_TOOLCHAIN_PROGRESS_H
#define TOOLROOT_CLIENT_TOOLCHAIN_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "client/capture_hash.h"

struct toolchain_progress;

/* Never NULL. Counts and draws nothing unless it is to be shown. */
struct toolchain_progress *toolchain_progress_start(bool shown);
/* Clears the line and ends the thread. NULL is allowed. */
void toolchain_progress_stop(struct toolchain_progress *progress);
/* The next part of the work; what is a static text ("uploading"). Its counters
 * start from zero; present is what the server had already, in bytes. */
struct capture_progress *toolchain_progress_phase(
    struct toolchain_progress *progress, const char *what, uint64_t present);

/* "12.3 MiB". */
#define TOOLCHAIN_SIZE_MAX 24
const char *toolchain_progress_size(
    uint64_t bytes, char text[static TOOLCHAIN_SIZE_MAX]);

#endif
