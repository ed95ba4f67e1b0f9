/* SPDX-License-Identifier: Apache-2.0 */
/* From platform properties to pinned trees. No state. */
#include "worker/run_roots.h"

#include <stdio.h>

#include "base/error.h"
#include "worker/run_action.h"
#include "worker/spawner.h"
#include "worker/tree_cache.h"

static int
get_one(struct run_roots *roots, const struct run_action *run,
    const struct toolchain_root *root, struct error *err)
{
	bool made = false;
	const struct tree_request request = {.root = root->digest,
	    .store = run->store,
	    .fetch = run->fetch,
	    .cookie = run->cookie,
	    .cancel_fd = run->cancel_fd,
	    .missing = run->missing,
	    .made = &made};
	struct tree *tree = tree_cache_get(run->trees, &request, err);

	if (tree == NULL) {
		error_prefix(
		    err, "toolchain-root at /%.*s", STR_ARG(root->path));
		return -1;
	}
	roots->trees[roots->count] = tree;
	roots->grafts[roots->count] =
	    (struct sandbox_graft){tree_descriptor(tree), root->path};
	roots->count++;
	roots->laid_out += made;
	return 0;
}

int
run_roots_get(struct run_roots *roots, const struct run_action *run,
    const Reapi__Platform *platform, struct error *err)
{
	roots->count = roots->laid_out = 0;
	if (toolchain_roots_read(&roots->wanted, platform, run->function, err) <
	    0)
		return -1;
	if (roots->wanted.count > 0 &&
	    (run->trees == NULL || spawner_tier(run->spawner) == SANDBOX_NONE))
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "this worker runs with --sandbox=none and cannot show an "
		    "action its toolchain-root");
	for (size_t i = 0; i < roots->wanted.count; i++)
		if (get_one(roots, run, &roots->wanted.items[i], err) < 0)
			return -1;
	return 0;
}

void
run_roots_clear(struct run_roots *roots, const struct run_action *run)
{
	while (roots->count > 0)
		tree_unpin(run->trees, roots->trees[--roots->count]);
}

const char *
run_roots_format(
    const struct toolchain_roots *roots, char text[static RUN_ROOTS_TEXT_MAX])
{
	char digest[DIGEST_TEXT_MAX];
	size_t len = 0;

	text[0] = '\0';
	for (size_t i = 0; i < roots->count && len < RUN_ROOTS_TEXT_MAX; i++) {
		const struct toolchain_root *root = &roots->items[i];

		len += (size_t)snprintf(text + len, RUN_ROOTS_TEXT_MAX - len,
		    "%s%s at /%.*s", i > 0 ? ", " : "",
		    digest_format(&root->digest, digest), STR_ARG(root->path));
	}
	return text;
}
