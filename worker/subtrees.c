/* SPDX-License-Identifier: Apache-2.0 */
/* A map of what was seen, and a tree cache. */
#include "worker/subtrees.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/error.h"
#include "base/log.h"
#include "base/map.h"
#include "base/memory.h"
#include "worker/namespaces.h"
#include "worker/tree_cache.h"

/* Of directories that are remembered. */
#define SEEN_MAX 65536
/* Each takes a mount and a descriptor, or two where large bodies are in it. */
#define TREES_MAX 200
/* Of the descriptors that the process may have, so many for each. */
#define DESCRIPTORS_PER_TREE 8

struct seen {
	struct digest digest; /* its key */
	uint64_t entries;
	bool refused; /* too large for the cache */
};

struct subtrees {
	struct tree_cache *trees;
	pthread_mutex_t lock; /* guards all below */
	struct map seen;
	size_t count;
};

static size_t
limit_of_trees(void)
{
	struct rlimit limit;
	size_t share = TREES_MAX;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
	    limit.rlim_cur / DESCRIPTORS_PER_TREE < share)
		share = (size_t)limit.rlim_cur / DESCRIPTORS_PER_TREE;
	return share > 0 ? share : 1;
}

struct subtrees *
subtrees_open(const char *path, enum staging staging, uint64_t max_bytes,
    struct error *err)
{
	const struct tree_cache_options options = {.path = path,
	    .max_bytes = max_bytes,
	    .max_trees = limit_of_trees(),
	    .staging = staging,
	    .layers = true,
	    .uid = SANDBOX_UID,
	    .gid = SANDBOX_GID,
	    .quiet = true};
	struct tree_cache *trees = tree_cache_open(&options, err);
	struct subtrees *subtrees;

	if (trees == NULL)
		return NULL;
	subtrees = xcalloc(1, sizeof(*subtrees));
	subtrees->trees = trees;
	pthread_mutex_init(&subtrees->lock, NULL);
	map_init(&subtrees->seen);
	return subtrees;
}

/* Under the lock, or with no other thread left. */
static void
forget(struct subtrees *subtrees)
{
	struct seen *seen;
	size_t position = 0;

	while ((seen = map_next(&subtrees->seen, &position)) != NULL)
		free(seen);
	map_clear(&subtrees->seen);
	map_init(&subtrees->seen);
	subtrees->count = 0;
}

void
subtrees_close(struct subtrees *subtrees)
{
	if (subtrees == NULL)
		return;
	forget(subtrees);
	map_clear(&subtrees->seen);
	pthread_mutex_destroy(&subtrees->lock);
	tree_cache_close(subtrees->trees);
	free(subtrees);
}

void
subtrees_note(
    struct subtrees *subtrees, const struct digest *directory, uint64_t entries)
{
	struct seen *seen;

	if (entries < SUBTREES_ENTRIES_MIN)
		return;
	pthread_mutex_lock(&subtrees->lock);
	if (map_get(&subtrees->seen, digest_key(directory)) == NULL) {
		if (subtrees->count == SEEN_MAX)
			forget(subtrees);
		seen = xcalloc(1, sizeof(*seen));
		seen->digest = *directory;
		seen->entries = entries;
		map_put(&subtrees->seen, digest_key(&seen->digest), seen);
		subtrees->count++;
	}
	pthread_mutex_unlock(&subtrees->lock);
}

/* Whether it is worth a tree. */
static bool
is_wanted(struct subtrees *subtrees, const struct digest *directory,
    uint64_t *entries)
{
	const struct seen *seen;
	bool wanted;

	pthread_mutex_lock(&subtrees->lock);
	seen = map_get(&subtrees->seen, digest_key(directory));
	wanted = seen != NULL && !seen->refused;
	if (wanted)
		*entries = seen->entries;
	pthread_mutex_unlock(&subtrees->lock);
	return wanted;
}

static void
note_refused(struct subtrees *subtrees, const struct digest *directory)
{
	struct seen *seen;

	pthread_mutex_lock(&subtrees->lock);
	seen = map_get(&subtrees->seen, digest_key(directory));
	/* NULL: forgotten meanwhile. */
	if (seen != NULL)
		seen->refused = true;
	pthread_mutex_unlock(&subtrees->lock);
}

int
subtrees_get(struct subtrees *subtrees, const struct tree_request *request,
    struct tree **tree, uint64_t *entries, struct error *err)
{
	if (!is_wanted(subtrees, &request->root, entries))
		return 0;
	*tree = tree_cache_get(subtrees->trees, request, err);
	if (*tree != NULL)
		return 1;
	if (err->code == ERROR_CANCELLED)
		return -1;
	/* Else each action would make it, up to where it is too large. */
	if (err->code == ERROR_RESOURCE_EXHAUSTED)
		note_refused(subtrees, &request->root);
	/* It can still be walked, and what is really wrong shows then. */
	log_warn("subtree_not_made", "error=\"%s\"", err->text);
	return 0;
}

void
subtrees_unpin(struct subtrees *subtrees, struct tree *tree)
{
	tree_unpin(subtrees->trees, tree);
}
