/* SPDX-License-Identifier: Apache-2.0 */
/* RemoveResults. */
#include <inttypes.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/log.h"
#include "cas/action_value.h"
#include "cas/admin_internal.h"
#include "cas/digest_message.h"
#include "cas/names.h"
#include "cas/provenance.h"
#include "cas/remove_results.h"
#include "protos/binary.h"

/* In one request and one answer. */
#define ACTIONS_MAX 100000
#define LISTED_MAX 10000

/* --- what to remove ------------------------------------------------------- */

/* A digest, or a name of the instance that the request is about. */
static int
find_toolchain(struct store *store,
    const Adminapi__RemoveResultsRequest *request, struct arena *arena,
    struct digest *root, struct error *err)
{
	const struct name_key key = {
	    .instance = binary_str(request->instance_name),
	    .name = str_from(request->toolchain)};
	struct name_entry entry;
	int found;

	if (strchr(request->toolchain, '/') != NULL)
		return digest_parse_text(
		    (enum digest_function)request->digest_function, key.name,
		    root, err);
	found = names_check(key.name, err);
	if (found == 0)
		found = names_get(store, &key, arena, &entry, err);
	if (found == 0)
		return error_set(err, ERROR_NOT_FOUND,
		    "there is no toolchain \"%s\"; name it by HASH/SIZE",
		    request->toolchain);
	if (found < 0)
		return -1;
	*root = entry.root;
	return 0;
}

static const char *
unless_empty(const char *text)
{
	return text[0] != '\0' ? text : NULL;
}

static int
fill_actions(const Adminapi__RemoveResultsRequest *request,
    struct digest_list *actions, struct error *err)
{
	for (size_t i = 0; i < request->n_actions; i++) {
		struct digest digest;

		if (digest_from_message(
			(enum digest_function)request->digest_function,
			request->actions[i], &digest, err) < 0)
			return -1;
		if (digest_list_add(actions, &digest) < 0)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "more than %d actions in one request", ACTIONS_MAX);
	}
	digest_list_unique(actions);
	return 0;
}

static int
fill_filter(struct store *store, const Adminapi__RemoveResultsRequest *request,
    struct arena *arena, struct result_filter *filter, struct error *err)
{
	filter->target = unless_empty(request->target);
	filter->writer = unless_empty(request->writer);
	filter->worker = unless_empty(request->worker);
	filter->from_ns = request->from_ns;
	filter->until_ns = request->until_ns;
	if (request->one_instance)
		filter->instance = binary_str(request->instance_name);
	if (request->toolchain[0] != '\0' &&
	    find_toolchain(store, request, arena, &filter->toolchain, err) < 0)
		return -1;
	return fill_actions(request, &filter->actions, err);
}

/* --- what matched --------------------------------------------------------- */

struct listing {
	struct arena *arena;
	Adminapi__StoredResult **items;
	size_t count;
	size_t limit;
};

static int
list_toolchains(struct arena *arena, const struct provenance *provenance,
    Adminapi__StoredResult *result, struct error *err)
{
	result->toolchains = arena_zalloc(
	    arena, provenance->toolchain_count + 1, sizeof(char *));
	if (result->toolchains == NULL)
		goto full;
	for (size_t i = 0; i < provenance->toolchain_count; i++) {
		char *text = arena_alloc(arena, DIGEST_TEXT_MAX);

		if (text == NULL)
			goto full;
		(void)digest_format(&provenance->toolchains[i], text);
		result->toolchains[result->n_toolchains++] = text;
	}
	return 0;
full:
	admin_no_memory(err);
	return -1;
}

static int
list_result(void *cookie, const struct action_value *value,
    const struct provenance *provenance, struct error *err)
{
	struct listing *listing = cookie;
	struct arena *arena = listing->arena;
	Adminapi__StoredResult *result;

	if (listing->count == listing->limit)
		return 0;
	result = arena_alloc(arena, sizeof(*result));
	if (result == NULL) {
		admin_no_memory(err);
		return -1;
	}
	adminapi__stored_result__init(result);
	result->action = admin_digest(arena, &value->action, err);
	result->written = admin_time(arena, (int64_t)value->written_at, err);
	result->digest_function =
	    (Reapi__DigestFunction__Value)value->action.function;
	if (result->action == NULL || result->written == NULL ||
	    admin_copy(arena, value->instance, &result->instance_name, err) <
		0 ||
	    admin_copy(arena, provenance->writer, &result->writer, err) < 0 ||
	    admin_copy(arena, provenance->worker, &result->worker, err) < 0 ||
	    admin_copy(arena, provenance->target, &result->target, err) < 0 ||
	    admin_copy(arena, provenance->mnemonic, &result->mnemonic, err) <
		0 ||
	    admin_copy(
		arena, provenance->invocation, &result->invocation, err) < 0 ||
	    list_toolchains(arena, provenance, result, err) < 0)
		return -1;
	listing->items[listing->count++] = result;
	return 0;
}

static void
log_removal(const Adminapi__RemoveResultsRequest *request,
    const struct result_removal_report *report)
{
	char target[LOG_VALUE_MAX], writer[LOG_VALUE_MAX];
	char worker[LOG_VALUE_MAX], toolchain[LOG_VALUE_MAX];

	log_info("results_removed",
	    "matched=%" PRIu64 " removed=%" PRIu64
	    " target=\"%s\" writer=\"%s\" worker=\"%s\" toolchain=\"%s\"",
	    report->matched, report->removed,
	    log_value(str_from(request->target), target),
	    log_value(str_from(request->writer), writer),
	    log_value(str_from(request->worker), worker),
	    log_value(str_from(request->toolchain), toolchain));
}

const ProtobufCMessage *
admin_remove_results(const struct admin_target *target,
    const ProtobufCMessage *base, struct arena *arena, struct error *err)
{
	const Adminapi__RemoveResultsRequest *request =
	    (const Adminapi__RemoveResultsRequest *)base;
	Adminapi__RemoveResultsResponse *response =
	    arena_alloc(arena, sizeof(*response));
	struct listing listing = {.arena = arena,
	    .limit = request->list < LISTED_MAX ? request->list : LISTED_MAX};
	struct result_removal removal = {
	    .run = request->run, .visit = list_result, .cookie = &listing};
	struct result_removal_report report;
	int rc = -1;

	listing.items = arena_zalloc(arena, listing.limit + 1, sizeof(void *));
	if (response == NULL || listing.items == NULL)
		return admin_no_memory(err);
	digest_list_init(&removal.filter.actions, ACTIONS_MAX);
	if (fill_filter(target->store, request, arena, &removal.filter, err) ==
	    0)
		rc = results_remove(target->store, &removal, &report, err);
	digest_list_clear(&removal.filter.actions);
	if (rc < 0)
		return NULL;
	if (request->run)
		log_removal(request, &report);
	adminapi__remove_results_response__init(response);
	response->results = report.results;
	response->matched = report.matched;
	response->removed = report.removed;
	response->bytes = report.bytes;
	response->unknown = report.unknown;
	response->listed = listing.items;
	response->n_listed = listing.count;
	return &response->base;
}
