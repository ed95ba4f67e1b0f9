/* SPDX-License-Identifier: Apache-2.0 */
/* Only what counts is kept, of the hash and of all else: the fewer bytes, the
 * fewer lines of the cache a call takes from the next ones. */
#include "frontend/note.h"

#include <assert.h>
#include <string.h>

#include "cas/digest.h"
#include "cas/store.h"

_Static_assert(sizeof(struct note) + DIGEST_HASH_MAX + NOTE_INSTANCE_MAX +
		       3 * NOTE_TEXT_MAX + NOTE_ALIGNMENT <
		   NOTE_CHUNK_SIZE,
    "any note fits into a chunk");

static char *
append(char *end, const void *data, size_t len)
{
	if (len > 0)
		memcpy(end, data, len);
	return end + len;
}

static size_t
text_len(struct str text)
{
	return text.len < NOTE_TEXT_MAX ? text.len : NOTE_TEXT_MAX;
}

size_t
note_put(struct note_chunk *chunk, size_t used, const struct note *what,
    const struct action_key *key, const struct note_texts *texts)
{
	size_t hash_len = digest_hash_length(key->action.function);
	size_t invocation_len = text_len(texts->invocation);
	size_t mnemonic_len = text_len(texts->mnemonic);
	size_t target_len = text_len(texts->target);
	struct note *note = (void *)(chunk->bytes + used);
	size_t size;
	char *end;

	assert(key->instance.len <= NOTE_INSTANCE_MAX);
	size = sizeof(*note) + hash_len + key->instance.len + invocation_len +
	       mnemonic_len + target_len;
	size = (size + NOTE_ALIGNMENT - 1) / NOTE_ALIGNMENT * NOTE_ALIGNMENT;
	if (size > NOTE_CHUNK_SIZE - used)
		return 0;
	*note = *what;
	note->action_size = key->action.size;
	note->size = (uint16_t)size;
	note->build = (int16_t)(sizeof(*note) + hash_len);
	note->instance_len = (uint16_t)key->instance.len;
	note->invocation_len = (uint16_t)invocation_len;
	note->mnemonic_len = (uint16_t)mnemonic_len;
	note->target_len = (uint16_t)target_len;
	note->function = (uint8_t)key->action.function;
	end = append((char *)(note + 1), key->action.hash, hash_len);
	end = append(end, key->instance.data, key->instance.len);
	end = append(end, texts->invocation.data, invocation_len);
	end = append(end, texts->mnemonic.data, mnemonic_len);
	append(end, texts->target.data, target_len);
	return used + size;
}

struct note_build
note_build(const struct note_chunk *chunk, size_t at)
{
	const struct note *note = (const void *)(chunk->bytes + at);

	if (note->instance_len > UINT8_MAX || note->invocation_len > UINT8_MAX)
		return (struct note_build){0, 0, 0};
	return (struct note_build){(uint16_t)(at + (size_t)note->build),
	    (uint8_t)note->instance_len, (uint8_t)note->invocation_len};
}

/* In place: memcmp would be a call into other pages. */
static inline bool
has_text(const char *at, struct str text)
{
	uint64_t a, b;

	for (; text.len >= sizeof(a); text.len -= sizeof(a)) {
		memcpy(&a, at, sizeof(a));
		memcpy(&b, text.data, sizeof(b));
		if (a != b)
			return false;
		at += sizeof(a);
		text.data += sizeof(b);
	}
	while (text.len > 0 && *at == *text.data) {
		at++;
		text.data++;
		text.len--;
	}
	return text.len == 0;
}

bool
note_has_build(const struct note_chunk *chunk, const struct note_build *build,
    struct str instance, struct str invocation)
{
	const char *at = chunk->bytes + build->at;

	return build->at != 0 && build->instance_len == instance.len &&
	       build->invocation_len == invocation.len &&
	       has_text(at, instance) &&
	       has_text(at + instance.len, invocation);
}

void
note_publish(struct note_chunk *chunk, size_t used)
{
	atomic_store_explicit(&chunk->used, used, memory_order_release);
}

static struct str
take(const char **at, size_t len)
{
	struct str text = {*at, len};

	*at += len;
	return text;
}

void
note_read(
    const struct note *note, struct action_key *key, struct note_texts *texts)
{
	enum digest_function function = (enum digest_function)note->function;
	size_t hash_len = digest_hash_length(function);
	const char *at = (const char *)(note + 1);
	const char *build = (const char *)note + note->build;

	*key = (struct action_key){
	    .action = {.size = note->action_size, .function = function}};
	memcpy(key->action.hash, take(&at, hash_len).data, hash_len);
	key->instance = take(&build, note->instance_len);
	texts->invocation = take(&build, note->invocation_len);
	/* Else nothing follows. */
	if (note->hit != A_KNOWN_HIT)
		at = build;
	texts->mnemonic = take(&at, note->mnemonic_len);
	texts->target = take(&at, note->target_len);
}
