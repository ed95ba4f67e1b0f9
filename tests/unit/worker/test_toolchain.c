/* SPDX-License-Identifier: Apache-2.0 */
/* Actions whose root file system is made of trees from the store, and the
 * cache that holds those trees. */
#include "run_fixture.h"

#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/clock.h"

#define LARGE 400000

static struct merkle_builder *
tree_new(void)
{
	return merkle_builder_new(FIXTURE_FUNCTION);
}

/* Puts the tree into the store and frees it. */
static struct digest
tree_put(struct fixture *fixture, struct merkle_builder *tree)
{
	struct digest root;

	fixture_put_directories(fixture, tree, &root);
	merkle_builder_free(tree);
	return root;
}

/* A tree of one small file, told apart by its text. */
static struct digest
tree_of_text(struct fixture *fixture, const char *text)
{
	struct merkle_builder *tree = tree_new();

	fixture_add_to(fixture, tree, "data", str_from(text), false);
	return tree_put(fixture, tree);
}

static void
ask_for(struct fixture *fixture, const char *name, const struct digest *root)
{
	char *value = arena_alloc(&fixture->arena, DIGEST_TEXT_MAX);

	digest_format(root, value);
	fixture_property(fixture, name, value);
}

static void
add_host_file(
    struct fixture *fixture, struct merkle_builder *tree, const char *path)
{
	struct buffer content;
	struct error err;

	buffer_init(&content, (size_t)64 << 20);
	if (file_read_all(path, &content, &err) < 0)
		fail_msg("%s", err.text);
	fixture_add_to(fixture, tree, path + 1, buffer_str(&content), true);
	buffer_clear(&content);
}

struct libraries {
	struct fixture *fixture;
	struct merkle_builder *tree;
};

/* The C library and the loader of this very program: what a shell needs. */
static int
add_library(struct dl_phdr_info *info, size_t size, void *cookie)
{
	struct libraries *libraries = cookie;
	const char *name = info->dlpi_name;

	(void)size;
	if (strstr(name, "/libc.so") != NULL || strstr(name, "/ld-") != NULL)
		add_host_file(libraries->fixture, libraries->tree, name);
	return 0;
}

/* A root file system with nothing but a shell. */
static struct merkle_builder *
shell_new(struct fixture *fixture)
{
	struct libraries libraries = {fixture, tree_new()};
	struct error err;

	add_host_file(fixture, libraries.tree, "/bin/dash");
	dl_iterate_phdr(add_library, &libraries);
	if (merkle_builder_add_symlink(
		libraries.tree, STR("bin/sh"), STR("dash"), &err) < 0)
		fail_msg("%s", err.text);
	return libraries.tree;
}

/* --- what an action sees -------------------------------------------------- */

static void
tree_is_shown_read_only_at_its_path(void **state)
{
	struct fixture *fixture = *state;
	struct merkle_builder *tree = tree_new();
	char *data = xmalloc(LARGE);
	struct digest root;

	memset(data, 'd', LARGE);
	fixture_add_to(fixture, tree, "sub/data", STR("in a tree\n"), false);
	fixture_add_to(
	    fixture, tree, "tool", STR("#!/bin/sh\necho ran\n"), true);
	fixture_add_to(
	    fixture, tree, "large", (struct str){data, LARGE}, false);
	fixture_add_to(
	    fixture, tree, "large-tool", (struct str){data, LARGE}, true);
	root = tree_put(fixture, tree);
	ask_for(fixture, "toolchain-root:/opt/tool", &root);
	fixture_script(fixture,
	    "cd /opt/tool; cat sub/data; ./tool; "
	    "stat -c '%n %a %s %Y' large large-tool tool; "
	    "stat -c '%n %a %Y' sub; "
	    "(echo x > new) 2>/dev/null || echo no new; "
	    "(echo x >> large) 2>/dev/null || echo no change; "
	    "rm -f sub/data 2>/dev/null || echo no removal; "
	    "chmod 777 tool 2>/dev/null || echo no chmod");
	fixture_run_well(fixture);
	fixture_assert_stdout(fixture,
	    "in a tree\nran\n"
	    "large 444 400000 946684800\nlarge-tool 555 400000 946684800\n"
	    "tool 555 19 946684800\nsub 755 946684800\n"
	    "no new\nno change\nno removal\nno chmod\n");
	free(data);
}

static void
tree_at_the_root_hides_the_host(void **state)
{
	struct fixture *fixture = *state;
	struct digest root = tree_put(fixture, shell_new(fixture));

	ask_for(fixture, "toolchain-root", &root);
	fixture_add_text(fixture, "in", "input\n");
	fixture_script(fixture,
	    "for p in /etc/passwd /usr/bin/env /home /root /var; do "
	    "[ -e $p ] && echo host $p; done; "
	    "read text < in; echo $text; pwd; "
	    "(echo x > /bin/new) 2>/dev/null || echo no new; "
	    "echo x > /tmp/x && echo tmp; echo out > out; "
	    "[ -c /dev/null ] && [ -d /proc/self ] && echo provided");
	fixture_output(fixture, "out");
	fixture_run_well(fixture);
	fixture_assert_stdout(fixture, "input\n/b\nno new\ntmp\nprovided\n");
	fixture_assert_blob(
	    fixture, fixture->result->output_files[0]->digest, "out\n");
}

static void
input_root_may_lie_inside_a_tree(void **state)
{
	struct fixture *fixture = *state;
	struct merkle_builder *tree = shell_new(fixture);
	struct error err;
	struct digest root;

	fixture_add_to(fixture, tree, "opt/beside", STR("beside\n"), false);
	fixture_add_to(
	    fixture, tree, "opt/work/hidden", STR("hidden\n"), false);
	fixture_add_to(fixture, tree, "opt/deep/file", STR("deeper\n"), false);
	assert_int_equal(merkle_builder_add_symlink(
			     tree, STR("opt/link"), STR("deep/file"), &err),
	    0);
	root = tree_put(fixture, tree);
	ask_for(fixture, "toolchain-root", &root);
	fixture_property(fixture, "InputRootAbsolutePath", "/opt/work/src");
	fixture_add_text(fixture, "in", "input\n");
	fixture_script(fixture,
	    "pwd; read a < in; read b < ../../beside; read c < ../../link; "
	    "read d < /opt/work/hidden; echo $a $b $c $d; echo 1 > out");
	fixture_output(fixture, "out");
	fixture_run_well(fixture);
	fixture_assert_stdout(
	    fixture, "/opt/work/src\ninput beside deeper hidden\n");
	assert_int_equal(fixture->result->n_output_files, 1);
}

static void
trees_may_lie_inside_one_another(void **state)
{
	struct fixture *fixture = *state;
	struct merkle_builder *tree = shell_new(fixture);
	struct digest inner = tree_of_text(fixture, "inner\n");
	struct digest middle;
	struct digest outer;

	fixture_add_to(fixture, tree, "opt/outer", STR("outer\n"), false);
	outer = tree_put(fixture, tree);
	tree = tree_new();
	fixture_add_to(fixture, tree, "data", STR("middle\n"), false);
	fixture_add_to(fixture, tree, "x/hidden", STR("hidden\n"), false);
	middle = tree_put(fixture, tree);
	ask_for(fixture, "toolchain-root:/opt/m/x", &inner);
	ask_for(fixture, "toolchain-root:/opt/m", &middle);
	ask_for(fixture, "toolchain-root", &outer);
	fixture_script(fixture, "read a < /opt/outer; read b < /opt/m/data; "
				"read c < /opt/m/x/data; echo $a $b $c; "
				"[ -e /opt/m/x/hidden ] && echo hidden");
	fixture_run_well(fixture);
	fixture_assert_stdout(fixture, "outer middle inner\n");
}

static void
input_root_may_be_the_root_beside_a_tree(void **state)
{
	struct fixture *fixture = *state;
	struct digest root = tree_of_text(fixture, "tree\n");

	merkle_builder_free(fixture->tree);
	fixture->tree = shell_new(fixture);
	ask_for(fixture, "toolchain-root:/opt/t", &root);
	fixture_property(fixture, "InputRootAbsolutePath", "/");
	fixture_script(fixture, "read a < opt/t/data; echo $a");
	fixture_run_well(fixture);
	fixture_assert_stdout(fixture, "tree\n");
}

static void
two_things_at_one_place_are_invalid(void **state)
{
	struct fixture *fixture = *state;
	struct digest root = tree_of_text(fixture, "x");

	ask_for(fixture, "toolchain-root:/opt/t", &root);
	fixture_property(fixture, "InputRootAbsolutePath", "/opt/t");
	fixture_script(fixture, "true");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(fixture->error.text, "/opt/t"));
}

static void
input_root_and_tree_at_the_root_are_invalid(void **state)
{
	struct fixture *fixture = *state;
	struct digest root = tree_of_text(fixture, "x");

	ask_for(fixture, "toolchain-root", &root);
	fixture_property(fixture, "InputRootAbsolutePath", "/");
	fixture_script(fixture, "true");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_INVALID_ARGUMENT);
}

static void
place_below_a_link_of_a_tree_is_invalid(void **state)
{
	struct fixture *fixture = *state;
	struct merkle_builder *tree = tree_new();
	struct digest root;
	struct error err;

	assert_int_equal(
	    merkle_builder_add_symlink(tree, STR("link"), STR("/tmp"), &err),
	    0);
	root = tree_put(fixture, tree);
	ask_for(fixture, "toolchain-root", &root);
	fixture_property(fixture, "InputRootAbsolutePath", "/link/src");
	fixture_script(fixture, "true");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(fixture->error.text, "/link"));
}

static void
tree_over_what_the_host_provides_is_invalid(void **state)
{
	struct fixture *fixture = *state;
	struct digest root = tree_of_text(fixture, "x");

	ask_for(fixture, "toolchain-root:/usr/lib/x", &root);
	fixture_script(fixture, "true");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_INVALID_ARGUMENT);
	assert_non_null(strstr(fixture->error.text, "/usr"));
}

static void
missing_blobs_of_a_tree_are_named(void **state)
{
	struct fixture *fixture = *state;
	struct merkle_builder *tree = tree_new();
	struct merkle_file file = {.executable = false};
	struct digest root;
	struct error err;

	digest_compute(FIXTURE_FUNCTION, "absent", 6, &file.digest);
	assert_int_equal(
	    merkle_builder_add_file(tree, STR("d/f"), &file, &err), 0);
	root = tree_put(fixture, tree);
	ask_for(fixture, "toolchain-root:/opt/t", &root);
	fixture_script(fixture, "true");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_FAILED_PRECONDITION);
	assert_int_equal(fixture->missing.count, 1);
	assert_true(digest_equal(&fixture->missing.items[0], &file.digest));
}

static void
metadata_names_the_trees(void **state)
{
	struct fixture *fixture = *state;
	struct digest root = tree_of_text(fixture, "x");
	char text[DIGEST_TEXT_MAX];
	const Google__Protobuf__Any *any;

	ask_for(fixture, "toolchain-root:/opt/t", &root);
	fixture_script(fixture, "true");
	fixture_run_well(fixture);
	assert_int_equal(
	    fixture->result->execution_metadata->n_auxiliary_metadata, 2);
	any = fixture->result->execution_metadata->auxiliary_metadata[1];
	assert_string_equal(any->type_url,
	    "type.googleapis.com/toolroot.worker.v1.RunEnvironment");
	digest_format(&root, text);
	assert_non_null(
	    memmem(any->value.data, any->value.len, text, strlen(text)));
	assert_non_null(memmem(any->value.data, any->value.len, "/opt/t", 6));
	assert_non_null(
	    memmem(any->value.data, any->value.len, "namespaces", 10));
}

/* --- the cache ------------------------------------------------------------ */

static struct tree *
get(struct fixture *fixture, const struct digest *root)
{
	const struct tree_request request = {
	    .root = *root, .store = fixture->store, .cancel_fd = -1};
	struct error err;
	struct tree *tree = tree_cache_get(fixture->trees, &request, &err);

	if (tree == NULL)
		fail_msg("%s", err.text);
	return tree;
}

static void
reopen(struct fixture *fixture, uint64_t max_bytes)
{
	tree_cache_close(fixture->trees);
	fixture_open_trees(fixture, max_bytes);
}

static void
tree_is_made_once_and_kept_over_a_restart(void **state)
{
	struct fixture *fixture = *state;
	struct digest root = tree_of_text(fixture, "kept");
	struct tree_cache_usage usage;
	struct digest listed[4];

	tree_unpin(fixture->trees, get(fixture, &root));
	tree_unpin(fixture->trees, get(fixture, &root));
	tree_cache_usage(fixture->trees, &usage);
	assert_int_equal(usage.made, 1);
	assert_int_equal(usage.trees, 1);
	reopen(fixture, 1 << 30);
	assert_int_equal(tree_cache_list(fixture->trees, listed, 4), 1);
	assert_true(digest_equal(&listed[0], &root));
	tree_unpin(fixture->trees, get(fixture, &root));
	tree_cache_usage(fixture->trees, &usage);
	assert_int_equal(usage.made, 0);
	assert_true(usage.bytes > 0);
}

static void
damage(struct fixture *fixture, const struct digest *root, const char *text)
{
	char hash[DIGEST_TEXT_MAX];
	char *path =
	    xasprintf("%s/sha256-%s-%llu/complete", fixture->trees_path,
		digest_format_hash(root, hash), (unsigned long long)root->size);
	int fd = open(path, O_WRONLY | O_TRUNC);

	assert_int_not_equal(fd, -1);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	free(path);
}

static void
what_is_not_complete_is_removed_at_the_start(void **state)
{
	struct fixture *fixture = *state;
	struct digest old = tree_of_text(fixture, "of another boot");
	struct digest torn = tree_of_text(fixture, "torn");
	struct tree_cache_usage usage;
	char *partial = xasprintf("%s/new-77/root/deep", fixture->trees_path);
	struct error err;

	tree_unpin(fixture->trees, get(fixture, &old));
	tree_unpin(fixture->trees, get(fixture, &torn));
	damage(fixture, &old, "00000000-0000-0000-0000-000000000000 1\n");
	damage(fixture, &torn, "");
	assert_int_equal(file_make_directories(partial, &err), 0);
	reopen(fixture, 1 << 30);
	tree_cache_usage(fixture->trees, &usage);
	assert_int_equal(usage.trees, 0);
	assert_int_equal(access(partial, F_OK), -1);
	tree_unpin(fixture->trees, get(fixture, &old));
	free(partial);
}

static void
trees_longest_unused_go_and_pinned_ones_stay(void **state)
{
	struct fixture *fixture = *state;
	struct digest a = tree_of_text(fixture, "a");
	struct digest b = tree_of_text(fixture, "b");
	struct digest c = tree_of_text(fixture, "c");
	struct tree_cache_usage usage;
	struct digest listed[4];
	struct tree *pinned;
	uint64_t one;

	tree_unpin(fixture->trees, get(fixture, &a));
	tree_cache_usage(fixture->trees, &usage);
	one = usage.bytes;
	/* Room for two. */
	reopen(fixture, 2 * one + one / 2);
	pinned = get(fixture, &a);
	tree_unpin(fixture->trees, get(fixture, &b));
	tree_unpin(fixture->trees, get(fixture, &c));
	tree_cache_usage(fixture->trees, &usage);
	assert_int_equal(usage.evicted, 1);
	assert_int_equal(tree_cache_list(fixture->trees, listed, 4), 2);
	assert_true(digest_equal(&listed[0], &c));
	assert_true(digest_equal(&listed[1], &a));
	assert_int_equal(
	    faccessat(tree_descriptor(pinned), "data", F_OK, 0), 0);
	/* Dates of files have a grain of some milliseconds. */
	usleep(20000);
	tree_unpin(fixture->trees, pinned);
	reopen(fixture, one + one / 2);
	assert_int_equal(tree_cache_list(fixture->trees, listed, 4), 1);
	assert_true(digest_equal(&listed[0], &a));
}

static void
tree_larger_than_the_cache_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct digest root = tree_of_text(fixture, "large");
	const struct tree_request request = {
	    .root = root, .store = fixture->store, .cancel_fd = -1};
	struct error err;

	reopen(fixture, 100);
	assert_null(tree_cache_get(fixture->trees, &request, &err));
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(err.text, "tree-cache-size"));
}

static void
large_files_share_the_stores_bytes(void **state)
{
	struct fixture *fixture = *state;
	struct merkle_builder *builder = tree_new();
	char *data = xmalloc(LARGE);
	struct digest root;
	struct stat status;
	struct digest digest;
	struct blob *blob;
	struct tree *tree;
	struct error err;

	memset(data, 's', LARGE);
	fixture_put(fixture, (struct str){data, LARGE}, &digest);
	fixture_add_to(
	    fixture, builder, "plain", (struct str){data, LARGE}, false);
	fixture_add_to(
	    fixture, builder, "tool", (struct str){data, LARGE}, true);
	root = tree_put(fixture, builder);
	tree = get(fixture, &root);
	assert_int_equal(
	    store_open_blob(fixture->store, &digest, &blob, &err), 1);
	assert_int_equal(fstat(blob_descriptor(blob), &status), 0);
	assert_int_equal(status.st_nlink, 2);
	blob_free(blob);
	assert_int_equal(
	    fstatat(tree_descriptor(tree), "plain", &status, 0), 0);
	assert_int_equal(status.st_mode & 07777, 0444);
	assert_int_equal(fstatat(tree_descriptor(tree), "tool", &status, 0), 0);
	assert_int_equal(status.st_mode & 07777, 0555);
	tree_unpin(fixture->trees, tree);
	free(data);
}

static ino_t
inode_of(struct tree *tree, const char *path)
{
	struct stat status;

	assert_int_equal(fstatat(tree_descriptor(tree), path, &status, 0), 0);
	return status.st_ino;
}

static struct digest
version(struct fixture *fixture, const char *changing, bool executable)
{
	struct merkle_builder *tree = tree_new();

	fixture_add_to(fixture, tree, "d/same", STR("same"), false);
	fixture_add_to(fixture, tree, "d/text", str_from(changing), false);
	fixture_add_to(fixture, tree, "d/mode", STR("mode"), executable);
	fixture_add_to(fixture, tree, "empty", STR(""), false);
	return tree_put(fixture, tree);
}

static void
versions_of_a_tree_share_what_is_the_same(void **state)
{
	struct fixture *fixture = *state;

	struct digest first = version(fixture, "one", false);
	struct digest second = version(fixture, "two", true);
	struct tree *a = get(fixture, &first);
	struct tree *b = get(fixture, &second);
	char text[4] = "";
	int fd = openat(tree_descriptor(b), "d/text", O_RDONLY);

	/* An image has its small files to itself. */
	if (spawner_staging(fixture_spawner) == STAGING_TMPFS) {
		assert_int_equal(inode_of(a, "d/same"), inode_of(b, "d/same"));
		assert_int_equal(inode_of(a, "empty"), inode_of(b, "empty"));
		assert_int_not_equal(
		    inode_of(a, "d/text"), inode_of(b, "d/text"));
		assert_int_not_equal(
		    inode_of(a, "d/mode"), inode_of(b, "d/mode"));
	}
	assert_int_equal(read(fd, text, 3), 3);
	assert_string_equal(text, "two");
	close(fd);
	tree_unpin(fixture->trees, a);
	tree_unpin(fixture->trees, b);
}

/* --- several threads ------------------------------------------------------ */

struct race {
	struct fixture *fixture;
	struct digest root;
	atomic_int fetches;
	atomic_int failures; /* that fetch is still to have */
	atomic_int got;
};

static int
slow_fetch(void *cookie, const struct digest *root, struct error *err)
{
	struct race *race = cookie;

	assert_true(digest_equal(root, &race->root));
	atomic_fetch_add(&race->fetches, 1);
	usleep(50000);
	if (atomic_fetch_sub(&race->failures, 1) > 0)
		return error_set(err, ERROR_UNAVAILABLE, "not this time");
	return 0;
}

static void *
race_main(void *cookie)
{
	struct race *race = cookie;
	const struct tree_request request = {.root = race->root,
	    .store = race->fixture->store,
	    .fetch = slow_fetch,
	    .cookie = race,
	    .cancel_fd = -1};
	struct error err;
	struct tree *tree =
	    tree_cache_get(race->fixture->trees, &request, &err);

	if (tree != NULL) {
		atomic_fetch_add(&race->got, 1);
		tree_unpin(race->fixture->trees, tree);
	}
	return NULL;
}

static void
run_race(struct race *race, struct fixture *fixture, const char *text)
{
	pthread_t threads[6];

	race->fixture = fixture;
	race->root = tree_of_text(fixture, text);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, race_main, race), 0);
	for (size_t i = 0; i < 6; i++)
		pthread_join(threads[i], NULL);
}

static void
slots_that_want_one_tree_fetch_it_once(void **state)
{
	struct race race = {.fetches = 0};
	struct tree_cache_usage usage;

	run_race(&race, *state, "raced");
	assert_int_equal(race.fetches, 1);
	assert_int_equal(race.got, 6);
	tree_cache_usage(race.fixture->trees, &usage);
	assert_int_equal(usage.made, 1);
}

static void
failure_of_one_is_tried_again_by_the_next(void **state)
{
	struct race race = {.failures = 2};

	run_race(&race, *state, "failing");
	assert_int_equal(race.fetches, 3);
	assert_int_equal(race.got, 4);
}

static int
run_all(void)
{
#define RUN_TEST(test) \
	cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
	    RUN_TEST(tree_is_shown_read_only_at_its_path),
	    RUN_TEST(tree_at_the_root_hides_the_host),
	    RUN_TEST(input_root_may_lie_inside_a_tree),
	    RUN_TEST(trees_may_lie_inside_one_another),
	    RUN_TEST(input_root_may_be_the_root_beside_a_tree),
	    RUN_TEST(two_things_at_one_place_are_invalid),
	    RUN_TEST(input_root_and_tree_at_the_root_are_invalid),
	    RUN_TEST(place_below_a_link_of_a_tree_is_invalid),
	    RUN_TEST(tree_over_what_the_host_provides_is_invalid),
	    RUN_TEST(missing_blobs_of_a_tree_are_named),
	    RUN_TEST(metadata_names_the_trees),
	    RUN_TEST(tree_is_made_once_and_kept_over_a_restart),
	    RUN_TEST(what_is_not_complete_is_removed_at_the_start),
	    RUN_TEST(trees_longest_unused_go_and_pinned_ones_stay),
	    RUN_TEST(tree_larger_than_the_cache_is_refused),
	    RUN_TEST(large_files_share_the_stores_bytes),
	    RUN_TEST(versions_of_a_tree_share_what_is_the_same),
	    RUN_TEST(slots_that_want_one_tree_fetch_it_once),
	    RUN_TEST(failure_of_one_is_tried_again_by_the_next),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int
main(void)
{
	return fixture_run_stagings(run_all);
}
