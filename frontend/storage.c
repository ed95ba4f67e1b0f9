/* SPDX-License-Identifier: Apache-2.0 */
/* The checks that every storage request goes through. Pure; any thread. */
#include "frontend/storage.h"

#include <stdio.h>

#include "base/error.h"
#include "cas/digest_message.h"
#include "frontend/resource_name.h"

int
storage_check_instance(
    const struct storage *storage, struct str instance, struct error *err)
{
	if (resource_name_check_instance(instance, "", err) < 0)
		return -1;
	if (storage->instances.count == 0 ||
	    setting_list_has(&storage->instances, instance))
		return 0;
	return error_set(err, ERROR_NOT_FOUND,
	    "there is no instance \"%.*s\" on this server; see the server's "
	    "setting \"instance\"",
	    instance.len > 200 ? 200 : (int)instance.len, instance.data);
}

bool
storage_function_enabled(
    const struct storage *storage, enum digest_function function)
{
	return function != DIGEST_UNKNOWN && (unsigned)function < 32 &&
	       (storage->digest_functions >> (unsigned)function & 1u) != 0;
}

static void
enabled_names(const struct storage *storage, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (int i = 1; i < 32; i++) {
		int length;

		if (!storage_function_enabled(storage, (enum digest_function)i))
			continue;
		length = snprintf(text + used, size - used, "%s%s",
		    used > 0 ? ", " : "",
		    digest_function_name((enum digest_function)i));
		if (length < 0 || (size_t)length >= size - used)
			return;
		used += (size_t)length;
	}
}

int
storage_digest_function(const struct storage *storage, uint64_t given,
    size_t hash_characters, enum digest_function *function, struct error *err)
{
	char names[128];

	*function = given != 0
			? (enum digest_function)given
			: digest_function_from_hex_length(hash_characters);
	if (given < 32 && storage_function_enabled(storage, *function))
		return 0;
	enabled_names(storage, names, sizeof(names));
	if (given == 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "a hash of %zu characters belongs to no digest function "
		    "that this server accepts: %s",
		    hash_characters, names);
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "digest function %llu is not accepted by this server; it accepts "
	    "%s",
	    (unsigned long long)given, names);
}

int
storage_parse_digest(const struct storage *storage, struct str message,
    uint64_t given, struct digest *digest, struct error *err)
{
	enum digest_function function;
	struct str hash;
	int64_t size;

	if (digest_message_read(message, &hash, &size) < 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "a Digest of the request is malformed");
	if (storage_digest_function(storage, given, hash.len, &function, err) <
	    0)
		return -1;
	return digest_parse(function, hash, size, digest, err);
}
