/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests as they travel: between REAPI's Digest message and our value. Pure
 * functions, any thread.
 */
#ifndef TOOLROOT_CAS_DIGEST_MESSAGE_H
#define TOOLROOT_CAS_DIGEST_MESSAGE_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "cas/digest.h"

struct arena;
struct error;

/* Checked as digest_parse does; a message that is absent (NULL) is
 * INVALID_ARGUMENT too. */
int digest_from_message(enum digest_function function,
    const Reapi__Digest *message, struct digest *digest, struct error *err);
/* What an encoded Digest says, unchecked; hash points into it and is "" where
 * there is none. 0, or -1 when it is malformed. */
int digest_message_read(struct str encoded, struct str *hash, int64_t *size);
/* message borrows the text, which holds the hash. */
void digest_to_message(const struct digest *digest,
    char text[static DIGEST_TEXT_MAX], Reapi__Digest *message);
/* All in the arena; NULL at its cap. */
Reapi__Digest *digest_message_new(
    struct arena *arena, const struct digest *digest);

#endif
