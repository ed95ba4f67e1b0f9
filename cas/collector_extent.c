/* SPDX-License-Identifier: Apache-2.0 */
/* What a collection is measured by, and whether its instance exists. */
#include "base/error.h"
#include "cas/action_value.h"
#include "cas/collector_internal.h"
#include "cas/owners.h"

#define WALK_BATCH 8192

int
collection_extent(struct store *store, struct str instance,
    struct collection_extent *extent, struct error *err)
{
	const struct owner_report *owner;
	struct owner_list owners;
	struct store_usage usage;

	if (instance.data == NULL) {
		store_usage(store, &usage);
		*extent = (struct collection_extent){
		    store_collected_use(
			usage.bytes, usage.uploading, usage.max_bytes),
		    usage.max_bytes};
		return 0;
	}
	*extent = (struct collection_extent){0, 0};
	if (store_owners(store, &owners, err) < 0)
		return -1;
	owner = owner_list_find(&owners, instance);
	if (owner != NULL)
		*extent = (struct collection_extent){
		    store_collected_use(
			owner->bytes, owner->uploading, owner->quota),
		    owner->quota};
	owner_list_clear(&owners);
	return 0;
}

/* --- instances without a number ------------------------------------------- */

struct name_search {
	struct str instance;
	bool found;
};

static int
search_result(void *cookie, struct str key, struct str bytes, struct error *err)
{
	struct name_search *search = cookie;
	struct action_value value;

	(void)key;
	if (action_value_decode(bytes, &value, err) < 0)
		return -1;
	search->found =
	    search->found || str_equal(value.instance, search->instance);
	return 0;
}

/* Results of early programs, and of instances beyond OWNERS_MET_MAX, have
 * nothing but the name. */
static int
search_results(struct collection *collection, struct name_search *search,
    struct error *err)
{
	struct store_index *index = collection->store->index;
	struct index_position position = {.length = 0};
	int rc = 1;

	while (rc == 1 && !search->found) {
		MDB_txn *txn;

		if (collection_check(collection, err) < 0 ||
		    index_read_begin(index, &txn, err) < 0)
			return -1;
		rc = index_walk(index, txn, INDEX_ACTIONS, &position,
		    WALK_BATCH, search_result, search, err);
		index_read_end(index, txn);
	}
	return rc < 0 ? -1 : 0;
}

int
collection_find_instance(struct collection *collection, struct error *err)
{
	struct name_search search = {.instance = collection->wish->instance};

	if (search.instance.data == NULL)
		return 0;
	(void)store_owner_known(
	    collection->store, search.instance, &collection->owner);
	if (collection->owner != 0)
		return 0;
	if (search_results(collection, &search, err) < 0)
		return -1;
	if (search.found)
		return 0;
	return error_set(err, ERROR_NOT_FOUND,
	    "no instance \"%.*s\" has ever written here; `toolroot gc` without "
	    "--instance lists those that have something (--list N)",
	    search.instance.len > 200 ? 200 : (int)search.instance.len,
	    search.instance.data);
}
