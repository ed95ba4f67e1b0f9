/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking a store: every byte of every blob against its digest, every action
 * result for the blobs that it names, and files that nothing names. It reads
 * and changes nothing, so it is for a store that was opened read-only, also
 * beside the server that writes it. What is in the log only, for less than a
 * second, is left to the next check. Blocks; one thread.
 */
#ifndef TOOLROOT_CAS_CHECK_H
#define TOOLROOT_CAS_CHECK_H

#include <stdint.h>

#include "cas/digest.h"
#include "cas/store_index.h"

struct blob;
struct error;
struct store;

struct check_options {
	uint64_t rate; /* bytes read in a second; 0 = as fast as it goes */
	/* Of the blobs, only those in part `part` (from 1) of `parts`, by their
	 * hash; 0 = all. A long check is many short ones. */
	unsigned part;
	unsigned parts;
	/* Where an earlier check came to: only blobs behind it; length 0 = all.
	 * Without parts. */
	struct index_position from;
	/* It has come to here: what is needed to go on. May be NULL. */
	int (*reached)(void *cookie, const struct index_position *position,
	    struct error *err);
	/* A blob that is not what its digest says. */
	void (*bad)(void *cookie, const struct digest *digest, const char *why);
	/* A large blob's file that nothing names, by its path in blobs/. */
	void (*stray)(void *cookie, const char *path, uint64_t bytes);
	void *cookie;
};

struct check_report {
	uint64_t blobs; /* that were read */
	uint64_t bytes; /* as they are kept */
	uint64_t bad;
	uint64_t results;
	uint64_t incomplete; /* found so when asked for, and dropped then */
	uint64_t strays;
	uint64_t stray_bytes;
};

/* 0 when the check was made, whatever it found; -1 when the index or a
 * directory cannot be read. FAILED_PRECONDITION unless read-only: reading
 * would make every blob young. */
int store_check(struct store *store, const struct check_options *options,
    struct check_report *report, struct error *err);

/* Reads a blob and compares it with its digest. Takes the blob. 1, 0 when it is
 * bad: err says how, and with DATA_LOSS the reading has dropped it; -1. */
int check_blob(
    struct blob *blob, const struct digest *digest, struct error *err);

#endif
