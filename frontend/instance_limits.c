/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the settings once; shows on request. */
#include "frontend/instance_limits.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/metrics.h"
#include "cas/collector.h"
#include "cas/owners.h"
#include "cas/store.h"
#include "frontend/resource_name.h"
#include "frontend/serve_options.h"

/* --- settings ------------------------------------------------------------- */

struct limit_list {
	struct owner_limits *items; /* owned; names are the settings' */
	size_t count;
};

static struct owner_limits *
limit_of(struct limit_list *list, struct str instance)
{
	struct owner_limits *limits;

	for (size_t i = 0; i < list->count; i++) {
		if (str_equal(list->items[i].instance, instance))
			return &list->items[i];
	}
	list->items =
	    xreallocarray(list->items, list->count + 1, sizeof(*list->items));
	limits = &list->items[list->count++];
	*limits = (struct owner_limits){.instance = instance};
	return limits;
}

/* NAME=SIZE; the name may have a "=" itself. */
static int
parse_limit(const struct serve_options *options, const char *setting,
    const char *text, struct str *instance, uint64_t *bytes, struct error *err)
{
	const char *equals = strrchr(text, '=');

	if (equals == NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--%s \"%s\" is not NAME=SIZE", setting, text);
	*instance = (struct str){text, (size_t)(equals - text)};
	if (setting_parse_size(str_from(equals + 1), bytes, err) < 0) {
		error_prefix(err, "--%s \"%s\"", setting, text);
		return -1;
	}
	if (*bytes == 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--%s \"%s\": it must be more than 0", setting, text);
	if (!resource_name_instance_valid(*instance) ||
	    !serve_instance_is_served(options, *instance))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--%s \"%s\" is of no instance that is served; see the "
		    "setting \"instance\"",
		    setting, text);
	if (instance->len > OWNER_NAME_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--%s \"%.40s...\": the name has %zu bytes; the store "
		    "counts for names of at most %u",
		    setting, text, instance->len, OWNER_NAME_MAX);
	return 0;
}

static int
read_limits(const struct serve_options *options, bool floors,
    struct limit_list *list, struct error *err)
{
	const char *setting = floors ? "instance-floor" : "instance-quota";
	const struct setting_list *texts =
	    floors ? &options->instance_floors : &options->instance_quotas;

	for (size_t i = 0; i < texts->count; i++) {
		struct owner_limits *limits;
		struct str instance;
		uint64_t bytes, *limit;

		if (parse_limit(options, setting, texts->items[i], &instance,
			&bytes, err) < 0)
			return -1;
		limits = limit_of(list, instance);
		limit = floors ? &limits->floor : &limits->quota;
		if (*limit != 0)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "--%s \"%s\": that instance has one already",
			    setting, texts->items[i]);
		*limit = bytes;
	}
	return 0;
}

/* What gc-low leaves of it. */
static uint64_t
low_mark(const struct serve_options *options, uint64_t limit)
{
	return collection_percent(limit, (unsigned)options->gc_low);
}

/* Collections for a quota go down to gc-low of it, whatever the floor. */
static int
check_floor(const struct serve_options *options,
    const struct owner_limits *limits, struct error *err)
{
	uint64_t low = low_mark(options, limits->quota);

	if (limits->quota == 0 || limits->floor <= low)
		return 0;
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "the instance-floor of \"%.*s\", %" PRIu64
	    " bytes, is above what collections leave of its instance-quota of "
	    "%" PRIu64 ": %" PRIu64 " bytes (gc-low, %" PRIu64
	    " %%); lower the floor to that, or raise the quota",
	    (int)limits->instance.len, limits->instance.data, limits->floor,
	    limits->quota, low, options->gc_low);
}

/* What floors keep must leave a collection something to take. */
static int
check_limits(const struct serve_options *options, const struct store *store,
    const struct limit_list *list, struct error *err)
{
	struct store_usage usage;
	uint64_t low, floors = 0;

	store_usage((struct store *)(uintptr_t)store, &usage);
	low = low_mark(options, usage.max_bytes);
	for (size_t i = 0; i < list->count; i++) {
		const struct owner_limits *limits = &list->items[i];

		if (check_floor(options, limits, err) < 0)
			return -1;
		if (limits->floor > low - floors)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "all instance-floor together are more than gc-low "
			    "leaves, %" PRIu64 " bytes (%" PRIu64
			    " %% of the store's limit of %" PRIu64 ")",
			    low, options->gc_low, usage.max_bytes);
		floors += limits->floor;
	}
	return 0;
}

int
instance_limits_apply(
    const struct serve_options *options, struct store *store, struct error *err)
{
	struct limit_list list = {NULL, 0};
	int rc = -1;

	if (read_limits(options, false, &list, err) == 0 &&
	    read_limits(options, true, &list, err) == 0 &&
	    check_limits(options, store, &list, err) == 0)
		rc = store_set_owner_limits(store, list.items, list.count, err);
	free(list.items);
	return rc;
}

/* --- metrics -------------------------------------------------------------- */

/* The label of the rest: no instance can be named so. */
#define REST "/other"
/* Instances are those of the settings: none shares a series. */
#define SERIES_MAX (UINT16_MAX + 2)

static const struct metric_definition bytes_definition = {
    .name = "toolroot_store_instance_bytes",
    .help = "Bytes that count for an instance: blobs that it was the first to "
	    "write, and its action results; /other: all else in the store.",
    .type = METRIC_GAUGE,
    .labels = {"instance"},
    .max_series = SERIES_MAX,
};

static const struct metric_definition quota_definition = {
    .name = "toolroot_store_instance_quota_bytes",
    .help = "Bytes at which writes of the instance are refused; 0: none.",
    .type = METRIC_GAUGE,
    .labels = {"instance"},
    .max_series = SERIES_MAX,
};

static const struct metric_definition floor_definition = {
    .name = "toolroot_store_instance_floor_bytes",
    .help = "Bytes that collections leave the instance; 0: none.",
    .type = METRIC_GAUGE,
    .labels = {"instance"},
    .max_series = SERIES_MAX,
};

struct instance_metrics {
	struct store *store;
	const struct serve_options *options;
	struct metric_family *bytes;
	struct metric_family *quota;
	struct metric_family *floor;
};

static void
show(const struct instance_metrics *shown, const char *instance,
    const struct owner_report *owner)
{
	const char *const labels[] = {instance};

	metric_set(metric_series(shown->bytes, labels), (int64_t)owner->bytes);
	metric_set(metric_series(shown->quota, labels), (int64_t)owner->quota);
	metric_set(metric_series(shown->floor, labels), (int64_t)owner->floor);
}

/* What is to be served and has neither use nor limits is not in the list. */
static void
show_absent(
    const struct instance_metrics *shown, const struct owner_list *owners)
{
	const struct setting_list *instances = &shown->options->instances;
	const struct owner_report nothing = {.bytes = 0};

	for (size_t i = 0; i < instances->count; i++) {
		const char *instance = instances->items[i];

		if (owner_list_find(owners, str_from(instance)) == NULL)
			show(shown, instance, &nothing);
	}
}

/* Those with limits, and those that are listed to be served. */
static bool
is_configured(
    const struct serve_options *options, const struct owner_report *owner)
{
	if (!owner->named)
		return false;
	return owner->quota > 0 || owner->floor > 0 ||
	       (options->instances.count > 0 &&
		   serve_instance_is_served(options, owner->instance));
}

static void
instance_metrics_collect(void *cookie)
{
	const struct instance_metrics *shown = cookie;
	struct owner_report rest = {.bytes = 0};
	struct store_usage usage;
	struct owner_list owners;
	struct error ignored;

	/* A writing store answers from memory. */
	if (store_owners(shown->store, &owners, &ignored) < 0)
		return;
	store_usage(shown->store, &usage);
	for (size_t i = 0; i < owners.count; i++) {
		const struct owner_report *owner = &owners.items[i];

		if (!is_configured(shown->options, owner))
			continue;
		show(shown, owner->instance.data, owner);
		usage.bytes -=
		    owner->bytes < usage.bytes ? owner->bytes : usage.bytes;
	}
	show_absent(shown, &owners);
	rest.bytes = usage.bytes;
	show(shown, REST, &rest);
	owner_list_clear(&owners);
}

struct instance_metrics *
instance_metrics_new(struct metrics *metrics,
    const struct serve_options *options, struct store *store)
{
	struct instance_metrics *shown = xcalloc(1, sizeof(*shown));

	shown->store = store;
	shown->options = options;
	shown->bytes = metrics_register(metrics, &bytes_definition);
	shown->quota = metrics_register(metrics, &quota_definition);
	shown->floor = metrics_register(metrics, &floor_definition);
	metrics_on_collect(metrics, instance_metrics_collect, shown);
	return shown;
}

void
instance_metrics_free(struct instance_metrics *instance_metrics)
{
	free(instance_metrics);
}
