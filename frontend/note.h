/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A note: what happened to an action, as it waits for the explainer. Notes
 * stand one behind the other in chunks, so that one costs hardly more than its
 * copy; one of an action that is remembered is a line of the cache, and says
 * where in its chunk another has told its build. One thread writes into a
 * chunk; another may read at the same time what is published. Pure.
 */
#ifndef TOOLROOT_FRONTEND_NOTE_H
#define TOOLROOT_FRONTEND_NOTE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/queue.h>

#include "base/str.h"
#include "cas/digest.h"

struct action_key;

#define NOTE_CHUNK_SIZE (32u << 10)
/* Of chunks, and of notes in them: a line of the cache. */
#define NOTE_ALIGNMENT 64
/* Longer texts are cut. */
#define NOTE_TEXT_MAX 2048
/* What frontend/resource_name.h allows is less. Any note fits into a chunk. */
#define NOTE_INSTANCE_MAX 4096

/* Of a known one mnemonic and target are not told, since its action is
 * remembered. */
enum note_hit { NOT_A_HIT, A_HIT, A_KNOWN_HIT };

/* No bit-fields: to set one is to read what is there before, and to wait for
 * memory. */
struct note {
	uint64_t action_size; /* of the digest */
	uint64_t after;       /* so many notes but hits came before it */
	uint16_t size;        /* with what follows it: hash, texts */
	int16_t build; /* where instance and invocation stand, from here */
	uint16_t instance_len;
	uint16_t invocation_len;
	uint16_t mnemonic_len;
	uint16_t target_len;
	uint8_t function; /* of the digest */
	uint8_t hit;      /* enum note_hit */
	bool miss;
	bool result; /* there is one now */
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
	    next; /* in a lane; then this one is full */
	/* Bytes that are published; of the last chunk of a lane the lane
	 * knows. */
	atomic_size_t used;
	_Alignas(NOTE_ALIGNMENT) char bytes[NOTE_CHUNK_SIZE];
};
STAILQ_HEAD(note_chunk_list, note_chunk);

/* Where a chunk has instance and invocation of some notes. at 0: nowhere. */
struct note_build {
	uint16_t at;
	uint8_t instance_len;
	uint8_t invocation_len;
};

/* Puts a note of the action, of an instance whose name is no longer than
 * NOTE_INSTANCE_MAX, behind the `used` bytes that the chunk has: `what`
 * with the lengths, and what follows. Returns how many it has then, 0: no room.
 * Not published. The chunk's writer. */
size_t note_put(struct note_chunk *chunk, size_t used, const struct note *what,
    const struct action_key *key, const struct note_texts *texts);
/* Where the note that was put there has its build; nowhere when that is too
 * long to refer to. */
struct note_build note_build(const struct note_chunk *chunk, size_t at);
/* Whether that is the same. */
__attribute__((hot)) bool note_has_build(const struct note_chunk *chunk,
    const struct note_build *build, struct str instance, struct str invocation);

/* The same as note_put of a known hit, of an action named by SHA-256, as nearly
 * all are, and of a build that the chunk has. */
#define NOTE_KNOWN_HASH 32
static inline size_t
note_put_known(struct note_chunk *chunk, size_t used,
    const struct note_build *build, const struct digest *action, uint64_t after)
{
	struct note *note = (void *)(chunk->bytes + used);
	size_t size = sizeof(*note) + NOTE_KNOWN_HASH;

	if (size > NOTE_CHUNK_SIZE - used)
		return 0;
	note->action_size = action->size;
	note->after = after;
	note->size = (uint16_t)size;
	note->build = (int16_t)(build->at - used);
	note->instance_len = build->instance_len;
	note->invocation_len = build->invocation_len;
	note->mnemonic_len = 0;
	note->target_len = 0;
	note->function = DIGEST_SHA256;
	note->hit = A_KNOWN_HIT;
	note->miss = false;
	note->result = true;
	memcpy(note + 1, action->hash, NOTE_KNOWN_HASH);
	return used + size;
}

/* To those who read `used`. The chunk's writer. */
void note_publish(struct note_chunk *chunk, size_t used);
/* Parts point into the note. */
void note_read(
    const struct note *note, struct action_key *key, struct note_texts *texts);

#endif
