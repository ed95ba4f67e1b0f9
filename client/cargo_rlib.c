/* SPDX-License-Identifier: Apache-2.0 */
/* The few members that come first are looked at, and the start of one. */
#include "client/cargo_rlib.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/digest.h"

#define MAGIC "!<arch>\n"
#define MAGIC_SIZE 8
#define HEADER_SIZE 60
/* Two tables of names precede it. */
#define MEMBERS_MAX 8
#define NAME "lib.rmeta"
/* Around it there is the header of an object file. */
#define START "rust\0\0\0"
#define START_SIZE 7
#define WRAPPING_MAX 4096
#define PIECE ((size_t)256 << 10)

int
cargo_rlib_member(
    const char header[static HEADER_SIZE], struct str *name, uint64_t *size)
{
	char digits[11];
	char *end;

	if (header[58] != '`' || header[59] != '\n')
		return 0;
	*name = (struct str){header, 16};
	while (name->len > 0 && (name->data[name->len - 1] == ' ' ||
				    name->data[name->len - 1] == '/'))
		name->len--;
	memcpy(digits, header + 48, 10);
	digits[10] = '\0';
	*size = strtoull(digits, &end, 10);
	return end != digits && digits[0] != '-' ? 1 : 0;
}

/* All of it, or false. */
static bool
read_at(int fd, void *data, size_t size, uint64_t offset)
{
	struct error ignored; /* what cannot be read is not there */

	return file_pread(fd, data, size, offset, &ignored) == 0;
}

/* Where the member is; false when there is none. */
static bool
find_member(int library, uint64_t *offset, uint64_t *size)
{
	char header[HEADER_SIZE];
	struct str name;
	uint64_t at = MAGIC_SIZE;

	if (!read_at(library, header, MAGIC_SIZE, 0) ||
	    memcmp(header, MAGIC, MAGIC_SIZE) != 0)
		return false;
	for (int i = 0; i < MEMBERS_MAX; i++) {
		if (!read_at(library, header, HEADER_SIZE, at) ||
		    cargo_rlib_member(header, &name, size) == 0)
			return false;
		at += HEADER_SIZE;
		*offset = at;
		if (str_equal(name, STR(NAME)))
			return true;
		at += *size + *size % 2;
	}
	return false;
}

/* Where so many bytes of metadata may begin. */
static bool
find_start(int library, uint64_t wanted, uint64_t *offset)
{
	char start[WRAPPING_MAX];
	const char *found;
	uint64_t size;
	size_t length;

	if (!find_member(library, offset, &size) || size < wanted)
		return false;
	length = size < sizeof(start) ? (size_t)size : sizeof(start);
	if (!read_at(library, start, length, *offset))
		return false;
	found = memmem(start, length, START, START_SIZE);
	if (found == NULL || size - (uint64_t)(found - start) < wanted)
		return false;
	*offset += (uint64_t)(found - start);
	return true;
}

static int
copy(int library, uint64_t offset, const struct digest *digest, int fd,
    struct digest *actual, struct error *err)
{
	struct digest_hasher *hasher = digest_hasher_new(digest->function);
	char *piece = xmalloc(PIECE);
	uint64_t done = 0;
	int rc = 0;

	while (done < digest->size && rc == 0) {
		uint64_t left = digest->size - done;
		size_t size = left < PIECE ? (size_t)left : PIECE;

		rc = file_pread(library, piece, size, offset + done, err);
		if (rc == 0) {
			digest_hasher_update(hasher, piece, size);
			rc = file_pwrite(fd, piece, size, done, err);
		}
		done += size;
	}
	digest_hasher_finish(hasher, actual);
	digest_hasher_free(hasher);
	free(piece);
	return rc;
}

int
cargo_rlib_extract(
    int library, const struct digest *digest, int fd, struct error *err)
{
	struct digest actual;
	uint64_t offset;

	if (!find_start(library, digest->size, &offset))
		return 0;
	if (copy(library, offset, digest, fd, &actual, err) < 0)
		return -1;
	return digest_equal(&actual, digest) ? 1 : 0;
}
