/* SPDX-License-Identifier: Apache-2.0 */
/* Matching of platform properties. */
#include "executor/platform.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"

enum platform_use {
	PLATFORM_MATCH,
	PLATFORM_SETUP, /* how to run it: every worker can */
	PLATFORM_ROOT,  /* setup too, and names a tree */
};

/* Names that do not restrict which worker runs the action. */
static const struct {
	const char *name;
	bool prefix; /* "name:..." as well */
	enum platform_use use;
} platform_rules[] = {
    /* Trees of the store that make up the action's root file system: fetched
     * by whichever worker gets it. */
    {"toolchain-root", true, PLATFORM_ROOT},
    {"chrootRootDigest", false, PLATFORM_ROOT}, /* BuildBox's name */
    /* Where the input root is mounted. */
    {"InputRootAbsolutePath", false, PLATFORM_SETUP},
    /* What the action may take at most. */
    {"max-mem", false, PLATFORM_SETUP},
    {"max-cores", false, PLATFORM_SETUP},
    {"max-pids", false, PLATFORM_SETUP},
    /* Which outputs are wanted before the command ends: an addition. */
    {"early-outputs", false, PLATFORM_SETUP},
    /* Only there to change the action's digest (Bazel, Siso). */
    {"cache-silo-key", false, PLATFORM_SETUP},
    /* Bazel's hint that a persistent worker could serve; a plain process
     * gives the same result. */
    {"persistentWorkerKey", false, PLATFORM_SETUP},
};

static enum platform_use
platform_use_of(struct str name)
{
	size_t count = sizeof(platform_rules) / sizeof(platform_rules[0]);

	for (size_t i = 0; i < count; i++) {
		struct str rule = str_from(platform_rules[i].name);

		if (str_equal(name, rule))
			return platform_rules[i].use;
		if (platform_rules[i].prefix && name.len > rule.len &&
		    str_starts_with(name, rule) && name.data[rule.len] == ':')
			return platform_rules[i].use;
	}
	return PLATFORM_MATCH;
}

bool
platform_is_matched(const struct platform_property *property)
{
	/* Every worker can do without a network. */
	if (str_equal(property->name, STR("network")) &&
	    str_equal(property->value, STR("false")))
		return false;
	return platform_use_of(property->name) == PLATFORM_MATCH;
}

bool
platform_is_root(struct str name)
{
	return platform_use_of(name) == PLATFORM_ROOT;
}

static int
platform_compare(const void *left, const void *right)
{
	const struct platform_property *a = left;
	const struct platform_property *b = right;
	int order = str_compare(a->name, b->name);

	return order != 0 ? order : str_compare(a->value, b->value);
}

static int
platform_check(const struct platform_property *properties, size_t count,
    size_t *bytes, struct error *err)
{
	*bytes = 0;
	if (count > PLATFORM_PROPERTIES_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "platform has %zu properties; the limit is %d", count,
		    PLATFORM_PROPERTIES_MAX);
	for (size_t i = 0; i < count; i++) {
		const struct platform_property *p = &properties[i];

		if (p->name.len == 0 || !str_is_utf8(p->name) ||
		    !str_is_utf8(p->value))
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "platform property %zu has no name or is not "
			    "UTF-8",
			    i);
		*bytes += p->name.len + p->value.len;
		if (*bytes > PLATFORM_BYTES_MAX)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "platform properties take more than %d bytes",
			    PLATFORM_BYTES_MAX);
	}
	return 0;
}

static struct str
platform_store(char **next, struct str text)
{
	struct str copy = {*next, text.len};

	if (text.len > 0)
		memcpy(*next, text.data, text.len);
	*next += text.len;
	return copy;
}

/* Lengths make the concatenation unambiguous. */
static void
platform_make_key(struct platform *platform, char *next)
{
	platform->key.data = next;
	for (size_t i = 0; i < platform->count; i++) {
		const struct platform_property *p = &platform->properties[i];
		uint32_t lengths[2] = {
		    (uint32_t)p->name.len, (uint32_t)p->value.len};

		if (!platform_is_matched(p))
			continue;
		memcpy(next, lengths, sizeof(lengths));
		next += sizeof(lengths);
		platform_store(&next, p->name);
		platform_store(&next, p->value);
	}
	platform->key.len = (size_t)(next - platform->key.data);
}

int
platform_init(struct platform *platform,
    const struct platform_property *properties, size_t count, struct error *err)
{
	size_t bytes;
	char *next;

	*platform = (struct platform){0};
	if (platform_check(properties, count, &bytes, err) < 0)
		return -1;
	/* Texts, then the key: texts again with two lengths each. */
	platform->memory = xmalloc(2 * bytes + count * 8 + 1);
	platform->properties = xcalloc(count + 1, sizeof(*properties));
	next = platform->memory;
	for (size_t i = 0; i < count; i++) {
		platform->properties[i].name =
		    platform_store(&next, properties[i].name);
		platform->properties[i].value =
		    platform_store(&next, properties[i].value);
	}
	qsort(
	    platform->properties, count, sizeof(*properties), platform_compare);
	for (size_t i = 0; i < count; i++) {
		if (platform->count > 0 &&
		    platform_compare(&platform->properties[i],
			&platform->properties[platform->count - 1]) == 0)
			continue;
		platform->properties[platform->count++] =
		    platform->properties[i];
	}
	platform_make_key(platform, next);
	return 0;
}

void
platform_clear(struct platform *platform)
{
	free(platform->properties);
	free(platform->memory);
	*platform = (struct platform){0};
}

static bool
platform_offers(
    const struct platform *offered, const struct platform_property *wanted)
{
	for (size_t i = 0; i < offered->count; i++) {
		const struct platform_property *p = &offered->properties[i];

		if (str_equal(p->name, wanted->name) &&
		    (str_equal(p->value, wanted->value) ||
			str_equal(p->value, STR("*"))))
			return true;
	}
	return false;
}

size_t
platform_missing(const struct platform *required,
    const struct platform *offered, const struct platform_property **first)
{
	size_t missing = 0;

	for (size_t i = 0; i < required->count; i++) {
		const struct platform_property *p = &required->properties[i];

		if (!platform_is_matched(p) || platform_offers(offered, p))
			continue;
		if (missing++ == 0)
			*first = p;
	}
	return missing;
}

bool
platform_matches(
    const struct platform *required, const struct platform *offered)
{
	const struct platform_property *first;

	return platform_missing(required, offered, &first) == 0;
}

struct str
platform_value(const struct platform *platform, struct str name)
{
	for (size_t i = 0; i < platform->count; i++) {
		if (str_equal(platform->properties[i].name, name))
			return platform->properties[i].value;
	}
	return (struct str){NULL, 0};
}
