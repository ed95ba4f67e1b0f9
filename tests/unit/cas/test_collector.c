/* SPDX-License-Identifier: Apache-2.0 */
/* The collector: what goes, what stays, and that the bytes come back. One
 * thread beside the store's. */
#include "collector_fixture.h"

#include "cas/keep.h"
#include "cas/owners.h"
#include "cas/pins.h"
#include "cas/store_internal.h"

#define SMALL ((size_t)10 << 10)
#define LARGE ((size_t)200 << 10)
#define MIN_AGE (3 * HOUR_MS)

static void
put_many(struct fixture *fixture, uint64_t first, uint64_t count, size_t len)
{
	for (uint64_t i = 0; i < count; i++)
		put_numbered(fixture->store, first + i, len);
}

static bool
absent(struct fixture *fixture, uint64_t seed, size_t len)
{
	struct digest digest = digest_of(seed, len);

	return is_missing(fixture->store, &digest);
}

static void
the_oldest_go_until_the_target_is_reached(void **state)
{
	struct fixture *fixture = *state;
	struct collection_report report;
	uint64_t left = 0;

	put_many(fixture, 0, 400, SMALL);
	put_many(fixture, 1000, 10, LARGE);
	time_passes(fixture, 24 * HOUR_MS);
	put_many(fixture, 400, 100, SMALL);
	time_passes(fixture, 4 * HOUR_MS);
	report = collect_to(fixture, MIN_AGE, (uint64_t)3 << 20);
	assert_true(report.bytes_before > (uint64_t)6 << 20);
	assert_true(bytes_of(fixture->store) <= (uint64_t)3 << 20);
	assert_int_equal(report.bytes_after, bytes_of(fixture->store));
	assert_false(report.short_of);
	assert_true(report.youngest_age_ms >= 24 * HOUR_MS);
	/* The younger ones are all there. */
	for (uint64_t i = 400; i < 500; i++)
		assert_content(fixture->store, i, SMALL);
	/* It did not take more than it had to. */
	for (uint64_t i = 0; i < 400; i++) {
		if (!absent(fixture, i, SMALL)) {
			left++;
			assert_content(fixture->store, i, SMALL);
		}
	}
	assert_true(left > 20);
	fixture_reopen(fixture);
	for (uint64_t i = 400; i < 500; i++)
		assert_content(fixture->store, i, SMALL);
}

static void
the_bytes_on_disk_come_back(void **state)
{
	struct fixture *fixture = *state;
	char command[256];
	unsigned long kilobytes = 0;
	FILE *pipe;

	put_many(fixture, 0, 500, SMALL);
	put_many(fixture, 1000, 20, LARGE);
	time_passes(fixture, 24 * HOUR_MS);
	collect_to(fixture, MIN_AGE, 0);
	snprintf(command, sizeof(command),
	    "du -sk %s/segments %s/blobs | "
	    "awk '{s += $1} END {print s}'",
	    fixture->path, fixture->path);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_int_equal(fscanf(pipe, "%lu", &kilobytes), 1);
	pclose(pipe);
	/* The segment that is written to stays, and directories of shards. */
	assert_in_range(kilobytes, 0, 1200);
}

static void
nothing_young_goes_and_a_refusal_says_so(void **state)
{
	struct fixture *fixture = *state;
	struct collection_report report;

	put_many(fixture, 0, 50, SMALL);
	time_passes(fixture, 2 * HOUR_MS);
	report = collect_to(fixture, MIN_AGE, 0);
	assert_int_equal(report.blobs, 0);
	assert_int_equal(report.young_blobs, 50);
	assert_int_equal(report.youngest_age_ms, -1);
	assert_true(report.short_of);
	for (uint64_t i = 0; i < 50; i++)
		assert_content(fixture->store, i, SMALL);
}

static void
what_was_found_or_read_stays(void **state)
{
	struct fixture *fixture = *state;

	put_many(fixture, 0, 60, SMALL);
	put_many(fixture, 100, 4, LARGE);
	time_passes(fixture, 24 * HOUR_MS);
	assert_false(absent(fixture, 7, SMALL));
	assert_content(fixture->store, 8, SMALL);
	assert_false(absent(fixture, 101, LARGE));
	/* The touches still wait in memory. */
	collect_to(fixture, MIN_AGE, 0);
	assert_content(fixture->store, 7, SMALL);
	assert_content(fixture->store, 8, SMALL);
	assert_content(fixture->store, 101, LARGE);
	assert_true(absent(fixture, 9, SMALL));
	assert_true(absent(fixture, 102, LARGE));
}

static void
what_is_written_again_is_young(void **state)
{
	struct fixture *fixture = *state;

	put_many(fixture, 0, 4, SMALL);
	put_many(fixture, 100, 2, LARGE);
	time_passes(fixture, 24 * HOUR_MS);
	put_numbered(fixture->store, 2, SMALL);
	put_numbered(fixture->store, 101, LARGE);
	collect_to(fixture, MIN_AGE, 0);
	assert_content(fixture->store, 2, SMALL);
	assert_content(fixture->store, 101, LARGE);
	assert_true(absent(fixture, 3, SMALL));
	/* What went can come back. */
	put_numbered(fixture->store, 3, SMALL);
	put_numbered(fixture->store, 100, LARGE);
	assert_content(fixture->store, 3, SMALL);
	assert_content(fixture->store, 100, LARGE);
}

static void
results_do_not_outlive_their_blobs(void **state)
{
	struct fixture *fixture = *state;
	struct store_usage usage;
	struct error err;

	for (uint64_t i = 0; i < 100; i++) {
		struct digest blobs[2] = {
		    put_numbered(fixture->store, 2 * i, SMALL),
		    put_numbered(fixture->store, 2 * i + 1, SMALL)};

		assert_int_equal(
		    put_action_naming(fixture->store, 5000 + i, blobs, 2, &err),
		    0);
	}
	time_passes(fixture, 24 * HOUR_MS);
	/* A hit keeps the result and what it names. */
	assert_true(has_action(fixture->store, 5042));
	/* All have one age, so a part of an epoch goes. */
	collect_to(fixture, MIN_AGE, bytes_of(fixture->store) / 2);
	assert_true(has_action(fixture->store, 5042));
	assert_content(fixture->store, 84, SMALL);
	assert_content(fixture->store, 85, SMALL);
	store_usage(fixture->store, &usage);
	assert_in_range(usage.action_results, 1, 99);
	/* None is found incomplete: those are gone already. */
	for (uint64_t i = 0; i < 100; i++)
		usage.action_results -= has_action(fixture->store, 5000 + i);
	assert_int_equal(usage.action_results, 0);
}

static void
an_instance_does_not_lose_blobs_of_no_known_owner(void **state)
{
	struct fixture *fixture = *state;
	const struct collection_wish wish = {
	    .run = true, .max_age_ms = 12 * HOUR_MS, .instance = STR("main")};
	const struct collection_wish other = {
	    .run = true, .max_age_ms = 12 * HOUR_MS, .instance = STR("x")};
	struct digest blob = put_numbered(fixture->store, 1, SMALL);
	struct collection_report report;
	struct error err;
	uint16_t owner;

	assert_int_equal(
	    put_action_naming(fixture->store, 5000, &blob, 1, &err), 0);
	assert_int_equal(
	    store_owner(fixture->store, STR("x"), &owner, &err), 0);
	time_passes(fixture, 24 * HOUR_MS);
	report = collect(fixture, MIN_AGE, &other);
	assert_int_equal(report.results, 0);
	report = collect(fixture, MIN_AGE, &wish);
	assert_int_equal(report.results, 1);
	assert_int_equal(report.blobs, 0);
	assert_false(has_action(fixture->store, 5000));
	assert_content(fixture->store, 1, SMALL);
}

static void
a_plan_changes_nothing_and_foretells(void **state)
{
	struct fixture *fixture = *state;
	struct collection_wish wish = {.sized = true, .target_size = 0};
	struct collection_report plan, report;

	put_many(fixture, 0, 30, SMALL);
	put_many(fixture, 100, 3, LARGE);
	time_passes(fixture, 24 * HOUR_MS);
	plan = collect(fixture, MIN_AGE, &wish);
	assert_int_equal(plan.blobs, 33);
	assert_int_equal(plan.files, 3);
	assert_int_equal(bytes_of(fixture->store), plan.bytes_before);
	wish.run = true;
	report = collect(fixture, MIN_AGE, &wish);
	assert_int_equal(report.blobs, plan.blobs);
	assert_int_equal(report.blob_bytes, plan.blob_bytes);
	assert_true(absent(fixture, 0, SMALL));
}

static void
age_alone_can_be_asked_for(void **state)
{
	struct fixture *fixture = *state;
	const struct collection_wish wish = {
	    .run = true, .max_age_ms = 20 * HOUR_MS};

	put_many(fixture, 0, 5, SMALL);
	time_passes(fixture, 12 * HOUR_MS);
	put_many(fixture, 10, 5, SMALL);
	time_passes(fixture, 12 * HOUR_MS);
	collect(fixture, MIN_AGE, &wish);
	for (uint64_t i = 0; i < 5; i++) {
		assert_true(absent(fixture, i, SMALL));
		assert_false(absent(fixture, 10 + i, SMALL));
	}
}

static void
a_part_of_an_age_is_whole_segments(void **state)
{
	struct fixture *fixture = *state;
	struct collection_report report;
	uint64_t before;

	put_many(fixture, 0, 800, SMALL);
	time_passes(fixture, 24 * HOUR_MS);
	before = bytes_of(fixture->store);
	report = collect_to(fixture, MIN_AGE, before / 2);
	assert_in_range(report.blobs, 390, 420);
	/* What is left of the one that was begun, at most. */
	assert_in_range(report.moved_bytes, 0, 1 << 20);
	assert_true(report.segments_removed >= 3);
	for (uint64_t i = 0; i < 300; i++)
		assert_true(absent(fixture, i, SMALL));
	for (uint64_t i = 450; i < 800; i++)
		assert_content(fixture->store, i, SMALL);
}

static void
survivors_are_moved_out_of_mostly_dead_segments(void **state)
{
	struct fixture *fixture = *state;
	struct collection_report report;
	struct store_usage usage;

	put_many(fixture, 0, 800, SMALL);
	store_usage(fixture->store, &usage);
	assert_true(usage.segments >= 8);
	time_passes(fixture, 24 * HOUR_MS);
	for (uint64_t i = 0; i < 800; i += 10)
		assert_false(absent(fixture, i, SMALL));
	report = collect_to(fixture, MIN_AGE, 0);
	assert_true(report.segments_compacted >= 6);
	store_usage(fixture->store, &usage);
	assert_in_range(usage.segments, 1, 3);
	assert_int_equal(usage.blobs, 80);
	for (uint64_t i = 0; i < 800; i += 10)
		assert_content(fixture->store, i, SMALL);
	fixture_reopen(fixture);
	for (uint64_t i = 0; i < 800; i += 10)
		assert_content(fixture->store, i, SMALL);
	fixture_reopen(fixture);
	time_passes(fixture, 24 * HOUR_MS);
	collect_to(fixture, MIN_AGE, 0);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.blobs, 0);
}

static void
open_blobs_stay_readable(void **state)
{
	struct fixture *fixture = *state;
	size_t lengths[2] = {SMALL, LARGE};
	struct blob *blobs[2];
	struct error err;

	put_many(fixture, 50, 200, SMALL);
	for (size_t i = 0; i < 2; i++) {
		struct digest digest =
		    put_numbered(fixture->store, i, lengths[i]);

		assert_int_equal(
		    store_open_blob(fixture->store, &digest, &blobs[i], &err),
		    1);
	}
	put_many(fixture, 250, 200, SMALL);
	time_passes(fixture, 24 * HOUR_MS);
	collect_to(fixture, MIN_AGE, 0);
	for (size_t i = 0; i < 2; i++) {
		char *expected = make_content(i, lengths[i]);
		char *data = xmalloc(lengths[i]);

		assert_true(absent(fixture, i, lengths[i]));
		assert_int_equal(
		    blob_read(blobs[i], 0, data, lengths[i], false, &err), 1);
		assert_memory_equal(data, expected, lengths[i]);
		free(data);
		free(expected);
		blob_free(blobs[i]);
	}
}

/* --- roots ---------------------------------------------------------------- */

/* A Directory with one file. */
static struct digest
put_tree(struct fixture *fixture, const struct digest *file)
{
	Reapi__Directory directory = REAPI__DIRECTORY__INIT;
	Reapi__FileNode node = REAPI__FILE_NODE__INIT;
	Reapi__FileNode *nodes[] = {&node};
	Reapi__Digest message;
	char text[DIGEST_TEXT_MAX];
	struct digest digest;
	struct error err;
	uint8_t bytes[256];
	size_t length;

	digest_to_message(file, text, &message);
	node.name = (ProtobufCBinaryData){4, (uint8_t *)(uintptr_t) "file"};
	node.digest = &message;
	directory.files = nodes;
	directory.n_files = 1;
	length = reapi__directory__pack(&directory, bytes);
	digest_compute(DIGEST_SHA256, bytes, length, &digest);
	assert_int_equal(
	    put_content(fixture->store, &digest, bytes, length, &err),
	    ERROR_OK);
	return digest;
}

static int
count_pin(void *cookie, const struct pin *pin, struct error *err)
{
	int *count = cookie;

	(void)err;
	assert_true(str_equal(pin->name, STR("rust 1.80")));
	(*count)++;
	return 0;
}

static void
pins_keep_what_hangs_below_them(void **state)
{
	struct fixture *fixture = *state;
	struct digest file = put_numbered(fixture->store, 1, SMALL);
	struct digest root = put_tree(fixture, &file);
	struct pin pin = {
	    .name = STR("rust 1.80"), .kind = PIN_TREE, .digest = root};
	struct collection_report report;
	struct error err;
	int count = 0;

	put_numbered(fixture->store, 2, SMALL);
	assert_int_equal(pin_set(fixture->store, &pin, &err), 0);
	fixture_reopen(fixture);
	time_passes(fixture, 48 * HOUR_MS);
	report = collect_to(fixture, MIN_AGE, 0);
	assert_int_equal(report.kept_blobs, 2);
	assert_int_equal(report.roots, 1);
	assert_content(fixture->store, 1, SMALL);
	assert_false(is_missing(fixture->store, &root));
	assert_true(absent(fixture, 2, SMALL));
	assert_int_equal(pins_list(fixture->store, count_pin, &count, &err), 0);
	assert_int_equal(count, 1);
	assert_int_equal(pin_remove(fixture->store, pin.name, &err), 1);
	assert_int_equal(pin_remove(fixture->store, pin.name, &err), 0);
	/* Closing writes the touches. */
	fixture_reopen(fixture);
	time_passes(fixture, 48 * HOUR_MS);
	collect_to(fixture, MIN_AGE, 0);
	assert_true(absent(fixture, 1, SMALL));
}

static void
a_pin_needs_all_that_it_names(void **state)
{
	struct fixture *fixture = *state;
	struct digest file = digest_of(1, SMALL);
	struct pin pin = {.name = STR("a"),
	    .kind = PIN_TREE,
	    .digest = put_tree(fixture, &file)};
	struct error err;

	assert_int_equal(pin_set(fixture->store, &pin, &err), -1);
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
	pin.name = STR("");
	assert_int_equal(pin_set(fixture->store, &pin, &err), -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	pin.name = STR("a\nb");
	assert_int_equal(pin_set(fixture->store, &pin, &err), -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
}

/* --- operations ----------------------------------------------------------- */

static struct digest
put_message(struct fixture *fixture, const ProtobufCMessage *message)
{
	uint8_t bytes[1024];
	size_t length = protobuf_c_message_get_packed_size(message);
	struct digest digest;
	struct error err;

	assert_true(length <= sizeof(bytes));
	protobuf_c_message_pack(message, bytes);
	digest_compute(DIGEST_SHA256, bytes, length, &digest);
	assert_int_equal(
	    put_content(fixture->store, &digest, bytes, length, &err),
	    ERROR_OK);
	return digest;
}

/* An Action with this input root and, as a property, this toolchain. */
static struct digest
put_operation(struct fixture *fixture, const struct digest *input,
    const struct digest *toolchain)
{
	Reapi__Action action = REAPI__ACTION__INIT;
	Reapi__Command command = REAPI__COMMAND__INIT;
	Reapi__Platform platform = REAPI__PLATFORM__INIT;
	Reapi__Platform__Property property = REAPI__PLATFORM__PROPERTY__INIT;
	Reapi__Platform__Property *properties[] = {&property};
	char texts[3][DIGEST_TEXT_MAX];
	Reapi__Digest command_message, input_message;
	struct digest command_digest;
	const char *name = "toolchain-root:/opt";

	command_digest = put_message(fixture, &command.base);
	digest_to_message(&command_digest, texts[0], &command_message);
	digest_to_message(input, texts[1], &input_message);
	digest_format(toolchain, texts[2]);
	property.name =
	    (ProtobufCBinaryData){strlen(name), (uint8_t *)(uintptr_t)name};
	property.value =
	    (ProtobufCBinaryData){strlen(texts[2]), (uint8_t *)texts[2]};
	platform.properties = properties;
	platform.n_properties = 1;
	action.platform = &platform;
	action.command_digest = &command_message;
	action.input_root_digest = &input_message;
	return put_message(fixture, &action.base);
}

static int
keep_operation(void *cookie, struct keep *keep, struct error *err)
{
	keep->roots++;
	return keep_add_action(keep, cookie, err);
}

struct watching {
	struct collector *collector;
	struct collection_progress progress;
};

static int
watch_roots(void *cookie, struct keep *keep, struct error *err)
{
	struct watching *watching = cookie;

	(void)keep;
	(void)err;
	collector_progress(watching->collector, &watching->progress);
	return 0;
}

static void
a_collection_tells_how_far_it_is(void **state)
{
	struct fixture *fixture = *state;
	struct watching watching = {.collector = NULL};
	const struct collector_options options = {.store = fixture->store,
	    .min_age_ms = MIN_AGE,
	    .roots = watch_roots,
	    .cookie = &watching};
	const struct collection_wish wish = {.run = true, .sized = true};
	struct collection_progress progress;
	struct collection_report report;
	struct error err;

	put_many(fixture, 0, 50, SMALL);
	time_passes(fixture, 24 * HOUR_MS);
	watching.collector = collector_new(&options, &err);
	collector_progress(watching.collector, &progress);
	assert_int_equal(progress.phase, COLLECTION_NONE);
	assert_int_equal(
	    collector_collect(watching.collector, &wish, &report, &err), 0);
	assert_int_equal(watching.progress.phase, COLLECTION_ROOTS);
	assert_int_equal(watching.progress.dropped_bytes, 0);
	collector_progress(watching.collector, &progress);
	assert_int_equal(progress.phase, COLLECTION_ENDED);
	assert_int_equal(progress.dropped_bytes, report.blob_bytes);
	collector_free(watching.collector);
}

static int
fail_to_keep(void *cookie, struct keep *keep, struct error *err)
{
	(void)cookie;
	(void)keep;
	return error_set(err, ERROR_INTERNAL, "the disk is on fire");
}

static void
what_operations_need_stays(void **state)
{
	struct fixture *fixture = *state;
	struct digest source = put_numbered(fixture->store, 1, SMALL);
	struct digest compiler = put_numbered(fixture->store, 2, LARGE);
	struct digest input = put_tree(fixture, &source);
	struct digest toolchain = put_tree(fixture, &compiler);
	struct digest action = put_operation(fixture, &input, &toolchain);
	struct collector_options options = {.store = fixture->store,
	    .min_age_ms = MIN_AGE,
	    .roots = keep_operation,
	    .cookie = &action};
	const struct collection_wish wish = {.run = true, .sized = true};
	struct collection_report report;
	struct collector *collector;
	struct error err;

	put_numbered(fixture->store, 3, SMALL);
	time_passes(fixture, 48 * HOUR_MS);
	collector = collector_new(&options, &err);
	assert_int_equal(collector_collect(collector, &wish, &report, &err), 0);
	collector_free(collector);
	/* Two trees of two, the action; its command is the empty blob. */
	assert_int_equal(report.kept_blobs, 5);
	assert_int_equal(report.blobs, 1);
	assert_content(fixture->store, 1, SMALL);
	assert_content(fixture->store, 2, LARGE);
	assert_false(is_missing(fixture->store, &action));
	/* Who cannot say what has to stay, gets nothing collected. */
	fixture_reopen(fixture);
	time_passes(fixture, 48 * HOUR_MS);
	options.store = fixture->store;
	options.roots = fail_to_keep;
	collector = collector_new(&options, &err);
	assert_int_equal(
	    collector_collect(collector, &wish, &report, &err), -1);
	collector_free(collector);
	assert_content(fixture->store, 1, SMALL);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(the_oldest_go_until_the_target_is_reached),
	    TEST(the_bytes_on_disk_come_back),
	    TEST(nothing_young_goes_and_a_refusal_says_so),
	    TEST(what_was_found_or_read_stays),
	    TEST(what_is_written_again_is_young),
	    TEST(results_do_not_outlive_their_blobs),
	    TEST(an_instance_does_not_lose_blobs_of_no_known_owner),
	    TEST(a_plan_changes_nothing_and_foretells),
	    TEST(age_alone_can_be_asked_for),
	    TEST(a_part_of_an_age_is_whole_segments),
	    TEST(survivors_are_moved_out_of_mostly_dead_segments),
	    TEST(open_blobs_stay_readable),
	    TEST(pins_keep_what_hangs_below_them),
	    TEST(a_pin_needs_all_that_it_names),
	    TEST(a_collection_tells_how_far_it_is),
	    TEST(what_operations_need_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
