/* SPDX-License-Identifier: Apache-2.0 */
/* Uploads in pieces, compressed uploads, and streams out in every encoding. One
 * thread beside the committer's. */
#include "store_fixture.h"

#include <pthread.h>

#include "base/thread_pool.h"

#define LARGE ((size_t)300 << 10)

/* --- helpers -------------------------------------------------------------- */

struct outcome {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool finished;
	enum error_code code;
};

static void
outcome_set(void *cookie, const struct error *err)
{
	struct outcome *outcome = cookie;

	pthread_mutex_lock(&outcome->lock);
	outcome->finished = true;
	outcome->code = err != NULL ? err->code : ERROR_OK;
	pthread_cond_signal(&outcome->changed);
	pthread_mutex_unlock(&outcome->lock);
}

static enum error_code
commit_writer(struct blob_writer *writer)
{
	struct outcome outcome = {
	    PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0};

	blob_writer_commit(writer, outcome_set, &outcome);
	pthread_mutex_lock(&outcome.lock);
	while (!outcome.finished)
		pthread_cond_wait(&outcome.changed, &outcome.lock);
	pthread_mutex_unlock(&outcome.lock);
	return outcome.code;
}

/* Uploads in pieces; the code of the first failure. */
static enum error_code
upload(struct store *store, const struct digest *digest, enum encoding encoding,
    struct str data, size_t piece)
{
	struct error err;
	struct blob_writer *writer =
	    blob_writer_new(store, digest, encoding, 0, &err);

	if (writer == NULL)
		return err.code;
	for (size_t at = 0; at < data.len; at += piece) {
		size_t len = data.len - at < piece ? data.len - at : piece;

		if (blob_writer_append(writer, data.data + at, len, &err) < 0) {
			blob_writer_free(writer);
			return err.code;
		}
		if (encoding == ENCODING_IDENTITY)
			assert_int_equal(
			    blob_writer_position(writer), at + len);
	}
	return commit_writer(writer);
}

static enum encoding
encoding_of(struct store *store, const struct digest *digest)
{
	enum encoding encoding;
	struct blob *blob;
	struct error err;

	assert_int_equal(store_open_blob(store, digest, &blob, &err), 1);
	encoding = blob_encoding(blob);
	blob_free(blob);
	return encoding;
}

/* Reads a stream to its end into a buffer of its own. */
static char *
drain(struct store *store, const struct digest *digest,
    struct blob_stream_options options, size_t *total)
{
	struct blob_stream *stream;
	struct blob *blob;
	struct error err;
	char *data = xmalloc(2 * LARGE);

	*total = 0;
	assert_int_equal(store_open_blob(store, digest, &blob, &err), 1);
	stream = blob_stream_open(blob, &options, &err);
	assert_non_null(stream);
	for (;;) {
		size_t len;

		if (blob_stream_next(stream, data + *total, 10007, &len, &err) <
		    0)
			fail_msg("stream: %s", err.text);
		if (len == 0)
			break;
		*total += len;
	}
	blob_stream_free(stream);
	return data;
}

static void
assert_range(struct store *store, const struct digest *digest,
    const char *content, struct blob_stream_options options)
{
	size_t expected = digest->size - options.offset, len;
	char *data = drain(store, digest, options, &len);

	if (options.limit != 0 && options.limit < expected)
		expected = options.limit;
	if (options.encoding == ENCODING_ZSTD) {
		char *plain = xmalloc(expected + 1);

		len = ZSTD_decompress(plain, expected + 1, data, len);
		assert_false(ZSTD_isError(len));
		free(data);
		data = plain;
	}
	assert_int_equal(len, expected);
	if (len > 0)
		assert_memory_equal(data, content + options.offset, len);
	free(data);
}

static void
assert_all_ranges(
    struct store *store, const struct digest *digest, const char *content)
{
	const uint64_t offsets[] = {
	    0, 1, digest->size / 2, digest->size - 1, digest->size};
	const uint64_t limits[] = {0, 1, 5000, digest->size};

	for (size_t i = 0; i < 5; i++) {
		for (size_t j = 0; j < 4; j++) {
			struct blob_stream_options options = {
			    ENCODING_IDENTITY, offsets[i], limits[j]};

			assert_range(store, digest, content, options);
			options.encoding = ENCODING_ZSTD;
			assert_range(store, digest, content, options);
		}
	}
}

/* --- tests ---------------------------------------------------------------- */

static void
uploads_of_any_size_and_piece_are_stored(void **state)
{
	static const size_t sizes[] = {1, 1000, 65536, 65537, LARGE};
	static const size_t pieces[] = {333, 16384, 1 << 20};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < 15; i++) {
		size_t len = sizes[i % 5];
		char *data = make_content(i, len);
		struct digest digest = digest_of(i, len);

		assert_int_equal(
		    upload(fixture->store, &digest, ENCODING_IDENTITY,
			(struct str){data, len}, pieces[i / 5]),
		    ERROR_OK);
		assert_content(fixture->store, i, len);
		free(data);
	}
}

static void
compressed_uploads_stay_compressed_and_read_back(void **state)
{
	static const size_t sizes[] = {1000, 65537, LARGE};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < 3; i++) {
		size_t len = sizes[i], packed = len;
		char *data = make_content(i, len);
		char *zstd = compress_content(data, &packed);
		struct digest digest = digest_of(i, len);

		assert_int_equal(upload(fixture->store, &digest, ENCODING_ZSTD,
				     (struct str){zstd, packed}, 777),
		    ERROR_OK);
		assert_int_equal(
		    encoding_of(fixture->store, &digest), ENCODING_ZSTD);
		assert_content(fixture->store, i, len);
		assert_all_ranges(fixture->store, &digest, data);
		free(data);
		free(zstd);
	}
}

/* A stream in the encoding, of the content from an offset. */
static char *
stream_from(const char *data, size_t len, size_t offset, enum encoding encoding,
    size_t *size)
{
	*size = len - offset;
	if (encoding == ENCODING_ZSTD)
		return compress_content(data + offset, size);
	return memcpy(xmalloc(*size + 1), data + offset, *size);
}

/* Sends a part of a stream that begins at the offset. */
static void
send_part(struct blob_writer *writer, const char *data, size_t len,
    size_t offset, enum encoding encoding, unsigned quarters)
{
	struct error err;
	size_t size;
	char *stream = stream_from(data, len, offset, encoding, &size);

	if (offset > 0)
		assert_int_equal(blob_writer_resume(writer, offset, &err), 0);
	size = size * quarters / 4;
	for (size_t at = 0; at < size; at += 7777)
		assert_int_equal(blob_writer_append(writer, stream + at,
				     size - at < 7777 ? size - at : 7777, &err),
		    0);
	free(stream);
}

static void
interrupted_uploads_go_on_at_any_offset(void **state)
{
	struct fixture *fixture = *state;

	for (size_t i = 0; i < 12; i++) {
		enum encoding encoding =
		    i % 2 == 0 ? ENCODING_ZSTD : ENCODING_IDENTITY;
		size_t len = i % 4 < 2 ? LARGE : 60000;
		size_t back[] = {0, 1, 5000};
		char *data = make_content(i, len);
		struct digest digest = digest_of(i, len);
		struct error err;
		uint64_t first, second;
		struct blob_writer *writer =
		    blob_writer_new(fixture->store, &digest, encoding, 0, &err);

		send_part(writer, data, len, 0, encoding, 2);
		blob_writer_suspend(writer);
		first = blob_writer_position(writer);
		/* One block of zstd gives nothing before its end. */
		if (first < 6000)
			first = 0;
		else
			first -= back[i / 4];
		if (first == 0)
			assert_int_equal(
			    blob_writer_resume(writer, 0, &err), 0);
		send_part(writer, data, len, first, encoding, 2);
		blob_writer_suspend(writer);
		second = blob_writer_position(writer);
		assert_true(second >= first);
		assert_int_equal(
		    blob_writer_resume(writer, second + 1, &err), -1);
		assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
		assert_int_equal(blob_writer_resume(writer, len + 1, &err), -1);
		assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
		if (second == 0)
			assert_int_equal(
			    blob_writer_resume(writer, 0, &err), 0);
		send_part(writer, data, len, second, encoding, 4);
		assert_int_equal(commit_writer(writer), ERROR_OK);
		assert_content(fixture->store, i, len);
		free(data);
	}
}

static void
a_resumed_upload_is_verified(void **state)
{
	struct fixture *fixture = *state;
	size_t size, len = LARGE;
	char *data = make_content(1, len);
	struct digest digest = digest_of(1, len);
	struct error err;
	struct blob_writer *writer =
	    blob_writer_new(fixture->store, &digest, ENCODING_ZSTD, 0, &err);
	uint64_t position;
	char *stream;

	send_part(writer, data, len, 0, ENCODING_ZSTD, 2);
	blob_writer_suspend(writer);
	position = blob_writer_position(writer);
	assert_true(position > 0);
	assert_int_equal(blob_writer_resume(writer, position, &err), 0);
	data[len - 1] ^= 1;
	stream = stream_from(data, len, position, ENCODING_ZSTD, &size);
	assert_int_equal(blob_writer_append(writer, stream, size, &err), 0);
	assert_int_equal(commit_writer(writer), ERROR_INVALID_ARGUMENT);
	free(stream);
	free(data);
}

static void
identity_blobs_stream_in_both_encodings(void **state)
{
	static const size_t sizes[] = {1000, LARGE};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < 2; i++) {
		char *data = make_content(i, sizes[i]);
		struct digest digest =
		    put_numbered(fixture->store, i, sizes[i]);

		assert_all_ranges(fixture->store, &digest, data);
		free(data);
	}
}

static void
an_offset_past_the_end_is_out_of_range(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = put_numbered(fixture->store, 1, 100);
	struct blob_stream_options options = {ENCODING_IDENTITY, 101, 0};
	struct blob *blob;
	struct error err;

	assert_int_equal(
	    store_open_blob(fixture->store, &digest, &blob, &err), 1);
	assert_null(blob_stream_open(blob, &options, &err));
	assert_int_equal(err.code, ERROR_OUT_OF_RANGE);
}

static void
compression_that_saves_nothing_is_undone(void **state)
{
	struct fixture *fixture = *state;
	size_t packed = 5;
	char *zstd = compress_content("seven", &packed);
	struct digest digest;

	digest_compute(DIGEST_SHA256, "seven", 5, &digest);
	assert_true(packed > 5);
	assert_int_equal(upload(fixture->store, &digest, ENCODING_ZSTD,
			     (struct str){zstd, packed}, 3),
	    ERROR_OK);
	assert_int_equal(
	    encoding_of(fixture->store, &digest), ENCODING_IDENTITY);
	free(zstd);
}

static void
several_frames_and_skippable_ones_are_one_blob(void **state)
{
	struct fixture *fixture = *state;
	char *data = make_content(1, 2000);
	size_t first = 1000, second = 1000;
	char *one = compress_content(data, &first);
	char *two = compress_content(data + 1000, &second);
	static const char skip[] = "\x50\x2a\x4d\x18\x03\x00\x00\x00xyz";
	struct digest digest = digest_of(1, 2000);
	char *all = xmalloc(first + second + 11);

	memcpy(all, one, first);
	memcpy(all + first, skip, 11);
	memcpy(all + first + 11, two, second);
	assert_int_equal(
	    upload(fixture->store, &digest, ENCODING_ZSTD,
		(struct str){all, first + second + 11}, first + second + 11),
	    ERROR_OK);
	assert_content(fixture->store, 1, 2000);
	free(all);
	free(one);
	free(two);
	free(data);
}

static void
bad_zstd_is_refused_and_not_stored(void **state)
{
	struct fixture *fixture = *state;
	size_t len = 5000, packed = len;
	char *data = make_content(1, len);
	char *zstd = compress_content(data, &packed);
	struct digest digest = digest_of(1, len), shorter = digest;
	char *longer = xmalloc(packed + 3);

	/* Cut off, garbage after it, no zstd at all, nothing. */
	assert_int_equal(upload(fixture->store, &digest, ENCODING_ZSTD,
			     (struct str){zstd, packed - 1}, 100),
	    ERROR_INVALID_ARGUMENT);
	memcpy(longer, zstd, packed);
	memcpy(longer + packed, "abc", 3);
	assert_int_equal(upload(fixture->store, &digest, ENCODING_ZSTD,
			     (struct str){longer, packed + 3}, 100),
	    ERROR_INVALID_ARGUMENT);
	assert_int_equal(upload(fixture->store, &digest, ENCODING_ZSTD,
			     (struct str){data, len}, 100),
	    ERROR_INVALID_ARGUMENT);
	assert_int_equal(upload(fixture->store, &digest, ENCODING_ZSTD,
			     (struct str){"", 0}, 100),
	    ERROR_INVALID_ARGUMENT);
	/* Decompresses to more than was declared. */
	shorter.size = len - 1;
	assert_int_equal(upload(fixture->store, &shorter, ENCODING_ZSTD,
			     (struct str){zstd, packed}, 100),
	    ERROR_INVALID_ARGUMENT);
	assert_true(is_missing(fixture->store, &digest));
	assert_true(is_missing(fixture->store, &shorter));
	free(longer);
	free(zstd);
	free(data);
}

static void
a_bomb_is_refused_at_the_declared_size(void **state)
{
	struct fixture *fixture = *state;
	size_t len = (size_t)64 << 20, packed = len;
	char *zeros = xcalloc(1, len);
	char *bomb = compress_content(zeros, &packed);
	struct digest digest = digest_of(1, 1000);
	struct store_usage usage;

	assert_true(packed < 20000);
	assert_int_equal(upload(fixture->store, &digest, ENCODING_ZSTD,
			     (struct str){bomb, packed}, packed),
	    ERROR_INVALID_ARGUMENT);
	/* A size that nobody has costs nothing before it is there. */
	digest.size = (uint64_t)1 << 62;
	assert_int_equal(upload(fixture->store, &digest, ENCODING_ZSTD,
			     (struct str){bomb, packed}, packed),
	    ERROR_RESOURCE_EXHAUSTED);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.bytes, 0);
	free(bomb);
	free(zeros);
}

static void
empty_frames_cannot_fill_the_disk(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = digest_of(1, 100);
	struct blob_writer *writer;
	size_t packed = 0;
	char *frame = compress_content("", &packed);
	struct error err;
	size_t sent = 0;

	writer =
	    blob_writer_new(fixture->store, &digest, ENCODING_ZSTD, 0, &err);
	while (blob_writer_append(writer, frame, packed, &err) == 0) {
		sent += packed;
		assert_true(sent < 1 << 20);
	}
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	blob_writer_free(writer);
	free(frame);
}

static void
batch_done(struct store_batch *batch)
{
	/* The test waits for it by closing the store. */
	(void)batch;
}

static void
a_batch_takes_compressed_blobs(void **state)
{
	struct fixture *fixture = *state;
	char *data = make_content(1, LARGE), *zeros = xcalloc(1, LARGE);
	size_t large = LARGE, bomb = LARGE, tiny = 5;
	char *packed[3] = {compress_content(data, &large),
	    compress_content(zeros, &bomb), compress_content("seven", &tiny)};
	struct iovec parts[3] = {
	    {packed[0], large}, {packed[1], bomb}, {packed[2], tiny}};
	struct store_put puts[3] = {{.digest = digest_of(1, LARGE)},
	    {.digest = digest_of(2, 1000)}, {.encoding = ENCODING_ZSTD}};
	struct store_batch batch = {
	    .puts = puts, .count = 3, .done = batch_done};

	digest_compute(DIGEST_SHA256, "seven", 5, &puts[2].digest);
	for (size_t i = 0; i < 3; i++) {
		puts[i].encoding = ENCODING_ZSTD;
		puts[i].parts = &parts[i];
		puts[i].part_count = 1;
	}
	store_put_batch(fixture->store, &batch);
	fixture_reopen(fixture);
	assert_null(puts[0].error);
	assert_non_null(puts[1].error);
	assert_int_equal(puts[1].error->code, ERROR_INVALID_ARGUMENT);
	assert_null(puts[2].error);
	assert_int_equal(
	    encoding_of(fixture->store, &puts[0].digest), ENCODING_ZSTD);
	assert_int_equal(
	    encoding_of(fixture->store, &puts[2].digest), ENCODING_IDENTITY);
	assert_content(fixture->store, 1, LARGE);
	free(puts[1].error);
	for (size_t i = 0; i < 3; i++)
		free(packed[i]);
	free(zeros);
	free(data);
}

static void
too_much_or_too_little_or_wrong_is_refused(void **state)
{
	static const size_t sizes[] = {1000, LARGE};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < 2; i++) {
		size_t len = sizes[i];
		char *data = make_content(1, len + 1);
		struct digest digest = digest_of(1, len);

		assert_int_equal(
		    upload(fixture->store, &digest, ENCODING_IDENTITY,
			(struct str){data, len + 1}, 4096),
		    ERROR_INVALID_ARGUMENT);
		assert_int_equal(
		    upload(fixture->store, &digest, ENCODING_IDENTITY,
			(struct str){data, len - 1}, 4096),
		    ERROR_INVALID_ARGUMENT);
		data[0] ^= 1;
		assert_int_equal(
		    upload(fixture->store, &digest, ENCODING_IDENTITY,
			(struct str){data, len}, 4096),
		    ERROR_INVALID_ARGUMENT);
		assert_true(is_missing(fixture->store, &digest));
		free(data);
	}
}

static void
the_empty_blob_can_be_uploaded_in_both_encodings(void **state)
{
	struct fixture *fixture = *state;
	size_t packed = 0;
	char *frame = compress_content("", &packed);
	struct digest empty;

	digest_empty(DIGEST_SHA256, &empty);
	assert_int_equal(upload(fixture->store, &empty, ENCODING_IDENTITY,
			     (struct str){"", 0}, 1),
	    ERROR_OK);
	assert_int_equal(upload(fixture->store, &empty, ENCODING_ZSTD,
			     (struct str){"", 0}, 1),
	    ERROR_OK);
	assert_int_equal(upload(fixture->store, &empty, ENCODING_ZSTD,
			     (struct str){frame, packed}, 1),
	    ERROR_OK);
	free(frame);
}

static void
two_uploads_of_one_blob_both_succeed(void **state)
{
	struct fixture *fixture = *state;
	struct digest digest = digest_of(1, LARGE);
	char *data = make_content(1, LARGE);
	size_t packed = LARGE;
	char *zstd = compress_content(data, &packed);
	struct blob_writer *one, *two, *three;
	struct store_usage usage;
	struct error err;

	one = blob_writer_new(
	    fixture->store, &digest, ENCODING_IDENTITY, 0, &err);
	two = blob_writer_new(
	    fixture->store, &digest, ENCODING_IDENTITY, 0, &err);
	three =
	    blob_writer_new(fixture->store, &digest, ENCODING_ZSTD, 0, &err);
	assert_int_equal(blob_writer_append(one, data, LARGE, &err), 0);
	assert_int_equal(blob_writer_append(two, data, LARGE, &err), 0);
	assert_int_equal(blob_writer_append(three, zstd, packed, &err), 0);
	assert_int_equal(commit_writer(three), ERROR_OK);
	assert_int_equal(commit_writer(two), ERROR_OK);
	assert_int_equal(commit_writer(one), ERROR_OK);
	store_usage(fixture->store, &usage);
	assert_int_equal(usage.blobs, 1);
	assert_content(fixture->store, 1, LARGE);
	free(zstd);
	free(data);
}

#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

/* --- on two threads ------------------------------------------------------- */

/* The store with a pool, for the writers of this test. */
static void
open_with_pool(struct fixture *fixture)
{
	fixture->options.pool = thread_pool_new(2);
	fixture_reopen(fixture);
}

static void
close_with_pool(struct fixture *fixture)
{
	struct thread_pool *pool = fixture->options.pool;

	fixture->options.pool = NULL;
	fixture_reopen(fixture);
	thread_pool_free(pool);
}

static void
what_two_threads_wrote_and_hashed_is_the_blob(void **state)
{
	struct fixture *fixture = *state;
	const size_t len = 3 * LARGE + 7;
	struct digest digest = digest_of(71, len);
	char *data = make_content(71, len);

	open_with_pool(fixture);
	assert_int_equal(upload(fixture->store, &digest, ENCODING_IDENTITY,
			     (struct str){data, len}, LARGE),
	    ERROR_OK);
	assert_content(fixture->store, 71, len);
	close_with_pool(fixture);
	assert_content(fixture->store, 71, len);
	free(data);
}

static void
two_threads_do_not_let_a_wrong_blob_in(void **state)
{
	struct fixture *fixture = *state;
	const size_t len = 3 * LARGE;
	struct digest digest = digest_of(72, len);
	char *data = make_content(72, len);

	open_with_pool(fixture);
	data[len - 1] ^= 1;
	assert_int_equal(upload(fixture->store, &digest, ENCODING_IDENTITY,
			     (struct str){data, len}, LARGE),
	    ERROR_INVALID_ARGUMENT);
	assert_true(is_missing(fixture->store, &digest));
	close_with_pool(fixture);
	free(data);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(uploads_of_any_size_and_piece_are_stored),
	    TEST(compressed_uploads_stay_compressed_and_read_back),
	    TEST(interrupted_uploads_go_on_at_any_offset),
	    TEST(a_resumed_upload_is_verified),
	    TEST(identity_blobs_stream_in_both_encodings),
	    TEST(an_offset_past_the_end_is_out_of_range),
	    TEST(compression_that_saves_nothing_is_undone),
	    TEST(several_frames_and_skippable_ones_are_one_blob),
	    TEST(bad_zstd_is_refused_and_not_stored),
	    TEST(a_bomb_is_refused_at_the_declared_size),
	    TEST(empty_frames_cannot_fill_the_disk),
	    TEST(a_batch_takes_compressed_blobs),
	    TEST(too_much_or_too_little_or_wrong_is_refused),
	    TEST(the_empty_blob_can_be_uploaded_in_both_encodings),
	    TEST(two_uploads_of_one_blob_both_succeed),
	    TEST(what_two_threads_wrote_and_hashed_is_the_blob),
	    TEST(two_threads_do_not_let_a_wrong_blob_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
