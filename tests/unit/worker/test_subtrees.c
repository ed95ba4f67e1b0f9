/* SPDX-License-Identifier: Apache-2.0 */
/* Which directories become trees, without mounting any. */
#include "worker/subtrees.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/merkle_builder.h"
#include "cas/store.h"
#include "worker/tree_cache.h"

struct fixture {
	char path[64];
	struct store *store;
	struct subtrees *subtrees;
	struct digest directory; /* of one file */
	struct error err;
};

static void
put(struct fixture *fixture, const struct digest *digest, struct str content)
{
	if (store_put_bytes(fixture->store, digest, content, &fixture->err) < 0)
		fail_msg("store_put_bytes: %s", fixture->err.text);
}

static void
put_directory(struct fixture *fixture)
{
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	const struct merkle_directory *list;
	struct merkle_file file = {.executable = false};
	static const char content[200000];
	size_t count;

	digest_compute(DIGEST_SHA256, content, sizeof(content), &file.digest);
	put(fixture, &file.digest, (struct str){content, sizeof(content)});
	assert_int_equal(
	    merkle_builder_add_file(builder, STR("file"), &file, &fixture->err),
	    0);
	assert_int_equal(merkle_builder_finish(builder, &fixture->err), 0);
	list = merkle_builder_directories(builder, &count);
	for (size_t i = 0; i < count; i++)
		put(fixture, &list[i].digest, list[i].bytes);
	fixture->directory = *merkle_builder_root(builder);
	merkle_builder_free(builder);
}

/* With a cache that has no room for the directory. */
static int
setup(void **state)
{
	struct fixture *fixture = xcalloc(1, sizeof(*fixture));
	struct store_options options = {.path = fixture->path,
	    .max_size = (uint64_t)1 << 30,
	    .segment_size = 1 << 20};
	char path[80];

	snprintf(fixture->path, sizeof(fixture->path), "%s",
	    "/tmp/toolroot-subtrees-XXXXXX");
	if (mkdtemp(fixture->path) == NULL)
		return -1;
	fixture->store = store_open(&options, &fixture->err);
	snprintf(path, sizeof(path), "%s/subtrees", fixture->path);
	fixture->subtrees =
	    subtrees_open(path, STAGING_EROFS, 100000, &fixture->err);
	if (fixture->store == NULL || fixture->subtrees == NULL)
		fail_msg("%s", fixture->err.text);
	put_directory(fixture);
	subtrees_note(
	    fixture->subtrees, &fixture->directory, SUBTREES_ENTRIES_MIN);
	*state = fixture;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *fixture = *state;

	subtrees_close(fixture->subtrees);
	store_close(fixture->store);
	(void)file_remove_tree(fixture->path, &fixture->err);
	free(fixture);
	return 0;
}

/* What the cache said, if it was asked. */
static enum error_code
get(struct fixture *fixture, int cancel_fd, int wanted)
{
	const struct tree_request request = {.root = fixture->directory,
	    .store = fixture->store,
	    .cancel_fd = cancel_fd};
	struct tree *tree;
	uint64_t entries;

	fixture->err.code = ERROR_OK;
	assert_int_equal(subtrees_get(fixture->subtrees, &request, &tree,
			     &entries, &fixture->err),
	    wanted);
	return fixture->err.code;
}

static void
a_directory_too_large_for_the_cache_is_tried_once(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(get(fixture, -1, 0), ERROR_RESOURCE_EXHAUSTED);
	assert_int_equal(get(fixture, -1, 0), ERROR_OK);
}

static void
a_cancelled_action_makes_no_tree_and_refuses_none(void **state)
{
	struct fixture *fixture = *state;
	int cancelled = eventfd(1, EFD_CLOEXEC);

	assert_int_equal(get(fixture, cancelled, -1), ERROR_CANCELLED);
	assert_int_equal(get(fixture, -1, 0), ERROR_RESOURCE_EXHAUSTED);
	close(cancelled);
}

int
main(void)
{
#define RUN_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
	    RUN_TEST(a_directory_too_large_for_the_cache_is_tried_once),
	    RUN_TEST(a_cancelled_action_makes_no_tree_and_refuses_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
