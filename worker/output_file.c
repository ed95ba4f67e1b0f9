/* SPDX-License-Identifier: Apache-2.0 */
/* Digests of output files, and small messages in the arena. No state. */
#include "worker/output_file.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/memory.h"
#include "worker/run_command.h"

#define CHUNK ((size_t)256 << 10)
/* Files up to this size are kept in memory for the upload, as long as all of
 * them together stay below the second bound. */
#define HOLD_MAX ((size_t)64 << 10)
#define HOLD_TOTAL_MAX ((uint64_t)32 << 20)

int
output_no_memory(struct error *err)
{
	return error_set(err, ERROR_RESOURCE_EXHAUSTED,
	    "the action has more outputs than fit into one result");
}

ProtobufCBinaryData
output_bytes(struct str text)
{
	return (ProtobufCBinaryData){
	    .len = text.len, .data = (uint8_t *)(uintptr_t)text.data};
}

Reapi__Digest *
output_digest(
    struct outputs *outputs, const struct digest *digest, struct error *err)
{
	Reapi__Digest *message = arena_alloc(outputs->arena, sizeof(*message));
	char hash[DIGEST_TEXT_MAX];
	char *copy = arena_copy(
	    outputs->arena, str_from(digest_format_hash(digest, hash)));

	if (message == NULL || copy == NULL) {
		output_no_memory(err);
		return NULL;
	}
	reapi__digest__init(message);
	message->hash = output_bytes(str_from(copy));
	message->size_bytes = (int64_t)digest->size;
	return message;
}

static int
add_blob(struct outputs *outputs, const struct output_blob *blob)
{
	if (outputs->blob_count == outputs->blob_capacity) {
		outputs->blob_capacity = outputs->blob_capacity * 2 + 16;
		outputs->blobs = xreallocarray(outputs->blobs,
		    outputs->blob_capacity, sizeof(*outputs->blobs));
	}
	outputs->blobs[outputs->blob_count++] = *blob;
	return 0;
}

int
outputs_add_content(struct outputs *outputs, struct str content,
    Reapi__Digest **digest, struct error *err)
{
	struct output_blob blob = {.content = content};

	digest_compute(
	    outputs->function, content.data, content.len, &blob.digest);
	*digest = output_digest(outputs, &blob.digest, err);
	if (*digest == NULL)
		return -1;
	return add_blob(outputs, &blob);
}

static int
read_error(const char *path, struct error *err)
{
	return error_set_errno(err, errno, "read output %.200s", path);
}

/* Whole into the arena, where it is small enough. 1 done, 0 too large, -1. */
static int
hold(struct outputs *outputs, const struct output_source *source,
    struct output_blob *blob, struct error *err)
{
	size_t size = (size_t)source->status->st_size;
	ssize_t len;
	char *data;

	if (source->status->st_size > (off_t)HOLD_MAX ||
	    outputs->content_bytes + size > HOLD_TOTAL_MAX)
		return 0;
	data = arena_alloc(outputs->arena, size + 1);
	if (data == NULL)
		return output_no_memory(err);
	len = pread(source->fd, data, size, 0);
	if (len == -1)
		return read_error(source->path, err);
	blob->content = (struct str){data, (size_t)len};
	outputs->content_bytes += (size_t)len;
	digest_compute(outputs->function, data, (size_t)len, &blob->digest);
	return 1;
}

/* No more than it had when it was opened: an action that still runs could make
 * it grow without end. */
static int
hash_file(struct outputs *outputs, const struct output_source *source,
    struct digest *digest, struct error *err)
{
	struct digest_hasher *hasher = digest_hasher_new(outputs->function);
	size_t left = (size_t)source->status->st_size;
	char *chunk = xmalloc(CHUNK);
	ssize_t len;

	while (
	    (len = read(source->fd, chunk, left < CHUNK ? left : CHUNK)) > 0) {
		digest_hasher_update(hasher, chunk, (size_t)len);
		left -= (size_t)len;
	}
	digest_hasher_finish(hasher, digest);
	digest_hasher_free(hasher);
	free(chunk);
	return len == -1 ? read_error(source->path, err) : 0;
}

int
output_file_add(struct outputs *outputs, const struct output_source *source,
    struct digest *digest, struct error *err)
{
	const struct stat *status = source->status;
	struct output_blob blob = {.path = source->path};
	int held;

	if ((uint64_t)status->st_size > outputs->max_file_size &&
	    status->st_blocks < status->st_size / 512)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "output %.200s claims %lld bytes, most of them holes: "
		    "more than the sandbox may hold",
		    source->path, (long long)status->st_size);
	held = hold(outputs, source, &blob, err);
	if (held < 0)
		return -1;
	if (held == 0) {
		blob.path = arena_copy(outputs->arena, str_from(source->path));
		if (blob.path == NULL)
			return output_no_memory(err);
		if (hash_file(outputs, source, &blob.digest, err) < 0)
			return -1;
	}
	*digest = blob.digest;
	return add_blob(outputs, &blob);
}

int
output_properties(struct outputs *outputs, const struct stat *status,
    Reapi__NodeProperties **properties, struct error *err)
{
	struct arena *arena = outputs->arena;
	Reapi__NodeProperties *message;

	*properties = NULL;
	if (!outputs->command->want_mode && !outputs->command->want_mtime)
		return 0;
	message = arena_alloc(arena, sizeof(*message));
	if (message == NULL)
		return output_no_memory(err);
	reapi__node_properties__init(message);
	if (outputs->command->want_mode) {
		Google__Protobuf__UInt32Value *mode =
		    arena_alloc(arena, sizeof(*mode));

		if (mode == NULL)
			return output_no_memory(err);
		google__protobuf__uint32_value__init(mode);
		mode->value = status->st_mode & 07777;
		message->unix_mode = mode;
	}
	if (outputs->command->want_mtime) {
		Google__Protobuf__Timestamp *mtime =
		    arena_alloc(arena, sizeof(*mtime));

		if (mtime == NULL)
			return output_no_memory(err);
		google__protobuf__timestamp__init(mtime);
		mtime->seconds = status->st_mtim.tv_sec;
		mtime->nanos = (int32_t)status->st_mtim.tv_nsec;
		message->mtime = mtime;
	}
	*properties = message;
	return 0;
}

void
outputs_clear(struct outputs *outputs)
{
	free(outputs->blobs);
	outputs->blobs = NULL;
	outputs->blob_count = outputs->blob_capacity = 0;
}
