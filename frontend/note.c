/* SPDX-License-Identifier: Apache-2.0 */
/* Only as much of the hash is kept as counts: the fewer bytes, the fewer lines
 * of the cache a call takes from the next ones. */
#include "frontend/note.h"

#include <assert.h>
#include <string.h>

#include "cas/digest.h"
#include "cas/store.h"

_Static_assert(sizeof(struct note) + DIGEST_HASH_MAX + NOTE_INSTANCE_MAX +
		       NOTE_METADATA_MAX + 8 <
		   NOTE_CHUNK_SIZE,
    "any note fits into a chunk");

static char *
append(char *end, const void *data, size_t len)
{
	if (len > 0)
		memcpy(end, data, len);
	return end + len;
}

size_t
note_put(struct note_chunk *chunk, size_t used, const struct note *what,
    const struct action_key *key, struct str metadata)
{
	size_t hash_len = digest_hash_length(key->action.function);
	struct note *note = (void *)(chunk->bytes + used);
	size_t size;
	char *end;

	assert(key->instance.len <= NOTE_INSTANCE_MAX);
	if (metadata.len > NOTE_METADATA_MAX)
		metadata.len = 0;
	size = sizeof(*note) + hash_len + key->instance.len + metadata.len;
	size = (size + 7) / 8 * 8;
	if (size > NOTE_CHUNK_SIZE - used)
		return 0;
	*note = *what;
	note->action_size = key->action.size;
	note->size = (uint16_t)size;
	note->instance_len = (uint16_t)key->instance.len;
	note->metadata_len = (uint16_t)metadata.len;
	note->function = (uint8_t)key->action.function;
	end = append((char *)(note + 1), key->action.hash, hash_len);
	end = append(end, key->instance.data, key->instance.len);
	append(end, metadata.data, metadata.len);
	return used + size;
}

void
note_publish(struct note_chunk *chunk, size_t used)
{
	atomic_store_explicit(&chunk->used, used, memory_order_release);
}

void
note_read(const struct note *note, struct action_key *key, struct str *metadata)
{
	enum digest_function function = (enum digest_function)note->function;
	size_t hash_len = digest_hash_length(function);
	const char *hash = (const char *)(note + 1);

	*key = (struct action_key){
	    .instance = {hash + hash_len, note->instance_len},
	    .action = {.size = note->action_size, .function = function}};
	memcpy(key->action.hash, hash, hash_len);
	*metadata = (struct str){
	    key->instance.data + note->instance_len, note->metadata_len};
}
