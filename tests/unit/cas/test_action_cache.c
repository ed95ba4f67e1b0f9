/* SPDX-License-Identifier: Apache-2.0 */
/* Action results: complete or absent. One thread beside the committer's. */
#include "store_fixture.h"

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "base/arena.h"
#include "cas/digest_message.h"

#define LARGE ((size_t)300 << 10)

static const struct str instance = {"main", 4};

/* A result with one output file and standard output. */
static struct str
make_result(
    struct arena *arena, const struct digest *file, const struct digest *output)
{
	Reapi__ActionResult result = REAPI__ACTION_RESULT__INIT;
	Reapi__OutputFile out = REAPI__OUTPUT_FILE__INIT;
	Reapi__OutputFile *outs[] = {&out};
	Reapi__Digest file_message, output_message;
	char file_text[DIGEST_TEXT_MAX], output_text[DIGEST_TEXT_MAX];
	struct str bytes;

	digest_to_message(file, file_text, &file_message);
	digest_to_message(output, output_text, &output_message);
	out.path = (ProtobufCBinaryData){7, (uint8_t *)(uintptr_t) "out/a.o"};
	out.digest = &file_message;
	result.output_files = outs;
	result.n_output_files = 1;
	result.stdout_digest = &output_message;
	bytes.len = reapi__action_result__get_packed_size(&result);
	bytes.data = arena_alloc(arena, bytes.len);
	reapi__action_result__pack(&result, (uint8_t *)(uintptr_t)bytes.data);
	return bytes;
}

static int
get(struct store *store, const struct action_key *key, struct str *result)
{
	static struct arena arena;
	struct error err = {0};
	int rc;

	arena_clear(&arena);
	arena_init(&arena, 1 << 20);
	rc = store_get_action(store, key, &arena, result, &err);
	if (rc < 0)
		fail_msg("get: %s", err.text);
	arena_clear(&arena);
	return rc;
}

static void
a_result_with_all_its_blobs_is_returned(void **state)
{
	struct fixture *fixture = *state;
	struct digest file = put_numbered(fixture->store, 1, 100);
	struct digest output = put_numbered(fixture->store, 2, LARGE);
	struct action_key key = {instance, digest_of(3, 10)};
	struct action_key other = {STR("other"), key.action};
	struct store_usage usage;
	struct arena arena;
	struct str put, got;
	struct error err;

	arena_init(&arena, 1 << 20);
	put = make_result(&arena, &file, &output);
	assert_int_equal(get(fixture->store, &key, &got), 0);
	assert_int_equal(
	    store_put_action(fixture->store, &key, put, NULL, &err), 0);
	fixture_reopen(fixture);
	assert_int_equal(
	    store_get_action(fixture->store, &key, &arena, &got, &err), 1);
	assert_true(str_equal(put, got));
	assert_int_equal(get(fixture->store, &other, &got), 0);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.action_results, 1);
	/* Replaced, not doubled. */
	assert_int_equal(
	    store_put_action(fixture->store, &key, put, NULL, &err), 0);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.action_results, 1);
	assert_int_equal(store_drop_action(fixture->store, &key, &err), 1);
	assert_int_equal(store_drop_action(fixture->store, &key, &err), 0);
	assert_int_equal(get(fixture->store, &key, &got), 0);
	arena_clear(&arena);
}

static void
a_result_that_lacks_a_blob_is_not_taken(void **state)
{
	struct fixture *fixture = *state;
	struct digest file = put_numbered(fixture->store, 1, 100);
	struct digest absent = digest_of(2, 100);
	struct action_key key = {instance, digest_of(3, 10)};
	char text[DIGEST_TEXT_MAX];
	struct arena arena;
	struct error err;
	struct str got;

	arena_init(&arena, 1 << 20);
	assert_int_equal(store_put_action(fixture->store, &key,
			     make_result(&arena, &file, &absent), NULL, &err),
	    -1);
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
	assert_non_null(strstr(err.text, digest_format(&absent, text)));
	assert_int_equal(get(fixture->store, &key, &got), 0);
	assert_int_equal(
	    store_put_action(fixture->store, &key, STR("\xff\xff"), NULL, &err),
	    -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	arena_clear(&arena);
}

static void
a_result_whose_blob_went_is_dropped(void **state)
{
	struct fixture *fixture = *state;
	struct digest file = put_numbered(fixture->store, 1, 100);
	struct digest output = put_numbered(fixture->store, 2, LARGE);
	struct action_key key = {instance, digest_of(3, 10)};
	char path[256], hash[DIGEST_TEXT_MAX];
	struct store_usage usage;
	struct arena arena;
	struct error err;
	struct str put, got;

	arena_init(&arena, 1 << 20);
	put = make_result(&arena, &file, &output);
	assert_int_equal(
	    store_put_action(fixture->store, &key, put, NULL, &err), 0);
	assert_int_equal(store_drop_blob(fixture->store, &file, &err), 0);
	assert_int_equal(get(fixture->store, &key, &got), 0);
	fixture_reopen(fixture);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.action_results, 0);

	/* The same when only the file is gone, behind our back. */
	put_numbered(fixture->store, 1, 100);
	assert_int_equal(
	    store_put_action(fixture->store, &key, put, NULL, &err), 0);
	snprintf(path, sizeof(path), "%s/blobs/sha256/%02x/%s", fixture->path,
	    output.hash[0], digest_format_hash(&output, hash));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(get(fixture->store, &key, &got), 0);
	fixture_reopen(fixture);
	assert_true(is_missing(fixture->store, &output));
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.action_results, 0);
	assert_int_equal(usage.dropped, 0);
	put_numbered(fixture->store, 2, LARGE);
	assert_int_equal(
	    store_put_action(fixture->store, &key, put, NULL, &err), 0);
	assert_int_equal(get(fixture->store, &key, &got), 1);
	arena_clear(&arena);
}

static void
a_result_too_large_for_the_request_says_so(void **state)
{
	struct fixture *fixture = *state;
	struct digest file = put_numbered(fixture->store, 1, 100);
	struct action_key key = {instance, digest_of(3, 10)};
	struct arena arena, tiny;
	struct error err;
	struct str got;

	arena_init(&arena, 1 << 20);
	arena_init(&tiny, 8);
	assert_int_equal(store_put_action(fixture->store, &key,
			     make_result(&arena, &file, &file), NULL, &err),
	    0);
	assert_int_equal(
	    store_get_action(fixture->store, &key, &tiny, &got, &err), -1);
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	arena_clear(&tiny);
	arena_clear(&arena);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_result_with_all_its_blobs_is_returned),
	    TEST(a_result_that_lacks_a_blob_is_not_taken),
	    TEST(a_result_whose_blob_went_is_dropped),
	    TEST(a_result_too_large_for_the_request_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
