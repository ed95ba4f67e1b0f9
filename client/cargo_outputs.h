/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The outputs of an action on their way into cargo's directory: fetched beside
 * their places under other names, and renamed when all of them are there and
 * believed. Dep-info files get this machine's paths. One thread; blocks.
 */
#ifndef TOOLROOT_CLIENT_CARGO_OUTPUTS_H
#define TOOLROOT_CLIENT_CARGO_OUTPUTS_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "cas/digest.h"
#include "client/cargo_strings.h"

struct cargo_arguments;
struct cargo_paths;
struct cas_client;
struct cas_transfer;
struct error;
struct stat_ledger;

struct cargo_output {
	int fd;          /* to it, which has no name; -1: see temporary */
	bool writing;    /* fd is open for that, whatever its name */
	char *temporary; /* owned; or NULL */
	char *final;     /* owned */
	bool placed;     /* there it is */
	struct digest digest;
	bool mapped;         /* a dep-info file: not the bytes of digest */
	struct stat written; /* its status, when all bytes were there */
};

struct cargo_outputs {
	struct cas_client *client;  /* borrowed, all */
	struct stat_ledger *ledger; /* told of what is put in place */
	const struct cas_transfer *transfer;
	const struct cargo_paths *paths;
	const char *directory;                /* real */
	const struct cargo_strings *expected; /* names */
	const struct cargo_arguments *arguments;
	/* The rest is ours. */
	struct cargo_output *items;
	size_t count;
	struct buffer dep_info; /* as the action wrote it */
	struct buffer errors;   /* standard error, with real paths */
	uint64_t bytes;         /* fetched */
};

bool cargo_outputs_is_dep_info(const char *path);
/* After the borrowed fields are set. */
void cargo_outputs_init(struct cargo_outputs *outputs);
/* What was not put in place is removed. */
void cargo_outputs_clear(struct cargo_outputs *outputs);

/* Of a result that is still to come: its dep-info, as the action wrote it, or
 * any other file. The latter is in its place after cargo_outputs_put; when the
 * result has another one then, that is FAILED_PRECONDITION. */
int cargo_outputs_fetch_early(struct cargo_outputs *outputs,
    const Reapi__OutputFile *file, struct error *err);
/* The one of the files that is expected and has this end; or NULL. */
const Reapi__OutputFile *cargo_outputs_find(const struct cargo_outputs *outputs,
    Reapi__OutputFile *const *files, size_t count, const char *end);
/* NOT_FOUND when the result, or the server, lacks one that must be there. */
int cargo_outputs_fetch(struct cargo_outputs *outputs,
    const Reapi__ActionResult *result, struct error *err);
/* What the compiler wrote on standard error, and nothing else. */
int cargo_outputs_fetch_errors(struct cargo_outputs *outputs,
    const Reapi__ActionResult *result, struct error *err);
int cargo_outputs_put(struct cargo_outputs *outputs, struct error *err);

#endif
