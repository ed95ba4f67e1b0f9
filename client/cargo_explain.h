/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a crate of the last build was not taken from the cache: the front leaves
 * a record of each build in the target directory, and the server says what
 * differs. Main thread; blocks.
 */
#ifndef TOOLROOT_CLIENT_CARGO_EXPLAIN_H
#define TOOLROOT_CLIENT_CARGO_EXPLAIN_H

struct client_options;
struct error;

/* Where the record of a build is, in this target directory; the caller frees
 * it. What is in it is written by cargo_summary_write. */
char *cargo_explain_record(const char *target);

/* To standard output. crate is its name or its package's. NOT_FOUND when there
 * is no record, or no such crate in it. */
int cargo_explain(const struct client_options *client, const char *target,
    const char *crate, struct error *err);

#endif
