/* SPDX-License-Identifier: Apache-2.0 */
/* Reads platform properties that name toolchain trees. No state. */
#include "cas/toolchain_root.h"

#include <stdlib.h>

#include "base/error.h"
#include "cas/directory.h"

#define NAME STR("toolchain-root")
#define OTHER_NAME STR("chrootRootDigest")

const Reapi__Platform *
toolchain_roots_platform(
    const Reapi__Action *action, const Reapi__Command *command)
{
	if (action->platform != NULL && action->platform->n_properties > 0)
		return action->platform;
	return command != NULL ? command->platform : NULL;
}

/* 1 and where the tree goes, as the property's name says it; 0 for another
 * property. */
static int
path_of(struct str name, struct str *path)
{
	*path = STR("/");
	if (str_equal(name, NAME) || str_equal(name, OTHER_NAME))
		return 1;
	if (!str_starts_with(name, NAME) || name.data[NAME.len] != ':')
		return 0;
	*path = (struct str){name.data + NAME.len + 1, name.len - NAME.len - 1};
	return 1;
}

static bool
is_provided(struct str name)
{
	return str_equal(name, STR("dev")) || str_equal(name, STR("proc")) ||
	       str_equal(name, STR("tmp"));
}

bool
toolchain_root_hides(struct str path)
{
	while (path.len > 0 && path.data[0] == '/') {
		path.data++;
		path.len--;
	}
	return is_provided(str_cut(&path, '/'));
}

/* Cuts the leading slash off. */
static int
check_path(struct str *path, struct error *err)
{
	struct str rest;

	if (path->len == 0 || path->data[0] != '/')
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "its path must start with \"/\", as in "
		    "toolchain-root:/opt/tool");
	if (path->len > TOOLCHAIN_ROOT_PATH_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "its path is longer than %d bytes",
		    TOOLCHAIN_ROOT_PATH_MAX);
	path->data++;
	path->len--;
	rest = *path;
	for (bool first = true; rest.len > 0; first = false) {
		struct str name = str_cut(&rest, '/');

		if (directory_check_name(name, err) < 0) {
			error_prefix(err, "its path");
			return -1;
		}
		if (first && is_provided(name))
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "no tree can be at or below /%.*s, which the "
			    "sandbox provides",
			    STR_ARG(name));
		if (rest.len == 0 && rest.data != NULL)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "its path must not end in \"/\"");
	}
	return 0;
}

static int
parse_digest(enum digest_function function, struct str value,
    struct digest *digest, struct error *err)
{
	struct str rest = value;
	struct str first = str_cut(&rest, '/');
	enum digest_function named = digest_function_parse(first);

	if (named != DIGEST_UNKNOWN)
		return digest_parse_text(named, rest, digest, err);
	return digest_parse_text(function, value, digest, err);
}

static int
read_property(struct toolchain_root *root, struct str path, struct str value,
    enum digest_function function, struct error *err)
{
	root->path = path;
	if (check_path(&root->path, err) < 0)
		return -1;
	if (parse_digest(function, value, &root->digest, err) < 0) {
		error_prefix(err, "its value must be <hash>/<size>");
		return -1;
	}
	return 0;
}

/* One property given twice is one. */
static int
add(struct toolchain_roots *roots, const struct toolchain_root *root,
    struct error *err)
{
	for (size_t i = 0; i < roots->count; i++) {
		const struct toolchain_root *other = &roots->items[i];

		if (!str_equal(other->path, root->path))
			continue;
		if (digest_equal(&other->digest, &root->digest))
			return 0;
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "another property puts another tree at the same path");
	}
	if (roots->count == TOOLCHAIN_ROOTS_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "an action can have %d trees and not more",
		    TOOLCHAIN_ROOTS_MAX);
	roots->items[roots->count++] = *root;
	return 0;
}

static int
compare(const void *left, const void *right)
{
	const struct toolchain_root *a = left;
	const struct toolchain_root *b = right;

	return str_compare(a->path, b->path);
}

int
toolchain_roots_read(struct toolchain_roots *roots,
    const Reapi__Platform *platform, enum digest_function function,
    struct error *err)
{
	char printable[DIRECTORY_PRINTABLE_MAX];

	roots->count = 0;
	for (size_t i = 0; platform != NULL && i < platform->n_properties;
	     i++) {
		const Reapi__Platform__Property *property =
		    platform->properties[i];
		struct str name = directory_str(property->name);
		struct toolchain_root root;
		struct str path;

		if (path_of(name, &path) == 0)
			continue;
		if (read_property(&root, path, directory_str(property->value),
			function, err) == 0 &&
		    add(roots, &root, err) == 0)
			continue;
		error_prefix(err, "platform property %s",
		    directory_printable(name, printable));
		return -1;
	}
	qsort(roots->items, roots->count, sizeof(roots->items[0]), compare);
	return 0;
}
