/* SPDX-License-Identifier: Apache-2.0 */
/* The storage client against a server with faults. */
#include "client/cas_client.h"

#include "tests/unit/client/fake_cas.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cas/digest_list.h"
#include "cas/store.h"
#include "client/request_metadata.h"

#define LARGE ((size_t)3 << 20)

struct fixture {
	struct cas_client *client;
	struct store *store;
	char path[64];
	struct digest_list digests;
	struct digest_list absent;
	struct error err;
	atomic_uint arrived;
};

static int
setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	struct store_options options = {
	    .max_size = 1 << 30, .segment_size = 64 << 20};

	snprintf(f->path, sizeof(f->path), "/tmp/toolroot-client-XXXXXX");
	if (mkdtemp(f->path) == NULL)
		return -1;
	options.path = f->path;
	f->store = store_open(&options, &f->err);
	if (f->store == NULL) {
		print_error("%s\n", f->err.text);
		return -1;
	}
	fake_cas_start();
	f->client = fake_cas_client(false);
	digest_list_init(&f->digests, 1 << 20);
	digest_list_init(&f->absent, 1 << 20);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	cas_client_close(f->client);
	fake_cas_stop();
	store_close(f->store);
	file_remove_tree(f->path, &f->err);
	digest_list_clear(&f->digests);
	digest_list_clear(&f->absent);
	free(f);
	return 0;
}

static void
assert_ok(int rc, const struct fixture *f)
{
	if (rc < 0)
		fail_msg("%s", f->err.text);
}

static void
assert_failed(int rc, const struct fixture *f, enum error_code code,
    const struct digest *digest)
{
	char text[DIGEST_TEXT_MAX];

	assert_int_equal(rc, -1);
	if (f->err.code != code)
		fail_msg("%s: %s", error_code_name(f->err.code), f->err.text);
	if (strstr(f->err.text, digest_format(digest, text)) == NULL)
		fail_msg("\"%s\" does not name the digest", f->err.text);
}

/* So many bytes that depend on seed; the caller frees them. */
static struct str
make_bytes(size_t len, unsigned seed)
{
	char *bytes = xmalloc(len + 1);
	uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

	for (size_t i = 0; i < len; i++) {
		state = state * UINT64_C(6364136223846793005) + 1;
		/* Half of it compresses. */
		bytes[i] = (char)(i % 128 < 64 ? state >> 56 : 'x');
	}
	return (struct str){bytes, len};
}

static struct digest
add_remote(size_t len, unsigned seed)
{
	struct str bytes = make_bytes(len, seed);
	struct digest digest = fake_add(bytes);

	free((char *)bytes.data);
	return digest;
}

static void
want(struct fixture *f, const struct digest *digest)
{
	assert_int_equal(digest_list_add(&f->digests, digest), 0);
}

static void
count_arrived(void *cookie, const struct digest *digest)
{
	(void)digest;
	atomic_fetch_add(&((struct fixture *)cookie)->arrived, 1);
}

static int
download(struct fixture *f)
{
	struct cas_download request = {
	    f->store, &f->digests, &f->absent, count_arrived, f};

	atomic_store(&f->arrived, 0);
	return cas_client_download(f->client, NULL, &request, &f->err);
}

static void
assert_stored(struct fixture *f, const struct digest *digest)
{
	struct buffer content;
	struct digest actual;

	buffer_init(&content, 64 << 20);
	assert_int_equal(store_read(f->store, digest, &content, &f->err), 1);
	digest_compute(digest->function, content.data, content.len, &actual);
	assert_true(digest_equal(&actual, digest));
	buffer_clear(&content);
}

static bool
is_stored(struct fixture *f, const struct digest *digest)
{
	bool missing;

	assert_ok(
	    store_find_missing(f->store, digest, 1, &missing, &f->err), f);
	return !missing;
}

/* --- opening ---------------------------------------------------------------
 */

static void
capabilities_are_asked_for_and_bounded(void **state)
{
	struct fixture *f = *state;
	const struct cas_capabilities *capabilities =
	    cas_client_capabilities(f->client);
	struct cas_client *client;

	assert_true(capabilities->max_batch_bytes > 0);
	assert_true(capabilities->max_batch_bytes < 4 << 20);
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

/* --- reading ---------------------------------------------------------------
 */

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

/* --- downloading -----------------------------------------------------------
 */

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

/* --- uploading -------------------------------------------------------------
 */

static struct cas_upload
upload_of(struct str bytes)
{
	struct cas_upload upload = {
	    .from = CAS_UPLOAD_CONTENT, .content = bytes};

	digest_compute(DIGEST_SHA256, bytes.data, bytes.len, &upload.digest);
	return upload;
}

static void
only_what_the_server_lacks_is_sent(void **state)
{
	enum { COUNT = 12 };
	struct fixture *f = *state;
	struct str bytes[COUNT];
	struct cas_upload uploads[COUNT + 2];
	struct cas_upload_stats stats;

	for (unsigned i = 0; i < COUNT; i++) {
		bytes[i] = make_bytes(i < 10 ? 100 * i : LARGE + i, i);
		uploads[i] = upload_of(bytes[i]);
	}
	/* One stands twice, one is there, one is empty. */
	uploads[COUNT] = uploads[4];
	uploads[COUNT + 1] = uploads[11];
	fake_add(bytes[5]);
	assert_ok(cas_client_upload(
		      f->client, NULL, uploads, COUNT + 2, &stats, &f->err),
	    f);
	for (unsigned i = 1; i < COUNT; i++) {
		assert_true(fake_has(&uploads[i].digest));
		free((char *)bytes[i].data);
	}
	free((char *)bytes[0].data);
	assert_int_equal(stats.present_blobs, 1);
	assert_int_equal(stats.sent_blobs, 10);
	assert_int_equal(fake.batch_updates, 1);
	assert_int_equal(fake.writes, 2);
}

static void
files_and_stored_blobs_are_sent(void **state)
{
	struct fixture *f = *state;
	struct str small = make_bytes(100, 1);
	struct str large = make_bytes(LARGE, 2);
	struct str stored = make_bytes(LARGE, 3);
	struct str little = make_bytes(50, 4);
	struct cas_upload uploads[4] = {upload_of(small), upload_of(large),
	    upload_of(stored), upload_of(little)};
	char paths[2][128];

	for (int i = 0; i < 2; i++) {
		int fd;

		snprintf(paths[i], sizeof(paths[i]), "%s/f%d", f->path, i);
		fd = open(paths[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		assert_ok(file_write(fd, uploads[i].content.data,
			      uploads[i].content.len, &f->err),
		    f);
		close(fd);
		uploads[i].from = CAS_UPLOAD_FILE;
		uploads[i].path = paths[i];
		assert_ok(store_put_bytes(f->store, &uploads[i + 2].digest,
			      uploads[i + 2].content, &f->err),
		    f);
		uploads[i + 2].from = CAS_UPLOAD_STORE;
		uploads[i + 2].store = f->store;
	}
	assert_ok(
	    cas_client_upload(f->client, NULL, uploads, 4, NULL, &f->err), f);
	for (int i = 0; i < 4; i++)
		assert_true(fake_has(&uploads[i].digest));
	free((char *)small.data);
	free((char *)large.data);
	free((char *)stored.data);
	free((char *)little.data);
}

static void
file_that_was_changed_is_named(void **state)
{
	static const size_t sizes[] = {100, LARGE};
	struct fixture *f = *state;

	for (size_t i = 0; i < 2; i++) {
		struct str bytes = make_bytes(sizes[i], 1);
		struct cas_upload upload = upload_of(bytes);
		char path[128];
		int fd;

		snprintf(path, sizeof(path), "%s/changed%zu", f->path, i);
		upload.from = CAS_UPLOAD_FILE;
		upload.path = path;
		assert_failed(cas_client_upload(
				  f->client, NULL, &upload, 1, NULL, &f->err),
		    f, ERROR_FAILED_PRECONDITION, &upload.digest);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		assert_ok(
		    file_write(fd, bytes.data, bytes.len - 1, &f->err), f);
		assert_failed(cas_client_upload(
				  f->client, NULL, &upload, 1, NULL, &f->err),
		    f, ERROR_FAILED_PRECONDITION, &upload.digest);
		assert_non_null(strstr(f->err.text, path));
		assert_ok(file_write(fd, "?", 1, &f->err), f);
		close(fd);
		assert_failed(cas_client_upload(
				  f->client, NULL, &upload, 1, NULL, &f->err),
		    f, ERROR_FAILED_PRECONDITION, &upload.digest);
		free((char *)bytes.data);
	}
}

static void
broken_upload_goes_on_where_the_server_says(void **state)
{
	struct fixture *f = *state;
	struct str bytes = make_bytes(2 * LARGE, 1);
	struct cas_upload upload = upload_of(bytes);

	fake.break_streams = 1;
	fake.break_after = LARGE;
	assert_ok(
	    cas_client_upload(f->client, NULL, &upload, 1, NULL, &f->err), f);
	assert_true(fake_has(&upload.digest));
	assert_int_equal(fake.writes, 2);
	assert_int_equal(fake.statuses, 1);
	assert_int_equal(fake.last_offset, LARGE);
	free((char *)bytes.data);
}

static void
compressed_upload_is_whole_also_after_a_break(void **state)
{
	struct fixture *f = *state;
	struct str bytes = make_bytes(2 * LARGE + 12345, 1);
	struct cas_upload upload = upload_of(bytes);

	fake.zstd = true;
	cas_client_close(f->client);
	f->client = fake_cas_client(true);
	fake.break_streams = 1;
	fake.break_after = 2000000;
	assert_ok(
	    cas_client_upload(f->client, NULL, &upload, 1, NULL, &f->err), f);
	assert_true(fake.saw_zstd);
	assert_true(fake_has(&upload.digest));
	assert_int_equal(fake.writes, 2);
	assert_int_equal(fake.statuses, 0);
	free((char *)bytes.data);
}

static void
early_answer_ends_the_upload(void **state)
{
	struct fixture *f = *state;
	struct str bytes = make_bytes(8 * LARGE, 1);
	struct cas_upload upload = upload_of(bytes);

	fake.early_answer = true;
	assert_ok(
	    cas_client_upload(f->client, NULL, &upload, 1, NULL, &f->err), f);
	assert_int_equal(fake.writes, 1);
	assert_true(fake.received < bytes.len);
	free((char *)bytes.data);
}

static void
refused_blobs_are_sent_again_and_a_full_server_reported(void **state)
{
	struct fixture *f = *state;
	struct str bytes[6];
	struct cas_upload uploads[6];

	for (unsigned i = 0; i < 6; i++) {
		bytes[i] = make_bytes(200, i + 1);
		uploads[i] = upload_of(bytes[i]);
	}
	fake.refuse_items = 3;
	assert_ok(
	    cas_client_upload(f->client, NULL, uploads, 5, NULL, &f->err), f);
	for (unsigned i = 0; i < 5; i++)
		assert_true(fake_has(&uploads[i].digest));
	fake.refuse_items = 100;
	assert_failed(
	    cas_client_upload(f->client, NULL, &uploads[5], 1, NULL, &f->err),
	    f, ERROR_RESOURCE_EXHAUSTED, &uploads[5].digest);
	for (unsigned i = 0; i < 6; i++)
		free((char *)bytes[i].data);
}

static void
blob_above_the_servers_limit_is_not_sent(void **state)
{
	struct fixture *f = *state;
	struct str bytes = make_bytes(2000, 1);
	struct cas_upload upload = upload_of(bytes);

	fake.max_blob = 1000;
	cas_client_close(f->client);
	f->client = fake_cas_client(false);
	assert_failed(
	    cas_client_upload(f->client, NULL, &upload, 1, NULL, &f->err), f,
	    ERROR_INVALID_ARGUMENT, &upload.digest);
	assert_int_equal(fake.batch_updates, 0);
	free((char *)bytes.data);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
	    CASE(only_what_the_server_lacks_is_sent),
	    CASE(files_and_stored_blobs_are_sent),
	    CASE(file_that_was_changed_is_named),
	    CASE(broken_upload_goes_on_where_the_server_says),
	    CASE(compressed_upload_is_whole_also_after_a_break),
	    CASE(early_answer_ends_the_upload),
	    CASE(refused_blobs_are_sent_again_and_a_full_server_reported),
	    CASE(blob_above_the_servers_limit_is_not_sent),
	};
	int failed;

	rpc_init();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rpc_shutdown();
	return failed;
}
