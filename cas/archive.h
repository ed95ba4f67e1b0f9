/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Archives: a part of a store, whole in itself, as one file that can be carried
 * to another site. Trees, toolchains with their names, pins, action results
 * with their outputs; blobs that several of them need are in it once. The
 * format is in docs/store-format.md. Blocks; one thread.
 */
#ifndef TOOLROOT_CAS_ARCHIVE_H
#define TOOLROOT_CAS_ARCHIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "cas/digest_list.h"
#include "cas/remove_results.h"

struct error;
struct store;

/* Now and then, for those who watch. */
typedef void archive_progress_fn(void *cookie, uint64_t done, uint64_t total);

/* What goes into an archive. Everything is borrowed. */
struct archive_roots {
	struct str instance; /* of toolchains */
	char **toolchains;   /* names */
	size_t toolchain_count;
	char **pins;
	size_t pin_count;
	struct digest_list trees; /* Directories with all below them */
	struct digest_list blobs;
	/* Results that match; none unless it is set. */
	bool results;
	struct result_filter filter;
	/* Also what their actions need, as far as it is there: Action, Command,
	 * input root, toolchain roots. */
	bool inputs;
	archive_progress_fn *progress; /* bytes of blobs; may be NULL */
	void *cookie;
};

struct archive_report {
	uint64_t blobs;
	uint64_t blob_bytes;
	uint64_t results;
	/* Export: left out, since a blob of them is gone. */
	uint64_t incomplete_results;
	/* Export: their actions' inputs are not all there. */
	uint64_t without_inputs;
	uint64_t names;
	uint64_t pins;
	uint64_t archive_bytes;
};

/* To a descriptor, which is synced. The store may be open read-only, beside the
 * server that writes it. FAILED_PRECONDITION names what is absent. */
int archive_export(struct store *store, const struct archive_roots *roots,
    int fd, struct archive_report *report, struct error *err);

/* What an import does with what it reads. */
struct archive_import_options {
	int fd;
	uint64_t size; /* of the file, for progress */
	archive_progress_fn *progress;
	void *cookie;
};

/* Every blob is verified, every result, name and pin must be whole. What came
 * before an error stays: each of it is sound by itself. Results are marked: the
 * writer of theirs becomes "archive:" and what it was. */
int archive_import(struct store *store,
    const struct archive_import_options *options, struct archive_report *report,
    struct error *err);

#endif
