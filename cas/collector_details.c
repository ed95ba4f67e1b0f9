/* SPDX-License-Identifier: Apache-2.0 */
/* Tables by label; labels come from clients, so their number is bounded. */
#include "cas/collector_details.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define LABELS_MAX 10000
#define OTHERS "(others)"
#define UNKNOWN "(not known)"

static void
shares_clear(struct collection_shares *shares)
{
	for (size_t i = 0; i < shares->count; i++)
		free(shares->items[i]);
	free(shares->items);
	map_clear(&shares->map);
	memset(shares, 0, sizeof(*shares));
}

void
collection_details_init(struct collection_details *details)
{
	memset(details, 0, sizeof(*details));
	map_init(&details->targets.map);
	map_init(&details->toolchains.map);
	map_init(&details->instances.map);
}

void
collection_details_clear(struct collection_details *details)
{
	shares_clear(&details->targets);
	shares_clear(&details->toolchains);
	shares_clear(&details->instances);
	free(details->roots);
	details->roots = NULL;
	details->root_count = details->root_capacity = 0;
}

static void
label_copy(char label[static COLLECTION_LABEL_MAX], struct str text)
{
	if (text.len >= COLLECTION_LABEL_MAX)
		text.len = COLLECTION_LABEL_MAX - 1;
	memcpy(label, text.data, text.len);
	label[text.len] = '\0';
}

static struct collection_share *
shares_new(struct collection_shares *shares, struct str label)
{
	struct collection_share *share = xcalloc(1, sizeof(*share));

	if (shares->count == shares->capacity) {
		shares->capacity = 2 * shares->capacity + 64;
		shares->items = xreallocarray(shares->items, shares->capacity,
		    sizeof(struct collection_share *));
	}
	label_copy(share->label, label);
	shares->items[shares->count++] = share;
	map_put(&shares->map, str_from(share->label), share);
	return share;
}

void
collection_shares_add(
    struct collection_shares *shares, struct str label, uint64_t bytes)
{
	struct collection_share *share;

	if (label.len == 0)
		label = STR(UNKNOWN);
	if (label.len >= COLLECTION_LABEL_MAX)
		label.len = COLLECTION_LABEL_MAX - 1;
	share = map_get(&shares->map, label);
	if (share == NULL && shares->count >= LABELS_MAX) {
		label = STR(OTHERS);
		share = map_get(&shares->map, label);
	}
	if (share == NULL)
		share = shares_new(shares, label);
	share->results++;
	share->bytes += bytes;
}

static int
larger_first(const void *a, const void *b)
{
	const struct collection_share *const *one = a, *const *other = b;

	if ((*one)->bytes != (*other)->bytes)
		return (*one)->bytes > (*other)->bytes ? -1 : 1;
	return strcmp((*one)->label, (*other)->label);
}

void
collection_shares_sort(struct collection_shares *shares)
{
	if (shares->count > 0)
		qsort(shares->items, shares->count,
		    sizeof(struct collection_share *), larger_first);
}

struct collection_root *
collection_details_root(struct collection_details *details,
    enum collection_root_kind kind, struct str name)
{
	struct collection_root *root;

	if (details->root_count == details->root_capacity) {
		details->root_capacity = 2 * details->root_capacity + 16;
		details->roots = xreallocarray(details->roots,
		    details->root_capacity, sizeof(*details->roots));
	}
	root = &details->roots[details->root_count++];
	memset(root, 0, sizeof(*root));
	root->kind = kind;
	label_copy(root->name, name);
	return root;
}

const char *
collection_details_toolchain(
    const struct collection_details *details, const struct digest *digest)
{
	for (size_t i = 0; i < details->root_count; i++) {
		const struct collection_root *root = &details->roots[i];

		if (root->kind == ROOT_TOOLCHAIN &&
		    digest_equal(&root->digest, digest))
			return root->name;
	}
	return NULL;
}
