/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A note: what happened to an action, as it waits for the explainer. Notes
 * stand one behind the other in chunks, so that one costs hardly more than its
 * copy. One thread writes into a chunk; another may read at the same time what
 * is published. Pure.
 */
#ifndef TOOLROOT_FRONTEND_NOTE_H
#define TOOLROOT_FRONTEND_NOTE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/str.h"

struct action_key;

#define NOTE_CHUNK_SIZE (32u << 10)
/* Longer texts are cut. */
#define NOTE_TEXT_MAX 2048
/* What frontend/resource_name.h allows is less. Any note fits into a chunk. */
#define NOTE_INSTANCE_MAX 4096

struct note {
	uint64_t action_size; /* of the digest */
	uint64_t after;       /* so many notes but hits came before it */
	uint16_t size;        /* with what follows it: hash, instance, texts */
	uint16_t instance_len;
	uint16_t invocation_len;
	uint16_t mnemonic_len;
	uint16_t target_len;
	uint8_t function; /* of the digest */
	bool hit : 1;
	bool miss : 1;
	bool result : 1; /* there is one now */
};

/* Of RequestMetadata what explaining needs: a third of what Bazel sends. */
struct note_texts {
	struct str invocation;
	struct str mnemonic;
	struct str target;
};

struct note_chunk {
	STAILQ_ENTRY(note_chunk) link;
	_Atomic(struct note_chunk *)
	    next;           /* in a lane; then this one is full */
	atomic_size_t used; /* bytes that are published */
	_Alignas(8) char bytes[NOTE_CHUNK_SIZE];
};
STAILQ_HEAD(note_chunk_list, note_chunk);

/* Puts a note of the action, of an instance whose name is no longer than
 * NOTE_INSTANCE_MAX, behind the `used` bytes that the chunk has: `what`
 * with the lengths, and what follows. Returns how many it has then, 0: no room.
 * Not published. The chunk's writer. */
size_t note_put(struct note_chunk *chunk, size_t used, const struct note *what,
    const struct action_key *key, const struct note_texts *texts);
/* To those who read `used`. The chunk's writer. */
void note_publish(struct note_chunk *chunk, size_t used);
/* Parts point into the note. */
void note_read(
    const struct note *note, struct action_key *key, struct note_texts *texts);

#endif
