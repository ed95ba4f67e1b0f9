/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Platform properties and which worker may run an action: every property that
 * the action requires must be offered by the worker, name and value bytewise,
 * except those that say how to set up the action rather than where it can run
 * (a table in platform.c, with reasons). A worker that offers the value "*"
 * takes any value of that name. Unknown names match no worker, which is how
 * they get refused (spec: Platform.Property, "SHOULD reject").
 *
 * Plain values that own a copy of their texts; constant once made, so any
 * thread may read them.
 */
#ifndef TOOLROOT_EXECUTOR_PLATFORM_H
#define TOOLROOT_EXECUTOR_PLATFORM_H

#include <stdbool.h>

#include "base/str.h"

struct error;

struct platform_property {
	struct str name;
	struct str value;
};

struct platform {
	struct platform_property *properties; /* sorted, none twice */
	size_t count;
	/* Equal for platforms that the same workers match: the queue's key. */
	struct str key;
	char *memory; /* what the texts point into */
};

#define PLATFORM_PROPERTIES_MAX 256
#define PLATFORM_BYTES_MAX 65536

/* Copies. INVALID_ARGUMENT when there are too many or too long ones, a name is
 * empty or a text is no UTF-8. */
int platform_init(struct platform *platform,
    const struct platform_property *properties, size_t count,
    struct error *err);
/* An empty or zeroed platform is allowed. */
void platform_clear(struct platform *platform);

/* Whether the property decides which workers match. */
bool platform_is_matched(const struct platform_property *property);
/* Whether it names a tree that a worker may have unpacked already. */
bool platform_is_root(struct str name);
bool platform_matches(
    const struct platform *required, const struct platform *offered);
/* How many required properties are not offered; *first is one of them. */
size_t platform_missing(const struct platform *required,
    const struct platform *offered, const struct platform_property **first);
/* Of the property's name, the value offered; data NULL when there is none. */
struct str platform_value(const struct platform *platform, struct str name);

#endif
