/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A walk over the results in short transactions; what matches is removed by
 * jobs of the indexer, if it still is the version that matched.
 */
#include "cas/remove_results.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "cas/action_value.h"
#include "cas/index_job.h"
#include "cas/little_endian.h"
#include "cas/provenance.h"
#include "cas/store_internal.h"

/* Entries that a read transaction visits, and that one transaction removes at
 * most. */
#define WALK_BATCH 1024
#define ACTION_KEY_SIZE 32

struct doomed {
	uint8_t key[ACTION_KEY_SIZE];
	uint64_t written_at;
};

struct removing {
	const struct result_removal *removal;
	struct result_removal_report *report;
	struct doomed doomed[WALK_BATCH];
	size_t count;
	uint64_t removed; /* by the job, when it is committed */
};

/* --- matching ------------------------------------------------------------- */

/* "//a/..." is //a, //a:x, //a/b and so on. */
static bool
pattern_matches_below(const char *pattern, size_t length, struct str text)
{
	return text.len >= length && memcmp(text.data, pattern, length) == 0 &&
	       (text.len == length || text.data[length] == '/' ||
		   text.data[length] == ':');
}

bool
result_pattern_matches(const char *pattern, struct str text)
{
	size_t length = strlen(pattern);
	char copy[PROVENANCE_TEXT_MAX + 1];

	if (text.len == 0)
		return false;
	if (length >= 4 && strcmp(pattern + length - 4, "/...") == 0)
		return pattern_matches_below(pattern, length - 4, text);
	if (text.len > PROVENANCE_TEXT_MAX)
		text.len = PROVENANCE_TEXT_MAX;
	memcpy(copy, text.data, text.len);
	copy[text.len] = '\0';
	return fnmatch(pattern, copy, 0) == 0;
}

static int
compare_digests(const void *a, const void *b)
{
	return digest_compare(a, b);
}

static bool
filter_has_action(
    const struct result_filter *filter, const struct digest *action)
{
	return filter->actions.count == 0 ||
	       bsearch(action, filter->actions.items, filter->actions.count,
		   sizeof(*action), compare_digests) != NULL;
}

static bool
filter_has_toolchain(
    const struct result_filter *filter, const struct provenance *provenance)
{
	if (filter->toolchain.function == DIGEST_UNKNOWN)
		return true;
	for (size_t i = 0; i < provenance->toolchain_count; i++) {
		if (digest_equal(
			&filter->toolchain, &provenance->toolchains[i]))
			return true;
	}
	return false;
}

bool
result_filter_matches(const struct result_filter *filter,
    const struct action_value *value, const struct provenance *provenance)
{
	if (filter->instance.data != NULL &&
	    !str_equal(filter->instance, value->instance))
		return false;
	if (value->written_at < filter->from_ns ||
	    (filter->until_ns != 0 && value->written_at >= filter->until_ns))
		return false;
	if (filter->target != NULL &&
	    !result_pattern_matches(filter->target, provenance->target))
		return false;
	if (filter->writer != NULL &&
	    !result_pattern_matches(filter->writer, provenance->writer))
		return false;
	if (filter->worker != NULL &&
	    !result_pattern_matches(filter->worker, provenance->worker))
		return false;
	return filter_has_action(filter, &value->action) &&
	       filter_has_toolchain(filter, provenance);
}

static int
filter_check(const struct result_filter *filter, struct error *err)
{
	if (filter->actions.count > 0 || filter->instance.data != NULL ||
	    filter->target != NULL || filter->writer != NULL ||
	    filter->worker != NULL || filter->from_ns != 0 ||
	    filter->until_ns != 0 ||
	    filter->toolchain.function != DIGEST_UNKNOWN)
		return 0;
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "nothing says which results: an action's digest, instance, target, "
	    "writer, worker, toolchain or time is needed");
}

/* --- removing, the indexer's thread --------------------------------------- */

static int
removing_apply(void *cookie, struct store *store, struct index_write *write,
    struct error *err)
{
	struct removing *removing = cookie;

	removing->removed = 0;
	for (size_t i = 0; i < removing->count; i++) {
		const struct doomed *doomed = &removing->doomed[i];
		const struct str key = {
		    (const char *)doomed->key, ACTION_KEY_SIZE};
		struct str value;
		int found = index_find_action(
		    store->index, write->txn, key, &value, err);

		if (found < 0)
			return -1;
		/* Replaced since: that one came from elsewhere. */
		if (found == 0 || value.len < 8 ||
		    little_endian_get64((const uint8_t *)value.data) !=
			doomed->written_at)
			continue;
		if (index_remove_action(write, key, err) < 0)
			return -1;
		removing->removed++;
	}
	return 0;
}

static int
removing_run(struct removing *removing, struct store *store, struct error *err)
{
	const struct index_job job = {
	    .apply = removing_apply, .cookie = removing};

	if (removing->count == 0)
		return 0;
	if (index_job_run(store, &job, err) < 0)
		return -1;
	removing->report->removed += removing->removed;
	removing->count = 0;
	return 0;
}

/* --- looking -------------------------------------------------------------- */

static int
removing_visit(
    void *cookie, struct str key, struct str bytes, struct error *err)
{
	struct removing *removing = cookie;
	const struct result_removal *removal = removing->removal;
	struct doomed *doomed = &removing->doomed[removing->count];
	struct provenance provenance;
	struct action_value value;
	struct error ignored;

	/* A damaged one is never served. */
	if (action_value_decode(bytes, &value, &ignored) < 0)
		return 0;
	removing->report->results++;
	if (!action_value_provenance(&value, &provenance))
		removing->report->unknown++;
	if (key.len != ACTION_KEY_SIZE ||
	    !result_filter_matches(&removal->filter, &value, &provenance))
		return 0;
	removing->report->matched++;
	removing->report->bytes += key.len + bytes.len;
	if (removal->run) {
		memcpy(doomed->key, key.data, ACTION_KEY_SIZE);
		doomed->written_at = value.written_at;
		removing->count++;
	}
	if (removal->visit == NULL)
		return 0;
	return removal->visit(removal->cookie, &value, &provenance, err);
}

int
results_remove(struct store *store, const struct result_removal *removal,
    struct result_removal_report *report, struct error *err)
{
	struct index_position position = {.length = 0};
	struct removing *removing;
	int rc = 1;

	memset(report, 0, sizeof(*report));
	if (filter_check(&removal->filter, err) < 0)
		return -1;
	removing = xcalloc(1, sizeof(*removing));
	removing->removal = removal;
	removing->report = report;
	while (rc == 1) {
		MDB_txn *txn;

		if (index_read_begin(store->index, &txn, err) < 0) {
			rc = -1;
			break;
		}
		rc = index_walk(store->index, txn, INDEX_ACTIONS, &position,
		    WALK_BATCH, removing_visit, removing, err);
		index_read_end(store->index, txn);
		if (rc >= 0 && removing_run(removing, store, err) < 0)
			rc = -1;
	}
	free(removing);
	return rc;
}
