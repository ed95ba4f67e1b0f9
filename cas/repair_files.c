/* SPDX-License-Identifier: Apache-2.0 */
/* Files of large blobs against the hash in their names. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zstd.h>

#include "base/file.h"
#include "base/memory.h"
#include "cas/repair_internal.h"
#include "cas/store_internal.h"
#include "cas/zstd_verify.h"

#define PIECE ((size_t)256 << 10)

/* One pass over blobs/. */
struct file_pass {
	struct repair *repair;
	bool measure; /* only count bytes */
	uint64_t bytes;
	uint8_t *in; /* PIECE bytes each */
	uint8_t *out;
	ZSTD_DCtx *decoder;
};

/* --- one file ------------------------------------------------------------- */

static int
zstd_fail(size_t rc, struct error *err)
{
	if (zstd_out_of_memory(rc))
		return error_set(
		    err, ERROR_RESOURCE_EXHAUSTED, "memory for zstd");
	return error_set(err, ERROR_DATA_LOSS, "its zstd data is damaged: %s",
	    ZSTD_getErrorName(rc));
}

/* Decodes a piece into the hasher. *open: a frame is not complete. */
static int
hash_zstd(struct file_pass *pass, size_t len, struct digest_hasher *hasher,
    uint64_t *size, bool *open, struct error *err)
{
	ZSTD_inBuffer in = {pass->in, len, 0};
	bool full = false;

	while (in.pos < in.size || full) {
		ZSTD_outBuffer out = {pass->out, PIECE, 0};
		size_t rc = ZSTD_decompressStream(pass->decoder, &out, &in);

		if (ZSTD_isError(rc))
			return zstd_fail(rc, err);
		digest_hasher_update(hasher, pass->out, out.pos);
		*size += out.pos;
		*open = rc != 0;
		/* After a frame's end nothing is held back, and another call
		 * would begin a frame. */
		full = rc != 0 && out.pos == out.size;
	}
	return 0;
}

/* The digest of what the file holds. DATA_LOSS when it is damaged. */
static int
hash_file(struct file_pass *pass, int fd, bool compressed,
    struct digest *computed, struct error *err)
{
	struct digest_hasher *hasher = digest_hasher_new(computed->function);
	uint64_t size = 0;
	bool open = false;
	ssize_t length = 1;
	int rc = 0;

	(void)ZSTD_DCtx_reset(pass->decoder, ZSTD_reset_session_only);
	while (rc == 0 && length > 0) {
		do
			length = read(fd, pass->in, PIECE);
		while (length == -1 && errno == EINTR);
		if (length == -1) {
			rc = error_set_errno(err, errno, "read");
		} else if (compressed) {
			rc = hash_zstd(
			    pass, (size_t)length, hasher, &size, &open, err);
		} else {
			digest_hasher_update(hasher, pass->in, (size_t)length);
			size += (uint64_t)length;
		}
		if (length > 0)
			repair_progress(pass->repair, (uint64_t)length);
	}
	if (rc == 0 && open)
		rc =
		    error_set(err, ERROR_DATA_LOSS, "its zstd data is cut off");
	digest_hasher_finish(hasher, computed);
	digest_hasher_free(hasher);
	computed->size = size;
	return rc;
}

static int
file_is_bad(struct file_pass *pass, const char *path, const char *why,
    struct error *err)
{
	pass->repair->report->bad_blobs++;
	repair_tell(pass->repair, path, why);
	if (unlinkat(pass->repair->store->blobs, path, 0) == 0)
		return 0;
	return error_set_errno(err, errno, "remove blobs/%s", path);
}

static void
file_is_stray(struct file_pass *pass, const char *path)
{
	pass->repair->report->strays++;
	repair_tell(pass->repair, path, "is no blob's file; it was left");
}

/* The digest that the name tells, but for the size; *compressed. */
static int
parse_name(enum digest_function function, const char *name,
    struct digest *digest, bool *compressed)
{
	size_t length = 2 * digest_hash_length(function);
	struct error ignored;

	if (strlen(name) < length ||
	    (name[length] != '\0' && strcmp(name + length, ".zst") != 0))
		return -1;
	*compressed = name[length] != '\0';
	return digest_parse(
	    function, (struct str){name, length}, 1, digest, &ignored);
}

static int
take_file(struct file_pass *pass, int fd, const char *path,
    struct digest *digest, bool compressed, struct error *err)
{
	struct place place = {.kind = PLACE_FILE,
	    .encoding = compressed ? ENCODING_ZSTD : ENCODING_IDENTITY};
	struct digest computed = {.function = digest->function};
	struct stat status;
	struct error bad;

	if (fstat(fd, &status) == -1)
		return error_set_errno(err, errno, "blobs/%s", path);
	if (hash_file(pass, fd, compressed, &computed, &bad) < 0) {
		/* One that cannot be read now may be sound. */
		if (bad.code != ERROR_DATA_LOSS)
			return error_set(
			    err, bad.code, "blobs/%s: %s", path, bad.text);
		return file_is_bad(pass, path, bad.text, err);
	}
	if (memcmp(computed.hash, digest->hash, sizeof(digest->hash)) != 0)
		return file_is_bad(
		    pass, path, "is not what its name says", err);
	place.size = computed.size;
	place.stored_size = (uint64_t)status.st_size;
	place.epoch = repair_epoch(status.st_mtime);
	pass->repair->report->large_blobs++;
	return repair_add(pass->repair, &computed, &place, err);
}

static int
visit_file(void *cookie, enum digest_function function, const char *path,
    const char *name, struct error *err)
{
	struct file_pass *pass = cookie;
	struct digest digest;
	struct stat status;
	bool compressed;
	int fd, rc;

	if (fstatat(pass->repair->store->blobs, path, &status,
		AT_SYMLINK_NOFOLLOW) == -1)
		return error_set_errno(err, errno, "blobs/%s", path);
	if (pass->measure) {
		pass->bytes += (uint64_t)status.st_size;
		return 0;
	}
	if (!S_ISREG(status.st_mode) ||
	    parse_name(function, name, &digest, &compressed) < 0) {
		file_is_stray(pass, path);
		return 0;
	}
	fd = openat(pass->repair->store->blobs, path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return error_set_errno(err, errno, "open blobs/%s", path);
	rc = take_file(pass, fd, path, &digest, compressed, err);
	file_close(&fd);
	return rc;
}

/* --- all of them ---------------------------------------------------------- */

int
repair_measure_files(struct repair *repair, uint64_t *bytes, struct error *err)
{
	struct file_pass pass = {.repair = repair, .measure = true};
	int rc = blob_file_each(repair->store, 0, 256, visit_file, &pass, err);

	*bytes = pass.bytes;
	return rc;
}

int
repair_files(struct repair *repair, struct error *err)
{
	struct file_pass pass = {.repair = repair};
	int rc;

	pass.in = xmalloc(PIECE);
	pass.out = xmalloc(PIECE);
	pass.decoder = ZSTD_createDCtx();
	if (pass.decoder == NULL)
		rc =
		    error_set(err, ERROR_RESOURCE_EXHAUSTED, "memory for zstd");
	else
		rc = blob_file_each(
		    repair->store, 0, 256, visit_file, &pass, err);
	ZSTD_freeDCtx(pass.decoder);
	free(pass.in);
	free(pass.out);
	return rc;
}
