/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing one staged file: content, then mode, owner and time. Used for an
 * action's own tree and for the file cache. Any thread.
 */
#ifndef TOOLROOT_WORKER_STAGE_FILE_H
#define TOOLROOT_WORKER_STAGE_FILE_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>
#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

struct blob;
struct error;

/* The time of modification of all inputs that ask for no other:
 * 2000-01-01T00:00:00Z. Constant, so that nothing depends on when a blob
 * arrived; not 0, which zip and others cannot express. */
#define STAGE_TIME ((time_t)946684800)

/* The time that node properties (NULL = none) ask for, or STAGE_TIME. */
struct timespec stage_file_time(const Reapi__NodeProperties *properties);
/* The mode: 0444, 0555 for an executable, or what node properties ask for. */
mode_t stage_file_mode(
    const Reapi__NodeProperties *properties, bool executable);

/* Of a directory: 0755, or what is asked for; outputs must be possible in any
 * case. */
mode_t stage_directory_mode(const Reapi__NodeProperties *properties);

/* Writes the blob's content to fd, from its start. Takes the blob. */
int stage_file_copy(int fd, struct blob *blob, struct error *err);
/* The same to an empty file on disk: without copying where the file systems
 * can (a reflink). */
int stage_file_fill(int fd, struct blob *blob, struct error *err);
/* Links the file, if that can be, under a name that is free: on the same file
 * system, and as the rules of the kernel allow. fd -1: it cannot. */
bool stage_file_link(int fd, int directory, const char *name);
/* Sets the time (NULL = STAGE_TIME). */
int stage_file_date(int fd, const struct timespec *time, struct error *err);
/* Sets mode and time. */
int stage_file_finish(
    int fd, mode_t mode, const struct timespec *time, struct error *err);

#endif
