/* SPDX-License-Identifier: Apache-2.0 */
/* The parser of resource names: one pass over the segments. Pure. */
#include "frontend/resource_name.h"

#include "base/error.h"

static const char *const keywords[] = {"blobs", "uploads", "actions",
    "actionResults", "operations", "capabilities", "compressed-blobs"};

static bool
is_keyword(struct str segment)
{
	for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++) {
		if (str_equal(segment, str_from(keywords[i])))
			return true;
	}
	return false;
}

bool
resource_name_instance_valid(struct str instance)
{
	struct str rest = instance;

	if (instance.len == 0)
		return true;
	if (instance.len > 1024 || !str_is_utf8(instance))
		return false;
	while (rest.data != NULL) {
		struct str segment = str_cut(&rest, '/');

		if (segment.len == 0 || is_keyword(segment))
			return false;
		for (size_t i = 0; i < segment.len; i++) {
			if ((unsigned char)segment.data[i] < ' ')
				return false;
		}
	}
	return true;
}

int
resource_name_check_instance(
    struct str instance, const char *prefix, struct error *err)
{
	if (resource_name_instance_valid(instance))
		return 0;
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "%s\"%.*s\" is no instance name: path segments are neither "
	    "empty nor one of blobs, uploads, actions, actionResults, "
	    "operations, capabilities, compressed-blobs",
	    prefix, instance.len > 200 ? 200 : (int)instance.len,
	    instance.data);
}

static int
resource_name_refuse(struct str text, const char *why, struct error *err)
{
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "resource name \"%.*s\": %s", text.len > 200 ? 200 : (int)text.len,
	    text.data, why);
}

/* Splits off the instance: all before the first of the keywords that may
 * follow it. *rest is left at that keyword. */
static bool
take_instance(struct str text, const char *first, const char *second,
    struct str *instance, struct str *rest)
{
	struct str left = text;

	for (const char *at = text.data; left.data != NULL;) {
		struct str segment = str_cut(&left, '/');

		if (str_equal(segment, str_from(first)) ||
		    (second != NULL && str_equal(segment, str_from(second)))) {
			*instance = (struct str){text.data,
			    at > text.data ? (size_t)(at - text.data) - 1 : 0};
			*rest = (struct str){
			    at, text.len - (size_t)(at - text.data)};
			return resource_name_instance_valid(*instance) &&
			       (at == text.data || instance->len > 0);
		}
		at = left.data;
	}
	return false;
}

/* compressed-blobs/zstd/... or blobs/...: *rest is left behind it. */
static const char *
take_encoding(struct str *rest, enum encoding *encoding)
{
	struct str keyword = str_cut(rest, '/');

	*encoding = ENCODING_IDENTITY;
	if (str_equal(keyword, STR("blobs")))
		return NULL;
	if (!str_equal(keyword, STR("compressed-blobs")))
		return "\"blobs\" or \"compressed-blobs\" is expected";
	*encoding = ENCODING_ZSTD;
	if (!str_equal(str_cut(rest, '/'), STR("zstd")))
		return "the one compressor of this server is \"zstd\"";
	return NULL;
}

/* [function/]hash/size, anything behind it allowed or not. */
static int
take_digest(struct str text, struct str rest, bool tail_allowed,
    struct digest *digest, struct error *err)
{
	enum digest_function function = DIGEST_UNKNOWN;
	struct str hash = str_cut(&rest, '/');
	struct str size;
	uint64_t number;

	/* The specification leaves these functions out of names; a client
	 * that writes one is understood. */
	if (digest_function_parse(hash) != DIGEST_UNKNOWN) {
		function = digest_function_parse(hash);
		hash = str_cut(&rest, '/');
	}
	size = str_cut(&rest, '/');
	if (size.data == NULL || !str_to_uint64(size, DIGEST_SIZE_MAX, &number))
		return resource_name_refuse(text,
		    "hash and size in bytes are expected at its end", err);
	if (rest.data != NULL && !tail_allowed)
		return resource_name_refuse(
		    text, "nothing may follow the size", err);
	if (digest_parse(function, hash, (int64_t)number, digest, err) < 0) {
		error_prefix(err, "resource name \"%.*s\"",
		    text.len > 200 ? 200 : (int)text.len, text.data);
		return -1;
	}
	return 0;
}

static int
resource_name_check(struct str text, struct error *err)
{
	if (text.len == 0)
		return error_set(
		    err, ERROR_INVALID_ARGUMENT, "the resource name is empty");
	if (text.len > RESOURCE_NAME_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "a resource name of %zu bytes is longer than %d", text.len,
		    RESOURCE_NAME_MAX);
	if (!str_is_utf8(text))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the resource name is not UTF-8");
	return 0;
}

int
resource_name_parse_read(
    struct str text, struct resource_name *name, struct error *err)
{
	struct str rest;
	const char *why;

	*name = (struct resource_name){.uuid = {"", 0}};
	if (resource_name_check(text, err) < 0)
		return -1;
	if (!take_instance(
		text, "blobs", "compressed-blobs", &name->instance, &rest))
		return resource_name_refuse(text,
		    "the form is [INSTANCE/]blobs/HASH/SIZE or "
		    "[INSTANCE/]compressed-blobs/zstd/HASH/SIZE",
		    err);
	why = take_encoding(&rest, &name->encoding);
	if (why != NULL)
		return resource_name_refuse(text, why, err);
	return take_digest(text, rest, false, &name->digest, err);
}

int
resource_name_parse_upload(
    struct str text, struct resource_name *name, struct error *err)
{
	struct str rest;
	const char *why;

	*name = (struct resource_name){.uuid = {"", 0}};
	if (resource_name_check(text, err) < 0)
		return -1;
	if (!take_instance(text, "uploads", NULL, &name->instance, &rest))
		return resource_name_refuse(text,
		    "the form is [INSTANCE/]uploads/UUID/blobs/HASH/SIZE or "
		    "[INSTANCE/]uploads/UUID/compressed-blobs/zstd/HASH/SIZE",
		    err);
	(void)str_cut(&rest, '/');
	name->uuid = str_cut(&rest, '/');
	if (name->uuid.len == 0)
		return resource_name_refuse(
		    text, "a UUID is expected behind \"uploads\"", err);
	why = take_encoding(&rest, &name->encoding);
	if (why != NULL)
		return resource_name_refuse(text, why, err);
	return take_digest(text, rest, true, &name->digest, err);
}
