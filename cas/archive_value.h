/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bodies of an archive's entries, by the byte in docs/store-format.md.
 * Pure functions; what is decoded points into the bytes given. Appending fails
 * past the buffer's limit; a limit of ARCHIVE_VALUE_MAX has room for any but a
 * result.
 */
#ifndef TOOLROOT_CAS_ARCHIVE_VALUE_H
#define TOOLROOT_CAS_ARCHIVE_VALUE_H

#include <stddef.h>

#include "base/str.h"
#include "cas/digest.h"

struct action_key;
struct action_value;
struct buffer;
struct error;
struct name_entry;
struct name_key;
struct pin;
struct provenance;

/* Of any entry but a blob. */
#define ARCHIVE_VALUE_MAX ((size_t)72 << 20)
/* An encoded digest: function, size, hash. */
#define ARCHIVE_DIGEST_MAX (1 + 8 + DIGEST_HASH_MAX)

void archive_value_digest(struct buffer *buffer, const struct digest *digest);
int archive_value_result(struct buffer *buffer,
    const struct action_value *value, const struct provenance *provenance);
void archive_value_name(struct buffer *buffer, const struct name_key *key,
    const struct name_entry *entry);
void archive_value_pin(struct buffer *buffer, const struct pin *pin);

/* INVALID_ARGUMENT when it is malformed. */
int archive_decode_result(struct str bytes, struct action_key *key,
    struct str *result, struct provenance *provenance, struct error *err);
int archive_decode_name(struct str bytes, struct name_key *key,
    struct name_entry *entry, struct error *err);
int archive_decode_pin(struct str bytes, struct pin *pin, struct error *err);

#endif
