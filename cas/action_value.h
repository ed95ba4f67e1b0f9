/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries of the actions table: a message and, beside it, the list of every
 * blob that it needs. The layout is in docs/store-format.md. Pure functions;
 * what is decoded points into the bytes given.
 */
#ifndef TOOLROOT_CAS_ACTION_VALUE_H
#define TOOLROOT_CAS_ACTION_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "cas/digest.h"

struct action_key;
struct buffer;
struct digest_list;
struct error;
struct provenance;

struct action_value {
	uint64_t written_at; /* wall clock, ns: tells versions apart */
	uint32_t epoch;
	uint32_t count; /* of blobs */
	struct digest action;
	struct str instance;
	struct str result;
	/* As many encoded digests follow, and the provenance behind them. */
	const uint8_t *blobs;
	size_t blobs_length;
};

/* The name of an entry, and its bytes in the table. */
void action_key_digest(const struct action_key *key, struct digest *name);
struct str action_key_bytes(const struct digest *name);

/* Appended to value; -1 past its limit. provenance may be NULL. owner: the
 * number that the store counts the instance by, 0 = none. */
int action_value_encode(const struct action_key *key, uint16_t owner,
    struct str result, const struct digest_list *blobs,
    const struct provenance *provenance, struct buffer *value);
/* DATA_LOSS when it is malformed. */
int action_value_decode(
    struct str bytes, struct action_value *value, struct error *err);
/* Takes an encoded digest off *rest. 0, or -1 when it is none. */
int action_value_take_digest(struct str *rest, struct digest *digest);
/* False when the entry is another's, or not what was written: bits that
 * flipped in the index. Those of early builds have no checksum. */
bool action_value_is_sound(
    struct str key, struct str bytes, const struct action_value *value);
/* The owner; 0 when none was recorded, or it is malformed. */
uint16_t action_value_owner(struct str bytes);
/* What stands behind the blobs. False when nothing does. */
bool action_value_provenance(
    const struct action_value *value, struct provenance *provenance);

#endif
