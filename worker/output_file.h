/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One file or tree among the outputs. Part of worker/outputs.c: the pieces
 * that outputs and output directories have in common.
 */
#ifndef TOOLROOT_WORKER_OUTPUT_FILE_H
#define TOOLROOT_WORKER_OUTPUT_FILE_H

#include <sys/stat.h>

#include "worker/outputs.h"

/* Digests the open file, of which path is the name below the input root, and
 * adds it to the blobs. */
struct output_source {
	int fd;
	const char *path;
	const struct stat *status;
};
int output_file_add(struct outputs *outputs, const struct output_source *source,
    struct digest *digest, struct error *err);

/* Messages in the arena; NULL with RESOURCE_EXHAUSTED at its cap. */
Reapi__Digest *output_digest(
    struct outputs *outputs, const struct digest *digest, struct error *err);
/* The properties that the command asked for: *properties NULL when none. */
int output_properties(struct outputs *outputs, const struct stat *status,
    Reapi__NodeProperties **properties, struct error *err);
ProtobufCBinaryData output_bytes(struct str text);
int output_no_memory(struct error *err);

/* The tree below fd, which is taken, as an OutputDirectory with the format
 * that the command asks for. */
int output_directory_add(struct outputs *outputs, int fd, const char *place,
    Reapi__OutputDirectory *directory, struct error *err);

#endif
