/* SPDX-License-Identifier: Apache-2.0 */
/* Checks on Directory messages. Pure. */
#include "cas/directory.h"

#include <stdio.h>

#include "base/error.h"
#include "cas/digest_message.h"
#include "protos/arena_allocator.h"

#define MODE_MAX 07777u
/* The range of google.protobuf.Timestamp: the years 1 to 9999. */
#define SECONDS_MIN (-INT64_C(62135596800))
#define SECONDS_MAX INT64_C(253402300799)
#define NANOS_MAX 999999999

const char *
directory_printable(
    struct str text, char printable[static DIRECTORY_PRINTABLE_MAX])
{
	char *out = printable;
	/* Room for one escape, "..." and NUL. */
	const char *end = printable + DIRECTORY_PRINTABLE_MAX - 8;

	for (size_t i = 0; i < text.len; i++) {
		unsigned char byte = (unsigned char)text.data[i];

		if (out > end) {
			memcpy(out, "...", 3);
			out += 3;
			break;
		}
		if (byte >= 0x20 && byte < 0x7f && byte != '\\' && byte != '"')
			*out++ = (char)byte;
		else
			out += snprintf(out, 5, "\\x%02x", byte);
	}
	*out = '\0';
	return printable;
}

int
directory_check_name(struct str name, struct error *err)
{
	const char *fault = NULL;
	char printable[DIRECTORY_PRINTABLE_MAX];

	if (name.len == 0)
		fault = "is empty";
	else if (str_equal(name, STR(".")) || str_equal(name, STR("..")))
		fault = "names no entry of its own";
	else if (memchr(name.data, '/', name.len) != NULL)
		fault = "has a '/' in it";
	else if (memchr(name.data, '\0', name.len) != NULL)
		fault = "has a NUL in it";
	else if (name.len > DIRECTORY_NAME_MAX)
		fault = "is longer than 255 bytes";
	else if (!str_is_utf8(name))
		fault = "is no valid UTF-8";
	if (fault == NULL)
		return 0;
	return error_set(err, ERROR_INVALID_ARGUMENT, "the name \"%s\" %s",
	    directory_printable(name, printable), fault);
}

int
directory_check_target(struct str target, struct error *err)
{
	const char *fault = NULL;

	if (target.len == 0)
		fault = "is empty";
	else if (memchr(target.data, '\0', target.len) != NULL)
		fault = "has a NUL in it";
	else if (target.len > DIRECTORY_TARGET_MAX)
		fault = "is longer than 4095 bytes";
	else if (!str_is_utf8(target))
		fault = "is no valid UTF-8";
	if (fault == NULL)
		return 0;
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "the target of the symbolic link %s", fault);
}

static int
check_times(const Reapi__NodeProperties *properties, struct error *err)
{
	const Google__Protobuf__Timestamp *time = properties->mtime;

	if (time == NULL)
		return 0;
	if (time->seconds < SECONDS_MIN || time->seconds > SECONDS_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "%lld seconds are out of the range of mtime",
		    (long long)time->seconds);
	if (time->nanos < 0 || time->nanos > NANOS_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "%d nanoseconds are out of the range of mtime",
		    (int)time->nanos);
	return 0;
}

static int
check_properties(const Reapi__NodeProperties *properties, struct error *err)
{
	struct str before = {"", 0};

	if (properties == NULL)
		return 0;
	for (size_t i = 0; i < properties->n_properties; i++) {
		struct str name =
		    directory_str(properties->properties[i]->name);

		if (name.len == 0 || !str_is_utf8(name) ||
		    !str_is_utf8(
			directory_str(properties->properties[i]->value)))
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "node property %zu is empty or no valid UTF-8", i);
		/* The same name may stand several times. */
		if (str_compare(before, name) > 0)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "node property %zu is not in order", i);
		before = name;
	}
	if (properties->unix_mode != NULL &&
	    properties->unix_mode->value > MODE_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "unix_mode %o is above 07777",
		    (unsigned)properties->unix_mode->value);
	return check_times(properties, err);
}

/* One entry of any of the three lists. */
struct entry {
	struct str name;
	const Reapi__Digest *digest; /* NULL in a symbolic link */
	const Reapi__NodeProperties *properties;
	const ProtobufCBinaryData *target; /* in a symbolic link only */
};

enum list { LIST_FILES, LIST_DIRECTORIES, LIST_SYMLINKS, LIST_COUNT };

static size_t
list_count(const Reapi__Directory *directory, enum list list)
{
	switch (list) {
	case LIST_FILES:
		return directory->n_files;
	case LIST_DIRECTORIES:
		return directory->n_directories;
	default:
		return directory->n_symlinks;
	}
}

static struct entry
list_entry(const Reapi__Directory *directory, enum list list, size_t i)
{
	switch (list) {
	case LIST_FILES: {
		const Reapi__FileNode *file = directory->files[i];

		return (struct entry){directory_str(file->name), file->digest,
		    file->node_properties, NULL};
	}
	case LIST_DIRECTORIES: {
		const Reapi__DirectoryNode *child = directory->directories[i];

		return (struct entry){
		    directory_str(child->name), child->digest, NULL, NULL};
	}
	default: {
		const Reapi__SymlinkNode *link = directory->symlinks[i];

		return (struct entry){directory_str(link->name), NULL,
		    link->node_properties, &link->target};
	}
	}
}

static int
check_entry(
    const struct entry *entry, enum digest_function function, struct error *err)
{
	struct digest digest;
	char printable[DIRECTORY_PRINTABLE_MAX];
	int rc = 0;

	if (directory_check_name(entry->name, err) < 0)
		return -1;
	if (entry->target != NULL)
		rc = directory_check_target(directory_str(*entry->target), err);
	else
		rc = digest_from_message(function, entry->digest, &digest, err);
	if (rc == 0)
		rc = check_properties(entry->properties, err);
	if (rc < 0)
		error_prefix(err, "entry \"%s\"",
		    directory_printable(entry->name, printable));
	return rc;
}

static int
check_list(const Reapi__Directory *directory, enum list list,
    enum digest_function function, struct error *err)
{
	struct str before = {"", 0};
	char printable[DIRECTORY_PRINTABLE_MAX];

	for (size_t i = 0; i < list_count(directory, list); i++) {
		struct entry entry = list_entry(directory, list, i);

		if (check_entry(&entry, function, err) < 0)
			return -1;
		/* No name is empty, so the first is above the start. */
		if (str_compare(before, entry.name) >= 0)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "entry \"%s\" stands twice or is not in order",
			    directory_printable(entry.name, printable));
		before = entry.name;
	}
	return 0;
}

/* Merges two sorted lists to find a name that is in both. */
static int
check_disjoint(const Reapi__Directory *directory, enum list a, enum list b,
    struct error *err)
{
	size_t i = 0;
	size_t j = 0;
	char printable[DIRECTORY_PRINTABLE_MAX];

	while (i < list_count(directory, a) && j < list_count(directory, b)) {
		struct str name = list_entry(directory, a, i).name;
		int order = str_compare(name, list_entry(directory, b, j).name);

		if (order == 0)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "entry \"%s\" stands twice, with different types",
			    directory_printable(name, printable));
		i += order < 0;
		j += order > 0;
	}
	return 0;
}

int
directory_check(const Reapi__Directory *directory,
    enum digest_function function, struct error *err)
{
	for (enum list list = 0; list < LIST_COUNT; list++) {
		if (check_list(directory, list, function, err) < 0)
			return -1;
	}
	if (check_disjoint(directory, LIST_FILES, LIST_DIRECTORIES, err) < 0 ||
	    check_disjoint(directory, LIST_FILES, LIST_SYMLINKS, err) < 0 ||
	    check_disjoint(directory, LIST_DIRECTORIES, LIST_SYMLINKS, err) < 0)
		return -1;
	return check_properties(directory->node_properties, err);
}

Reapi__Directory *
directory_decode(struct arena *arena, struct str bytes,
    enum digest_function function, struct error *err)
{
	Reapi__Directory *directory =
	    protos_unpack(arena, &reapi__directory__descriptor, bytes, err);

	if (directory == NULL) {
		/* The message is at fault, not our load: a retry is vain. */
		err->code = ERROR_INVALID_ARGUMENT;
		return NULL;
	}
	return directory_check(directory, function, err) < 0 ? NULL : directory;
}
