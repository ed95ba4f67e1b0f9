/* SPDX-License-Identifier: Apache-2.0 */
/* Uploads by name: one at a time, gone on with after an interruption, dropped
 * when old or too many. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/thread_pool.h"
#include "cas/store.h"
#include "frontend/upload_table.h"

static struct thread_pool *pool;
static char path[] = "/tmp/toolroot-uploads-XXXXXX";
static struct store *store;

static int
open_store(void **state)
{
	struct store_options options = {.path = path, .max_size = 1u << 30};
	struct error err;

	(void)state;
	if (mkdtemp(path) == NULL)
		return -1;
	store = store_open(&options, &err);
	return store != NULL ? 0 : -1;
}

static int
close_store(void **state)
{
	struct error err;

	(void)state;
	store_close(store);
	return file_remove_tree(path, &err);
}

static struct upload_table *
make_table(int64_t keep_ms, size_t count, size_t memory)
{
	pool = thread_pool_new(1);
	return upload_table_new(
	    &(struct upload_table_options){pool, keep_ms, count, memory});
}

static void
free_table(struct upload_table *table)
{
	thread_pool_free(pool);
	upload_table_free(table);
}

/* A writer that has received three bytes. */
static struct blob_writer *
started_writer(void)
{
	struct blob_writer *writer;
	struct digest digest;
	struct error err;

	digest_compute(DIGEST_SHA256, "abcdef", 6, &digest);
	writer = blob_writer_new(store, &digest, ENCODING_IDENTITY, 0, &err);
	assert_non_null(writer);
	assert_int_equal(blob_writer_append(writer, "abc", 3, &err), 0);
	return writer;
}

static void
a_name_belongs_to_one_upload_at_a_time(void **state)
{
	struct upload_table *table = make_table(60000, 10, 1u << 20);
	struct blob_writer *writer;
	struct upload *upload;

	(void)state;
	upload = upload_table_begin(table, STR("a"), &writer);
	assert_non_null(upload);
	assert_null(writer);
	assert_null(upload_table_begin(table, STR("a"), &writer));
	assert_int_equal(upload_table_running(table), 1);
	upload_table_end(table, upload, NULL);
	assert_int_equal(upload_table_running(table), 0);
	upload = upload_table_begin(table, STR("a"), &writer);
	assert_non_null(upload);
	upload_table_end(table, upload, NULL);
	free_table(table);
}

static void
an_interrupted_upload_is_gone_on_with(void **state)
{
	struct upload_table *table = make_table(60000, 10, 1u << 20);
	struct blob_writer *left = started_writer();
	struct blob_writer *writer;
	struct upload *upload;
	uint64_t received = 99;

	(void)state;
	upload = upload_table_begin(table, STR("a"), &writer);
	upload_progress(upload, 3);
	assert_true(upload_table_query(table, STR("a"), &received));
	assert_int_equal(received, 3);
	assert_false(upload_table_has_interrupted(table));
	upload_table_end(table, upload, left);
	assert_true(upload_table_has_interrupted(table));
	assert_true(upload_table_query(table, STR("a"), &received));
	assert_int_equal(received, 3);
	upload = upload_table_begin(table, STR("a"), &writer);
	assert_ptr_equal(writer, left);
	upload_table_end(table, upload, writer);
	free_table(table);
}

static void
the_oldest_goes_when_too_many_are_kept(void **state)
{
	struct upload_table *table = make_table(60000, 2, 1u << 20);
	const struct str names[] = {STR("a"), STR("b"), STR("c")};
	uint64_t received;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct blob_writer *writer;
		struct upload *upload =
		    upload_table_begin(table, names[i], &writer);

		upload_table_end(table, upload, started_writer());
	}
	assert_false(upload_table_query(table, STR("a"), &received));
	assert_true(upload_table_query(table, STR("b"), &received));
	assert_true(upload_table_query(table, STR("c"), &received));
	free_table(table);
}

static void
the_oldest_goes_when_they_hold_too_much(void **state)
{
	struct blob_writer *writer = started_writer();
	struct upload_table *table =
	    make_table(60000, 10, blob_writer_memory(writer) * 2 - 1);
	uint64_t received;

	(void)state;
	blob_writer_free(writer);
	for (int i = 0; i < 2; i++) {
		struct str name = i == 0 ? STR("a") : STR("b");
		struct upload *upload =
		    upload_table_begin(table, name, &writer);

		upload_table_end(table, upload, started_writer());
	}
	assert_false(upload_table_query(table, STR("a"), &received));
	assert_true(upload_table_query(table, STR("b"), &received));
	free_table(table);
}

static void
the_old_expire_and_free_their_reservation(void **state)
{
	struct upload_table *table = make_table(1, 10, 1u << 20);
	const struct timespec wait = {0, 20000000};
	struct store_usage before;
	struct store_usage after;
	struct blob_writer *writer;
	struct upload *upload;
	uint64_t received;

	(void)state;
	store_usage(store, &before);
	upload = upload_table_begin(table, STR("a"), &writer);
	upload_table_end(table, upload, started_writer());
	nanosleep(&wait, NULL);
	upload_table_expire(table);
	assert_false(upload_table_query(table, STR("a"), &received));
	free_table(table);
	store_usage(store, &after);
	assert_int_equal(before.bytes, after.bytes);
}

static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER;

static void
wait_while_busy(struct task *task)
{
	(void)task;
	pthread_mutex_lock(&busy);
	pthread_mutex_unlock(&busy);
}

static void
whoever_ends_an_upload_removes_nothing(void **state)
{
	struct upload_table *table = make_table(60000, 0, 1u << 20);
	struct task occupied = {.run = wait_while_busy};
	struct store_usage before, meanwhile, after;
	struct blob_writer *writer;
	struct upload *upload;
	uint64_t received;

	(void)state;
	store_usage(store, &before);
	pthread_mutex_lock(&busy); /* and so is the pool */
	thread_pool_submit(pool, &occupied);
	for (int i = 0; i < 2; i++) {
		upload = upload_table_begin(table, STR("a"), &writer);
		upload_table_end(table, upload, started_writer());
		assert_false(upload_table_query(table, STR("a"), &received));
	}
	store_usage(store, &meanwhile);
	assert_true(meanwhile.bytes > before.bytes);
	pthread_mutex_unlock(&busy);
	free_table(table);
	store_usage(store, &after);
	assert_int_equal(before.bytes, after.bytes);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_name_belongs_to_one_upload_at_a_time),
	    cmocka_unit_test(an_interrupted_upload_is_gone_on_with),
	    cmocka_unit_test(the_oldest_goes_when_too_many_are_kept),
	    cmocka_unit_test(the_oldest_goes_when_they_hold_too_much),
	    cmocka_unit_test(the_old_expire_and_free_their_reservation),
	    cmocka_unit_test(whoever_ends_an_upload_removes_nothing),
	};

	return cmocka_run_group_tests(tests, open_store, close_store);
}
