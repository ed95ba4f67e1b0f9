/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests over OpenSSL. The algorithms are fetched once in the life of the
 * process, and digest_compute keeps one context a thread: with small blobs,
 * fetching and allocating would cost more than the hashing. Any thread.
 */
#include "cas/digest.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"

struct function_facts {
	const char *name;
	const char *algorithm; /* OpenSSL's name */
	size_t hash_length;
};

static const struct function_facts function_facts[] = {
    [DIGEST_SHA256] = {"sha256", "SHA256", 32},
    [DIGEST_SHA1] = {"sha1", "SHA1", 20},
    [DIGEST_SHA384] = {"sha384", "SHA384", 48},
    [DIGEST_SHA512] = {"sha512", "SHA512", 64},
};

#define FUNCTION_COUNT (sizeof(function_facts) / sizeof(function_facts[0]))

/* Written once under algorithms_once, constant afterwards. */
static pthread_once_t algorithms_once = PTHREAD_ONCE_INIT;
static EVP_MD *algorithms[FUNCTION_COUNT];
static struct digest empty_digests[FUNCTION_COUNT];
static pthread_key_t context_key;

/* The library itself is broken or out of memory: nothing can be verified. */
static void
digest_abort(const char *what)
{
	fprintf(stderr, "toolroot: OpenSSL: %s failed\n", what);
	abort();
}

static void
digest_run(EVP_MD_CTX *context, enum digest_function function,
    const struct iovec *parts, size_t count, struct digest *digest)
{
	memset(digest, 0, sizeof(*digest));
	digest->function = function;
	if (EVP_DigestInit_ex2(context, algorithms[function], NULL) != 1)
		digest_abort("EVP_DigestInit_ex2");
	for (size_t i = 0; i < count; i++) {
		digest->size += parts[i].iov_len;
		if (EVP_DigestUpdate(
			context, parts[i].iov_base, parts[i].iov_len) != 1)
			digest_abort("EVP_DigestUpdate");
	}
	if (EVP_DigestFinal_ex(context, digest->hash, NULL) != 1)
		digest_abort("EVP_DigestFinal_ex");
}

static EVP_MD_CTX *
digest_context_new(void)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();

	if (context == NULL)
		digest_abort("EVP_MD_CTX_new");
	return context;
}

static void
digest_context_free(void *context)
{
	EVP_MD_CTX_free(context);
}

static void
digest_load_algorithms(void)
{
	EVP_MD_CTX *context = digest_context_new();

	for (size_t i = 0; i < FUNCTION_COUNT; i++) {
		if (function_facts[i].name == NULL)
			continue;
		algorithms[i] =
		    EVP_MD_fetch(NULL, function_facts[i].algorithm, NULL);
		if (algorithms[i] == NULL)
			digest_abort("EVP_MD_fetch");
		digest_run(context, (enum digest_function)i, NULL, 0,
		    &empty_digests[i]);
	}
	EVP_MD_CTX_free(context);
	if (pthread_key_create(&context_key, digest_context_free) != 0)
		digest_abort("pthread_key_create");
}

static void
digest_need_algorithms(void)
{
	if (pthread_once(&algorithms_once, digest_load_algorithms) != 0)
		digest_abort("pthread_once");
}

size_t
digest_hash_length(enum digest_function function)
{
	if ((size_t)function >= FUNCTION_COUNT)
		return 0;
	return function_facts[function].hash_length;
}

const char *
digest_function_name(enum digest_function function)
{
	if (digest_hash_length(function) == 0)
		return "unknown";
	return function_facts[function].name;
}

enum digest_function
digest_function_parse(struct str name)
{
	for (size_t i = 0; i < FUNCTION_COUNT; i++) {
		if (function_facts[i].name != NULL &&
		    str_equal(name, str_from(function_facts[i].name)))
			return (enum digest_function)i;
	}
	return DIGEST_UNKNOWN;
}

enum digest_function
digest_function_from_hex_length(size_t characters)
{
	for (size_t i = 0; i < FUNCTION_COUNT; i++) {
		if (characters > 0 &&
		    characters == 2 * function_facts[i].hash_length)
			return (enum digest_function)i;
	}
	return DIGEST_UNKNOWN;
}

/* One more than the value of a lower-case digit, 0 for all else. A table, since
 * whether a digit is a letter cannot be predicted. */
static const uint8_t hex_values[256] = {['0'] = 1,
    ['1'] = 2,
    ['2'] = 3,
    ['3'] = 4,
    ['4'] = 5,
    ['5'] = 6,
    ['6'] = 7,
    ['7'] = 8,
    ['8'] = 9,
    ['9'] = 10,
    ['a'] = 11,
    ['b'] = 12,
    ['c'] = 13,
    ['d'] = 14,
    ['e'] = 15,
    ['f'] = 16};

static int
digest_parse_hash(struct str hash, struct digest *digest, struct error *err)
{
	for (size_t i = 0; i < hash.len; i += 2) {
		unsigned high = hex_values[(uint8_t)hash.data[i]];
		unsigned low = hex_values[(uint8_t)hash.data[i + 1]];

		if (high == 0 || low == 0)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "digest hash: character %zu is not a lower-case "
			    "hexadecimal digit",
			    i + (high == 0 ? 1 : 2));
		digest->hash[i / 2] = (uint8_t)((high - 1) << 4 | (low - 1));
	}
	return 0;
}

static int
digest_check_empty(const struct digest *digest, struct error *err)
{
	bool empty_hash =
	    memcmp(digest->hash, empty_digests[digest->function].hash,
		DIGEST_HASH_MAX) == 0;

	if (empty_hash && digest->size != 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "digest: the hash is that of the empty blob, the size is "
		    "%" PRIu64,
		    digest->size);
	if (!empty_hash && digest->size == 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "digest: the size is 0, the hash is not that of the "
		    "empty blob");
	return 0;
}

int
digest_parse(enum digest_function function, struct str hash, int64_t size,
    struct digest *digest, struct error *err)
{
	if (function == DIGEST_UNKNOWN) {
		function = digest_function_from_hex_length(hash.len);
		if (function == DIGEST_UNKNOWN)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "digest hash: %zu characters fit no known digest "
			    "function",
			    hash.len);
	}
	if (digest_hash_length(function) == 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "digest function %d is not supported", (int)function);
	if (hash.len != 2 * digest_hash_length(function))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "digest hash: %zu characters, %s has %zu", hash.len,
		    digest_function_name(function),
		    2 * digest_hash_length(function));
	if (size < 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "digest: the size %" PRId64 " is negative", size);
	digest_need_algorithms();
	memset(digest, 0, sizeof(*digest));
	digest->function = function;
	digest->size = (uint64_t)size;
	if (digest_parse_hash(hash, digest, err) < 0)
		return -1;
	return digest_check_empty(digest, err);
}

int
digest_parse_text(enum digest_function function, struct str text,
    struct digest *digest, struct error *err)
{
	struct str hash = str_cut(&text, '/');
	uint64_t size;

	if (!str_to_uint64(text, DIGEST_SIZE_MAX, &size))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "digest: expected <hash>/<size>, the size in decimal");
	return digest_parse(function, hash, (int64_t)size, digest, err);
}

static size_t
digest_write_hash(const struct digest *digest, char *text)
{
	static const char digits[] = "0123456789abcdef";
	size_t length = digest_hash_length(digest->function);

	for (size_t i = 0; i < length; i++) {
		*text++ = digits[digest->hash[i] >> 4];
		*text++ = digits[digest->hash[i] & 15];
	}
	*text = '\0';
	return 2 * length;
}

const char *
digest_format(const struct digest *digest, char text[static DIGEST_TEXT_MAX])
{
	size_t used = digest_write_hash(digest, text);

	snprintf(
	    text + used, DIGEST_TEXT_MAX - used, "/%" PRIu64, digest->size);
	return text;
}

const char *
digest_format_hash(
    const struct digest *digest, char text[static DIGEST_TEXT_MAX])
{
	digest_write_hash(digest, text);
	return text;
}

bool
digest_equal(const struct digest *a, const struct digest *b)
{
	return a->size == b->size && a->function == b->function &&
	       memcmp(a->hash, b->hash, DIGEST_HASH_MAX) == 0;
}

int
digest_compare(const struct digest *a, const struct digest *b)
{
	int order;

	if (a->function != b->function)
		return a->function < b->function ? -1 : 1;
	order = memcmp(a->hash, b->hash, DIGEST_HASH_MAX);
	if (order != 0)
		return order;
	return (a->size > b->size) - (a->size < b->size);
}

void
digest_empty(enum digest_function function, struct digest *digest)
{
	digest_need_algorithms();
	*digest = empty_digests[function];
}

bool
digest_is_empty(const struct digest *digest)
{
	return digest->size == 0;
}

void
digest_compute_parts(enum digest_function function, const struct iovec *parts,
    size_t count, struct digest *digest)
{
	EVP_MD_CTX *context;

	digest_need_algorithms();
	context = pthread_getspecific(context_key);
	if (context == NULL) {
		context = digest_context_new();
		if (pthread_setspecific(context_key, context) != 0)
			digest_abort("pthread_setspecific");
	}
	digest_run(context, function, parts, count, digest);
}

void
digest_compute(enum digest_function function, const void *data, size_t len,
    struct digest *digest)
{
	const struct iovec part = {(void *)(uintptr_t)data, len};

	digest_compute_parts(function, &part, 1, digest);
}

struct digest_hasher {
	EVP_MD_CTX *context; /* owned */
	enum digest_function function;
	uint64_t size; /* bytes so far */
};

struct digest_hasher *
digest_hasher_new(enum digest_function function)
{
	struct digest_hasher *hasher = xcalloc(1, sizeof(*hasher));

	digest_need_algorithms();
	hasher->context = digest_context_new();
	hasher->function = function;
	digest_hasher_reset(hasher);
	return hasher;
}

void
digest_hasher_free(struct digest_hasher *hasher)
{
	if (hasher == NULL)
		return;
	EVP_MD_CTX_free(hasher->context);
	free(hasher);
}

void
digest_hasher_reset(struct digest_hasher *hasher)
{
	hasher->size = 0;
	if (EVP_DigestInit_ex2(
		hasher->context, algorithms[hasher->function], NULL) != 1)
		digest_abort("EVP_DigestInit_ex2");
}

void
digest_hasher_update(struct digest_hasher *hasher, const void *data, size_t len)
{
	hasher->size += len;
	if (EVP_DigestUpdate(hasher->context, data, len) != 1)
		digest_abort("EVP_DigestUpdate");
}

void
digest_hasher_finish(struct digest_hasher *hasher, struct digest *digest)
{
	memset(digest, 0, sizeof(*digest));
	digest->function = hasher->function;
	digest->size = hasher->size;
	if (EVP_DigestFinal_ex(hasher->context, digest->hash, NULL) != 1)
		digest_abort("EVP_DigestFinal_ex");
}
