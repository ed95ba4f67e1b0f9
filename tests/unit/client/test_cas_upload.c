/* SPDX-License-Identifier: Apache-2.0 */
/* The storage client uploads, to a server with faults. */
#include <sys/stat.h>

#include "client/cas_client.h"

#include "tests/unit/client/client_fixture.h"

#include <fcntl.h>

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

/* Where the file was when its digest was taken. */
static void
exchanged_file_is_not_looked_for_elsewhere(void **state)
{
	struct fixture *f = *state;
	struct str bytes = make_bytes(100, 1);
	struct cas_upload upload = upload_of(bytes);
	char inside[128], outside[128], link[128];
	int fd;

	snprintf(inside, sizeof(inside), "%s/in", f->path);
	snprintf(outside, sizeof(outside), "%s/outside", f->path);
	snprintf(link, sizeof(link), "%s/in/file", f->path);
	assert_int_equal(mkdir(inside, 0700), 0);
	fd = open(outside, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_ok(file_write(fd, bytes.data, bytes.len, &f->err), f);
	close(fd);
	upload.from = CAS_UPLOAD_FILE;
	upload.path = "file";
	upload.beneath = true;
	upload.directory = open(inside, O_PATH | O_CLOEXEC);
	assert_int_equal(symlink(outside, link), 0);
	assert_failed(
	    cas_client_upload(f->client, NULL, &upload, 1, NULL, &f->err), f,
	    ERROR_FAILED_PRECONDITION, &upload.digest);
	upload.path = "../outside";
	assert_failed(
	    cas_client_upload(f->client, NULL, &upload, 1, NULL, &f->err), f,
	    ERROR_FAILED_PRECONDITION, &upload.digest);
	assert_false(fake_has(&upload.digest));
	assert_int_equal(rename(outside, link), 0);
	upload.path = "file";
	assert_ok(
	    cas_client_upload(f->client, NULL, &upload, 1, NULL, &f->err), f);
	assert_true(fake_has(&upload.digest));
	close(upload.directory);
	free((char *)bytes.data);
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(only_what_the_server_lacks_is_sent),
	    CASE(files_and_stored_blobs_are_sent),
	    CASE(file_that_was_changed_is_named),
	    CASE(exchanged_file_is_not_looked_for_elsewhere),
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
