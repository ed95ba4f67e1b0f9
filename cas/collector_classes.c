/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose entries are cut where: instances with a floor (cas/owners.h) lose no
 * more than what they have above it, so each has a cutoff of its own; a
 * collection of one instance concerns no others. The collecting thread.
 */
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "cas/action_value.h"
#include "cas/collector_internal.h"
#include "cas/owners.h"

static struct collection_class *
classes_add(struct collection *collection, uint16_t owner, uint64_t allowance)
{
	struct collection_class *class;

	collection->classes = xreallocarray(collection->classes,
	    collection->class_count + 1, sizeof(*collection->classes));
	class = &collection->classes[collection->class_count];
	*class = (struct collection_class){
	    .owner = owner, .allowance = allowance, .nothing = true};
	collection->class_of[owner] = (uint16_t)collection->class_count++;
	return class;
}

static void
classes_add_floors(
    struct collection *collection, const struct owner_list *owners)
{
	for (size_t i = 0; i < owners->count; i++) {
		const struct owner_report *owner = &owners->items[i];

		/* What is promised to an upload cannot go. */
		if (owner->floor > 0)
			classes_add(collection, owner->number,
			    owner->stored > owner->floor
				? owner->stored - owner->floor
				: 0);
	}
}

int
collection_classify(struct collection *collection, struct error *err)
{
	struct owner_list owners;

	if (store_owners(collection->store, &owners, err) < 0)
		return -1;
	collection_classes_clear(collection);
	collection->class_of =
	    xcalloc((size_t)UINT16_MAX + 1, sizeof(*collection->class_of));
	classes_add(collection, 0, UINT64_MAX);
	if (collection->wish->instance.data == NULL)
		classes_add_floors(collection, &owners);
	else if (collection->owner != 0)
		classes_add(collection, collection->owner, UINT64_MAX);
	owner_list_clear(&owners);
	for (size_t i = 0; i < collection->class_count; i++) {
		collection->classes[i].buckets = calloc(
		    SURVEY_BUCKETS, sizeof(*collection->classes[i].buckets));
		if (collection->classes[i].buckets == NULL)
			return error_set(err, ERROR_RESOURCE_EXHAUSTED,
			    "memory for the survey of a collection");
	}
	return 0;
}

void
collection_classes_clear(struct collection *collection)
{
	for (size_t i = 0; i < collection->class_count; i++)
		free(collection->classes[i].buckets);
	free(collection->classes);
	free(collection->class_of);
	collection->classes = NULL;
	collection->class_of = NULL;
	collection->class_count = 0;
}

struct collection_class *
collection_class_of_blob(
    const struct collection *collection, const struct place *place)
{
	uint16_t number = collection->class_of[place->owner];

	if (collection->wish->instance.data != NULL && number == 0)
		return NULL;
	return &collection->classes[number];
}

/* A result of an early program has no owner, but it names its instance. It
 * goes with all others; in a collection of that instance, with its own. */
struct collection_class *
collection_class_of_result(const struct collection *collection,
    const struct action_value *value, uint16_t owner)
{
	const struct str instance = collection->wish->instance;

	if (instance.data == NULL)
		return &collection->classes[collection->class_of[owner]];
	if (!str_equal(instance, value->instance))
		return NULL;
	return &collection->classes[collection->class_count - 1];
}
