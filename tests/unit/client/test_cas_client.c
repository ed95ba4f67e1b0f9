/* SPDX-License-Identifier: Apache-2.0 */
/* The storage client reads and downloads, from a server with faults. */
#include "client/cas_client.h"

#include "tests/unit/client/client_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "client/request_metadata.h"

/* --- opening -------------------------------------------------------------- */

static void
capabilities_are_asked_for_and_bounded(void **state)
{
	struct fixture *f = *state;
	const struct cas_capabilities *capabilities =
	    cas_client_capabilities(f->client);
	struct cas_client *client;

	assert_true(capabilities->max_batch_bytes > 0);
	assert_true(capabilities->max_batch_bytes < 4 << 20);
	assert_int_equal(capabilities->told_batch_bytes, 0);
	assert_false(capabilities->zstd);
	fake.max_batch = 12345;
	fake.max_blob = 99999;
	fake.zstd = true;
	client = fake_cas_client(false);
	capabilities = cas_client_capabilities(client);
	assert_int_equal(capabilities->max_batch_bytes, 12345);
	assert_int_equal(capabilities->max_blob_bytes, 99999);
	assert_true(capabilities->zstd);
	cas_client_close(client);
	fake.max_batch = 8 << 20;
	client = fake_cas_client(false);
	capabilities = cas_client_capabilities(client);
	assert_true(capabilities->max_batch_bytes < 4 << 20);
	assert_int_equal(capabilities->told_batch_bytes, 8 << 20);
	cas_client_close(client);
}

static void
server_without_our_digest_function_is_refused(void **state)
{
	struct fixture *f = *state;
	struct cas_client_options options = {
	    .channel = fake.channel, .function = DIGEST_SHA256};

	fake.function = REAPI__DIGEST_FUNCTION__VALUE__BLAKE3;
	assert_null(cas_client_open(&options, &f->err));
	assert_int_equal(f->err.code, ERROR_FAILED_PRECONDITION);
	assert_non_null(strstr(f->err.text, "BLAKE3"));
	assert_non_null(strstr(f->err.text, "sha256"));
}

static void
passing_refusals_are_tried_again_and_lasting_ones_reported(void **state)
{
	struct fixture *f = *state;
	struct digest digest = add_remote(10, 1);

	want(f, &digest);
	fake.refuse_calls = 2;
	assert_ok(cas_client_find_missing(
		      f->client, NULL, &f->digests, &f->absent, &f->err),
	    f);
	fake.refuse_calls = 100;
	assert_int_equal(cas_client_find_missing(
			     f->client, NULL, &f->digests, &f->absent, &f->err),
	    -1);
	assert_int_equal(f->err.code, ERROR_UNAVAILABLE);
	assert_int_equal(fake.refuse_calls, 96);
}

static void
calls_carry_the_request_metadata(void **state)
{
	struct fixture *f = *state;
	struct digest digest;
	struct request_metadata metadata = {
	    .tool_name = "toolroot", .action_id = "abc"};
	struct cas_transfer transfer = {.metadata = &metadata};
	struct str packed = request_metadata_pack(&metadata);
	Reapi__RequestMetadata *message = reapi__request_metadata__unpack(
	    NULL, packed.len, (const uint8_t *)packed.data);

	assert_non_null(message);
	assert_int_equal(message->action_id.len, 3);
	assert_memory_equal(message->action_id.data, "abc", 3);
	assert_string_equal(message->tool_details->tool_name, "toolroot");
	reapi__request_metadata__free_unpacked(message, NULL);
	free((char *)packed.data);
	assert_ok(cas_client_find_missing(
		      f->client, NULL, &f->digests, &f->absent, &f->err),
	    f);
	assert_false(fake.saw_metadata);
	digest = add_remote(5, 5);
	want(f, &digest);
	assert_ok(cas_client_find_missing(
		      f->client, &transfer, &f->digests, &f->absent, &f->err),
	    f);
	assert_true(fake.saw_metadata);
}

static void
many_digests_are_asked_for_in_several_calls(void **state)
{
	struct fixture *f = *state;
	struct digest digest;

	for (unsigned i = 0; i < 50000; i++) {
		digest_compute(DIGEST_SHA256, &i, sizeof(i), &digest);
		want(f, &digest);
	}
	f->digests.items[7] = add_remote(10, 1);
	assert_ok(cas_client_find_missing(
		      f->client, NULL, &f->digests, &f->absent, &f->err),
	    f);
	assert_int_equal(f->absent.count, 49999);
	assert_int_equal(fake.find_missings, 3);
}

/* --- reading -------------------------------------------------------------- */

static void
blob_is_read_into_a_buffer(void **state)
{
	struct fixture *f = *state;
	struct digest digest = add_remote(LARGE + 7, 1);
	struct digest absent;
	struct digest actual;
	struct buffer content;

	buffer_init(&content, 2 * LARGE);
	assert_int_equal(
	    cas_client_read(f->client, NULL, &digest, &content, &f->err), 1);
	digest_compute(DIGEST_SHA256, content.data, content.len, &actual);
	assert_true(digest_equal(&actual, &digest));
	digest_compute(DIGEST_SHA256, "absent", 6, &absent);
	assert_int_equal(
	    cas_client_read(f->client, NULL, &absent, &content, &f->err), 0);
	assert_int_equal(content.len, LARGE + 7);
	/* No room for a second one. */
	assert_failed(
	    cas_client_read(f->client, NULL, &digest, &content, &f->err), f,
	    ERROR_RESOURCE_EXHAUSTED, &digest);
	buffer_clear(&content);
}

static void
broken_read_goes_on_where_it_stopped(void **state)
{
	struct fixture *f = *state;
	struct digest digest = add_remote(LARGE, 1);
	char path[128];
	struct stat status;
	int fd;

	snprintf(path, sizeof(path), "%s/file", f->path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	/* More breaks than retries, each with progress. */
	fake.break_streams = 6;
	fake.break_after = 300000;
	assert_int_equal(
	    cas_client_read_file(f->client, NULL, &digest, fd, &f->err), 1);
	assert_int_equal(fake.reads, 7);
	assert_int_equal(fake.last_offset, 6 * 300000);
	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(status.st_size, LARGE);
	close(fd);
}

/* In the fixture's directory. */
static int
new_file(const struct fixture *f, unsigned number)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/file%u", f->path, number);
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static void
several_files_are_read_whole_and_one_that_is_absent_is_named(void **state)
{
	struct fixture *f = *state;
	struct cas_client_file files[5];
	struct stat status;

	for (unsigned i = 0; i < 4; i++)
		files[i] = (struct cas_client_file){
		    add_remote(i * LARGE, i), new_file(f, i)};
	assert_ok(cas_client_read_files(f->client, NULL, files, 0, &f->err), f);
	assert_ok(cas_client_read_files(f->client, NULL, files, 4, &f->err), f);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(fstat(files[i].fd, &status), 0);
		assert_int_equal(status.st_size, i * LARGE);
	}
	files[4].fd = new_file(f, 4);
	digest_compute(DIGEST_SHA256, "absent", 6, &files[4].digest);
	assert_failed(cas_client_read_files(f->client, NULL, files, 5, &f->err),
	    f, ERROR_NOT_FOUND, &files[4].digest);
	for (unsigned i = 0; i < 5; i++)
		close(files[i].fd);
}

static void
stream_that_never_gets_further_fails(void **state)
{
	struct fixture *f = *state;
	struct digest digest = add_remote(LARGE, 1);
	struct buffer content;

	buffer_init(&content, 2 * LARGE);
	fake.break_streams = 100;
	fake.break_after = 0;
	assert_failed(
	    cas_client_read(f->client, NULL, &digest, &content, &f->err), f,
	    ERROR_UNAVAILABLE, &digest);
	assert_int_equal(fake.reads, 4);
	assert_int_equal(content.len, 0);
	buffer_clear(&content);
}

static void
bytes_that_do_not_match_are_data_loss(void **state)
{
	struct fixture *f = *state;
	struct digest digest = add_remote(LARGE, 1);
	struct buffer content;

	buffer_init(&content, 2 * LARGE);
	fake.corrupt = true;
	assert_failed(
	    cas_client_read(f->client, NULL, &digest, &content, &f->err), f,
	    ERROR_DATA_LOSS, &digest);
	assert_int_equal(content.len, 0);
	buffer_clear(&content);
}

static void
compressed_read_is_decompressed_and_resumed(void **state)
{
	struct fixture *f = *state;
	struct digest digest = add_remote(LARGE, 1);
	struct buffer content;

	fake.zstd = true;
	cas_client_close(f->client);
	f->client = fake_cas_client(true);
	fake.break_streams = 2;
	fake.break_after = 500000;
	buffer_init(&content, LARGE);
	assert_int_equal(
	    cas_client_read(f->client, NULL, &digest, &content, &f->err), 1);
	assert_true(fake.saw_zstd);
	assert_int_equal(fake.reads, 3);
	assert_true(fake.last_offset > 500000);
	buffer_clear(&content);
}

/* --- downloading ---------------------------------------------------------- */

static void
small_and_large_blobs_arrive_in_the_store(void **state)
{
	struct fixture *f = *state;
	struct digest empty;

	for (unsigned i = 0; i < 3000; i++) {
		struct digest digest = add_remote(100 + i, i);

		want(f, &digest);
	}
	for (unsigned i = 0; i < 3; i++) {
		struct digest digest = add_remote(LARGE + i, i);

		want(f, &digest);
	}
	digest_empty(DIGEST_SHA256, &empty);
	want(f, &empty);
	assert_ok(download(f), f);
	assert_int_equal(f->absent.count, 0);
	assert_int_equal(f->arrived, 3004);
	assert_int_equal(fake.digests_read, 3000);
	assert_int_equal(fake.batch_reads, 2);
	assert_int_equal(fake.reads, 3);
	for (size_t i = 0; i < f->digests.count; i += 100)
		assert_stored(f, &f->digests.items[i]);
	assert_stored(f, &f->digests.items[3001]);
}

static void
batch_limit_of_the_server_is_kept(void **state)
{
	struct fixture *f = *state;

	fake.max_batch = 1000;
	cas_client_close(f->client);
	f->client = fake_cas_client(false);
	for (unsigned i = 0; i < 10; i++) {
		struct digest digest = add_remote(400, i);

		want(f, &digest);
	}
	assert_ok(download(f), f);
	assert_int_equal(fake.batch_reads, 5);
}

static void
absent_blobs_are_listed_and_the_others_come(void **state)
{
	struct fixture *f = *state;
	struct digest small = add_remote(100, 1);
	struct digest large = add_remote(LARGE, 1);
	struct digest no_small;
	struct digest no_large;

	digest_compute(DIGEST_SHA256, "absent", 6, &no_small);
	no_large = no_small;
	no_large.size = LARGE;
	want(f, &small);
	want(f, &no_small);
	want(f, &large);
	want(f, &no_large);
	assert_ok(download(f), f);
	assert_int_equal(f->absent.count, 2);
	assert_int_equal(f->arrived, 2);
	assert_true(is_stored(f, &small));
	assert_true(is_stored(f, &large));
}

static void
blobs_of_a_batch_are_tried_again_alone(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 10; i++) {
		struct digest digest = add_remote(400, i);

		want(f, &digest);
	}
	fake.refuse_items = 4;
	assert_ok(download(f), f);
	assert_int_equal(fake.digests_read, 10);
	assert_int_equal(fake.batch_reads, 2);
	assert_int_equal(f->arrived, 10);
}

static void
corrupt_downloads_never_reach_the_store(void **state)
{
	struct fixture *f = *state;
	struct digest digest = add_remote(100, 1);

	fake.corrupt = true;
	want(f, &digest);
	assert_failed(download(f), f, ERROR_DATA_LOSS, &digest);
	assert_false(is_stored(f, &digest));
	f->digests.items[0] = digest = add_remote(LARGE, 1);
	assert_failed(download(f), f, ERROR_DATA_LOSS, &digest);
	assert_false(is_stored(f, &digest));
	assert_int_equal(f->arrived, 0);
}

static void
broken_download_goes_on_into_the_store(void **state)
{
	struct fixture *f = *state;
	struct digest digest = add_remote(LARGE, 1);

	want(f, &digest);
	fake.break_streams = 2;
	fake.break_after = 1000000;
	assert_ok(download(f), f);
	assert_stored(f, &digest);
	assert_int_equal(fake.reads, 3);
}

static void
cancelled_transfer_stops(void **state)
{
	struct fixture *f = *state;
	atomic_bool cancelled = true;
	struct cas_transfer transfer = {.cancelled = &cancelled};
	struct cas_download request = {
	    f->store, &f->digests, &f->absent, NULL, NULL};
	struct digest digest = add_remote(LARGE, 1);

	want(f, &digest);
	assert_int_equal(
	    cas_client_download(f->client, &transfer, &request, &f->err), -1);
	assert_int_equal(f->err.code, ERROR_CANCELLED);
	assert_int_equal(fake.reads, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(capabilities_are_asked_for_and_bounded),
	    CASE(server_without_our_digest_function_is_refused),
	    CASE(passing_refusals_are_tried_again_and_lasting_ones_reported),
	    CASE(calls_carry_the_request_metadata),
	    CASE(many_digests_are_asked_for_in_several_calls),
	    CASE(blob_is_read_into_a_buffer),
	    CASE(broken_read_goes_on_where_it_stopped),
	    CASE(several_files_are_read_whole_and_one_that_is_absent_is_named),
	    CASE(stream_that_never_gets_further_fails),
	    CASE(bytes_that_do_not_match_are_data_loss),
	    CASE(compressed_read_is_decompressed_and_resumed),
	    CASE(small_and_large_blobs_arrive_in_the_store),
	    CASE(batch_limit_of_the_server_is_kept),
	    CASE(absent_blobs_are_listed_and_the_others_come),
	    CASE(blobs_of_a_batch_are_tried_again_alone),
	    CASE(corrupt_downloads_never_reach_the_store),
	    CASE(broken_download_goes_on_into_the_store),
	    CASE(cancelled_transfer_stops),
	};
	int failed;

	rpc_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rpc_shutdown();
	return failed;
}
