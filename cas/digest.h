/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests: the name of a blob is the hash of its bytes together with their
 * number (REAPI `Digest`). Plain values, any thread.
 *
 * The digest function is part of the value, so digests of different functions
 * never compare equal. Which functions a server accepts is its setting; this
 * module knows all that it can compute.
 */
#ifndef TOOLROOT_CAS_DIGEST_H
#define TOOLROOT_CAS_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/str.h"

struct error;

/* The numbers of REAPI's DigestFunction.Value. */
enum digest_function {
	DIGEST_UNKNOWN = 0,
	DIGEST_SHA256 = 1,
	DIGEST_SHA1 = 2,
	DIGEST_SHA384 = 5,
	DIGEST_SHA512 = 6,
};

#define DIGEST_HASH_MAX 64 /* bytes of the longest hash */
/* "<hash>/<size>" and NUL. */
#define DIGEST_TEXT_MAX (2 * DIGEST_HASH_MAX + 1 + 20 + 1)
/* Sizes are int64 on the wire. */
#define DIGEST_SIZE_MAX INT64_MAX

struct digest {
	uint64_t size; /* bytes of the blob, at most DIGEST_SIZE_MAX */
	enum digest_function function;
	uint8_t hash[DIGEST_HASH_MAX]; /* zero past the function's length */
};

/* Bytes of a hash, 0 for a function that we cannot compute. */
size_t digest_hash_length(enum digest_function function);
/* "sha256", as in resource names and directories. */
const char *digest_function_name(enum digest_function function);
/* From the lower-case name; DIGEST_UNKNOWN for any other text. */
enum digest_function digest_function_parse(struct str name);
/* The one of SHA256, SHA1, SHA384, SHA512 whose hash has so many hexadecimal
 * characters: how REAPI infers a function that a request leaves out. */
enum digest_function digest_function_from_hex_length(size_t characters);

/* From lower-case hexadecimal and a size. function DIGEST_UNKNOWN: inferred
 * from the length. INVALID_ARGUMENT names what is wrong: length, a character
 * (capitals too: the specification wants lower case), a negative size, or a
 * size other than 0 with the hash of the empty blob and the reverse. */
int digest_parse(enum digest_function function, struct str hash, int64_t size,
    struct digest *digest, struct error *err);
/* From "<hash>/<size>". */
int digest_parse_text(enum digest_function function, struct str text,
    struct digest *digest, struct error *err);
/* Writes "<hash>/<size>" and returns text. */
const char *digest_format(
    const struct digest *digest, char text[static DIGEST_TEXT_MAX]);
/* Writes the hash alone in hexadecimal, NUL-terminated; returns text. */
const char *digest_format_hash(
    const struct digest *digest, char text[static DIGEST_TEXT_MAX]);
bool digest_equal(const struct digest *a, const struct digest *b);
/* Total order: function, hash, size. */
int digest_compare(const struct digest *a, const struct digest *b);
/* The bytes that tell digests apart, for a map; borrows from digest. */
static inline struct str
digest_key(const struct digest *digest)
{
	return (struct str){
	    (const char *)digest, offsetof(struct digest, hash) +
				      digest_hash_length(digest->function)};
}
/* The digest of no bytes. */
void digest_empty(enum digest_function function, struct digest *digest);
bool digest_is_empty(const struct digest *digest);
/* Of bytes in memory. function is one that we can compute. */
void digest_compute_parts(enum digest_function function,
    const struct iovec *parts, size_t count, struct digest *digest);
void digest_compute(enum digest_function function, const void *data, size_t len,
    struct digest *digest);

/* Incremental hashing: new, update any number of times, finish, and from the
 * start again with reset. One thread at a time. */
struct digest_hasher;
struct digest_hasher *digest_hasher_new(enum digest_function function);
void digest_hasher_free(struct digest_hasher *hasher);
void digest_hasher_reset(struct digest_hasher *hasher);
void digest_hasher_update(
    struct digest_hasher *hasher, const void *data, size_t len);
void digest_hasher_finish(struct digest_hasher *hasher, struct digest *digest);

#endif
