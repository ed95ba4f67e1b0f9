/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests of files by their status, so that what has not changed is not read
 * again: git's racy-clean rules, with the inode and ctime in the key, so that
 * a file put in place with its old time is seen. Lives in memory; load and
 * save keep it between builds. Any thread; blocks on the disk.
 *
 * What nobody asked for in four weeks is forgotten when it is saved; where that
 * leaves more than 50,000 files of earlier days, the oldest days are, too.
 *
 * A file whose mtime or ctime is so young that it could change again without
 * its status changing is believed during this run only and never saved.
 * A ledger from the future, where the clock was set back, is ignored. Not seen:
 * writes through a mapping that was made before.
 */
#ifndef TOOLROOT_CLIENT_STAT_LEDGER_H
#define TOOLROOT_CLIENT_STAT_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cas/digest.h"

struct error;
struct stat;
struct stat_ledger;

enum stat_ledger_verify {
	STAT_LEDGER_ALWAYS, /* nothing is loaded: every file is read once */
	STAT_LEDGER_BOOT,   /* what another boot or machine wrote is ignored */
	STAT_LEDGER_STAT,   /* the status alone decides */
};

struct stat_ledger_file {
	struct digest digest;
	bool executable;
};

/* path: where it is kept; NULL: in memory only. A ledger that is absent, cut
 * off, of another version or digest function is empty. Never NULL. */
struct stat_ledger *stat_ledger_open(const char *path,
    enum digest_function function, enum stat_ledger_verify verify);
/* Frees it; what is not saved is gone. NULL is allowed. */
void stat_ledger_close(struct stat_ledger *ledger);
/* By writing anew and renaming; of two at once the last one counts. Nothing is
 * done when nothing was learned. */
int stat_ledger_save(struct stat_ledger *ledger, struct error *err);

/* The digest of a regular file (links are followed). NOT_FOUND, or
 * FAILED_PRECONDITION for what is no regular file or changes while it is
 * read. */
int stat_ledger_digest(struct stat_ledger *ledger, const char *path,
    struct stat_ledger_file *file, struct error *err);
/* The caller wrote the file, hashing what it wrote; written is the status of
 * the descriptor after the last byte (the file may have been renamed since).
 * Saves reading it again in this run. */
void stat_ledger_note(struct stat_ledger *ledger, const char *path,
    const struct digest *digest, const struct stat *written);
/* The status of any file, as a key that changes when the file is changed or
 * replaced; for a directory, when an entry comes or goes. The caller frees
 * it. NULL with an error. */
char *stat_ledger_key(const char *path, struct error *err);

struct stat_ledger_counts {
	uint64_t looked; /* digests asked for */
	uint64_t read;   /* of these, files that were read */
	uint64_t read_bytes;
};
void stat_ledger_counts(
    struct stat_ledger *ledger, struct stat_ledger_counts *counts);

#endif
