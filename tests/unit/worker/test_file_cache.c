/* SPDX-License-Identifier: Apache-2.0 */
/* Files that several threads want while there is no room for them. */
#include "worker/file_cache.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "cas/digest.h"
#include "cas/store.h"

#define THREADS 4
#define ROUNDS 1000

struct fixture {
	char path[64];
	char files_path[80];
	struct store *store;
	struct file_cache *files;
	struct digest digest;
};

static void
fixture_open(struct fixture *fixture, uint64_t max_bytes)
{
	struct store_options options = {.path = fixture->path,
	    .max_size = (uint64_t)1 << 30,
	    .segment_size = 1 << 20};
	struct error err;

	*fixture = (struct fixture){.path = "/tmp/toolroot-files-XXXXXX"};
	assert_non_null(mkdtemp(fixture->path));
	snprintf(fixture->files_path, sizeof(fixture->files_path), "%s/files",
	    fixture->path);
	fixture->store = store_open(&options, &err);
	assert_non_null(fixture->store);
	fixture->files = file_cache_open(fixture->files_path, max_bytes, &err);
	assert_non_null(fixture->files);
}

static void
fixture_close(struct fixture *fixture)
{
	struct error err;

	file_cache_close(fixture->files);
	store_close(fixture->store);
	(void)file_remove_tree(fixture->path, &err);
}

static int
get(struct fixture *fixture, struct error *err)
{
	struct blob *blob;
	char byte = 0;
	int fd;

	if (store_open_blob(fixture->store, &fixture->digest, &blob, err) !=
		1 ||
	    file_cache_get(fixture->files, blob, true, &fd, err) < 0)
		return -1;
	if (read(fd, &byte, 1) != 1 || byte != 'x')
		error_set(err, ERROR_DATA_LOSS, "other content");
	file_close(&fd);
	return byte == 'x' ? 0 : -1;
}

static void *
get_often(void *cookie)
{
	struct error err;

	for (int i = 0; i < ROUNDS; i++) {
		if (get(cookie, &err) < 0) {
			print_error("%s\n", err.text);
			return cookie;
		}
	}
	return NULL;
}

/* Each evicts the file as soon as nobody has it pinned. */
static void
a_file_made_by_several_threads_is_there_for_each(void **state)
{
	struct fixture fixture;
	pthread_t threads[THREADS];
	size_t failed = 0;
	struct error err;

	(void)state;
	fixture_open(&fixture, 0);
	digest_compute(DIGEST_SHA256, "x", 1, &fixture.digest);
	assert_int_equal(
	    store_put_bytes(fixture.store, &fixture.digest, STR("x"), &err), 0);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, get_often, &fixture), 0);
	for (size_t i = 0; i < THREADS; i++) {
		void *result;

		pthread_join(threads[i], &result);
		failed += result != NULL;
	}
	assert_int_equal(failed, 0);
	fixture_close(&fixture);
}

/* Of a cache for three blobs of 100 bytes. */
static void
cache_one(struct fixture *fixture, char content)
{
	char bytes[100];
	struct blob *blob;
	struct error err;
	int fd;

	memset(bytes, content, sizeof(bytes));
	digest_compute(DIGEST_SHA256, bytes, sizeof(bytes), &fixture->digest);
	assert_int_equal(store_put_bytes(fixture->store, &fixture->digest,
			     (struct str){bytes, sizeof(bytes)}, &err),
	    0);
	assert_int_equal(
	    store_open_blob(fixture->store, &fixture->digest, &blob, &err), 1);
	assert_int_equal(
	    file_cache_get(fixture->files, blob, false, &fd, &err), 0);
	file_close(&fd);
}

static size_t
count_files(const char *path)
{
	DIR *stream = opendir(path);
	const struct dirent *entry;
	size_t count = 0;

	assert_non_null(stream);
	while ((entry = readdir(stream)) != NULL)
		count += entry->d_name[0] != '.';
	closedir(stream);
	return count;
}

static void
what_is_reserved_counts_as_files_do(void **state)
{
	struct fixture fixture;
	struct error err;

	(void)state;
	fixture_open(&fixture, 300);
	cache_one(&fixture, 'a');
	cache_one(&fixture, 'b');
	cache_one(&fixture, 'c');
	assert_int_equal(count_files(fixture.files_path), 3);
	/* Files that nobody needs go for it ... */
	assert_int_equal(file_cache_reserve(fixture.files, 150, &err), 0);
	assert_int_equal(count_files(fixture.files_path), 1);
	assert_int_equal(file_cache_reserve(fixture.files, 150, &err), 0);
	assert_int_equal(count_files(fixture.files_path), 0);
	/* ... and beyond the limit it is refused, with the remedy. */
	assert_int_equal(file_cache_reserve(fixture.files, 1, &err), -1);
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(err.text, "--cache-size"));
	file_cache_release(fixture.files, 300);
	cache_one(&fixture, 'd');
	assert_int_equal(count_files(fixture.files_path), 1);
	fixture_close(&fixture);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_reserved_counts_as_files_do),
	    cmocka_unit_test(a_file_made_by_several_threads_is_there_for_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
