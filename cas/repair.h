/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repairing a store: its index is made anew from what segments and blobs/ hold
 * and what the old index still tells. For a store that nobody has open, also
 * when the index is lost or damaged. Blocks; the calling process has one
 * thread (it forks).
 *
 * Every byte is compared with its digest; what is bad is dropped, with the
 * action results that name it. Action results, pins and names stand in the
 * index alone: they are taken over from the old one as far as it can be read.
 * Blobs keep their age; where the old index cannot be read whole, every blob
 * counts as just used, so that no promise of min-age is broken.
 *
 * The old index stands until the new one is durable and takes its place in one
 * step. A crash leaves the store as it was, without bad files.
 */
#ifndef TOOLROOT_CAS_REPAIR_H
#define TOOLROOT_CAS_REPAIR_H

#include <stdbool.h>
#include <stdint.h>

struct error;

struct repair_report {
	uint64_t bytes_total; /* to be read: segments and files */
	uint64_t bytes;       /* read so far */
	uint64_t blobs;       /* in the new index */
	uint64_t large_blobs; /* of them */
	uint64_t segments;
	uint64_t bad_blobs; /* dropped: content, checksum or size is wrong */
	uint64_t skipped_bytes; /* of segments, in which no record is found */
	uint64_t strays;        /* files in blobs/ that are no blob's: left */
	uint64_t results;       /* kept */
	/* Dropped, since a blob of them is gone or they are damaged. */
	uint64_t dropped_results;
	uint64_t pins;
	uint64_t names;
	uint64_t dropped_entries; /* pins and names that are damaged */
	bool index_lost;          /* there was none, or it cannot be opened */
	bool index_damaged;       /* it ended early: entries may be lost */
};

struct repair_options {
	const char *path;
	/* Now and then, for those who watch. May be NULL. */
	void (*progress)(void *cookie, const struct repair_report *report);
	/* What was dropped or left, and why. Not NULL. */
	void (*tell)(void *cookie, const char *what, const char *why);
	void *cookie;
};

/* 0 when the store is sound now, whatever was lost. FAILED_PRECONDITION when
 * another process has it; RESOURCE_EXHAUSTED when the disk has no room for the
 * new index: then nothing was changed. */
int store_repair(const struct repair_options *options,
    struct repair_report *report, struct error *err);

/* Whether a report tells of a loss. */
bool repair_lost_something(const struct repair_report *report);

#endif
