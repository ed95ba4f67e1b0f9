/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an action result came from: who handed it in, which worker ran the
 * action, for which target, with which toolchains. Stands behind the blobs of
 * its entry in the index (docs/store-format.md), so that the results of a bad
 * worker, writer or toolchain can be found and removed, and no others. What a
 * client says of itself (target, mnemonic, invocation) is recorded, not
 * believed. Pure, but provenance_find_toolchains; any thread.
 */
#ifndef TOOLROOT_CAS_PROVENANCE_H
#define TOOLROOT_CAS_PROVENANCE_H

#include <stddef.h>

#include "base/str.h"
#include "cas/digest.h"
#include "cas/toolchain_root.h"

struct buffer;
struct store;

/* Longer texts are cut. */
#define PROVENANCE_TEXT_MAX 512u
/* What provenance_encode appends at most. */
#define PROVENANCE_SIZE_MAX \
	(5 * (PROVENANCE_TEXT_MAX + 20) + \
	    TOOLCHAIN_ROOTS_MAX * (DIGEST_TEXT_MAX + 20))

/* Borrowed texts, "" = not known. */
struct provenance {
	struct str writer; /* a certificate's name, else a peer's address */
	struct str worker; /* its name; "" when a client ran the action */
	struct str target; /* RequestMetadata.target_id */
	struct str mnemonic;
	struct str invocation;
	struct digest toolchains[TOOLCHAIN_ROOTS_MAX];
	size_t toolchain_count;
};

/* 0, or -1 at the buffer's limit. */
int provenance_encode(
    const struct provenance *provenance, struct buffer *buffer);
/* Texts point into bytes. What is not understood is passed over; false when
 * nothing is known: it was written before provenance was kept. */
bool provenance_decode(struct str bytes, struct provenance *provenance);

/* The toolchain roots that an action names, if it and its command are in the
 * store (a cache's clients need not upload them). Blocks. */
void provenance_find_toolchains(struct store *store,
    const struct digest *action, struct provenance *provenance);

#endif
