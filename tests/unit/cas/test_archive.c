/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Archives: what was exported is imported whole; what is cut off, damaged or
 * made up is refused, and never leaves anything that is not sound.
 */
#include "collector_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "cas/archive.h"
#include "cas/archive_stream.h"
#include "cas/digest_list.h"
#include "cas/little_endian.h"
#include "cas/pins.h"
#include "cas/provenance.h"

#define SMALL_BLOBS 20
#define LARGE ((size_t)3 << 20)

/* A second store beside the fixture's, and an archive. */
struct pair {
	struct fixture *from;
	struct fixture to;
	char file[320];
};

static void
pair_open(struct pair *pair, struct fixture *fixture)
{
	pair->from = fixture;
	pair->to = *fixture;
	snprintf(
	    pair->to.path, sizeof(pair->to.path), "%.50s.to", fixture->path);
	pair->to.options.path = pair->to.path;
	snprintf(pair->file, sizeof(pair->file), "%s.trar", fixture->path);
	fixture_open(&pair->to);
}

static void
pair_close(struct pair *pair)
{
	struct error err;

	store_close(pair->to.store);
	assert_int_equal(file_remove_tree(pair->to.path, &err), 0);
	assert_int_equal(unlink(pair->file), 0);
}

static int export(struct pair *pair, const struct archive_roots *roots,
    struct archive_report *report, struct error *err)
{
	int fd = open(pair->file, O_RDWR | O_CREAT | O_TRUNC, 0600);
	int rc = archive_export(pair->from->store, roots, fd, report, err);

	close(fd);
	return rc;
}

static int
import(struct pair *pair, struct archive_report *report, struct error *err)
{
	const struct archive_import_options options = {
	    .fd = open(pair->file, O_RDONLY)};
	int rc = archive_import(pair->to.store, &options, report, err);

	close(options.fd);
	return rc;
}

/* Blobs 0..19 and a large one, each with a result of its own. */
static void
fill(struct fixture *fixture)
{
	struct pin pin = {.name = STR("keep"), .kind = PIN_BLOB};
	struct error err;

	for (uint64_t i = 0; i < SMALL_BLOBS; i++) {
		struct digest digest =
		    put_numbered(fixture->store, i, 500 + i * 7);

		pin.digest = digest;
		assert_int_equal(
		    put_action_naming(fixture->store, i, &digest, 1, &err), 0);
	}
	pin.digest = put_numbered(fixture->store, 99, LARGE);
	assert_int_equal(
	    put_action_naming(fixture->store, 99, &pin.digest, 1, &err), 0);
	assert_int_equal(pin_set(fixture->store, &pin, &err), 0);
	assert_int_equal(index_job_settle(fixture->store, &err), 0);
}

static void
what_is_exported_is_imported(void **state)
{
	char *pins[] = {(char[]){"keep"}};
	struct archive_roots roots = {
	    .results = true, .pins = pins, .pin_count = 1};
	struct archive_report out, in;
	struct pair pair;
	struct error err = {0};

	pair_open(&pair, *state);
	fill(pair.from);
	if (export(&pair, &roots, &out, &err) < 0)
		fail_msg("export: %s", err.text);
	assert_int_equal(out.blobs, SMALL_BLOBS + 1);
	assert_int_equal(out.results, SMALL_BLOBS + 1);
	if (import(&pair, &in, &err) < 0)
		fail_msg("import: %s", err.text);
	assert_int_equal(in.blobs, out.blobs);
	assert_int_equal(in.blob_bytes, out.blob_bytes);
	assert_int_equal(in.archive_bytes, out.archive_bytes);
	assert_int_equal(in.pins, 1);
	fixture_reopen(&pair.to);
	for (uint64_t i = 0; i < SMALL_BLOBS; i++) {
		assert_content(pair.to.store, i, 500 + i * 7);
		assert_true(has_action(pair.to.store, i));
	}
	assert_content(pair.to.store, 99, LARGE);
	/* Again, and nothing is there twice. */
	if (import(&pair, &in, &err) < 0)
		fail_msg("import: %s", err.text);
	pair_close(&pair);
}

static void
only_what_was_asked_for_is_in_it(void **state)
{
	struct archive_roots roots = {.results = true};
	struct archive_report report;
	struct digest action = action_numbered(7).action;
	struct pair pair;
	struct error err = {0};

	pair_open(&pair, *state);
	fill(pair.from);
	digest_list_init(&roots.filter.actions, 1);
	assert_int_equal(digest_list_add(&roots.filter.actions, &action), 0);
	assert_int_equal(export(&pair, &roots, &report, &err), 0);
	digest_list_clear(&roots.filter.actions);
	assert_int_equal(report.blobs, 1);
	assert_int_equal(import(&pair, &report, &err), 0);
	assert_true(has_action(pair.to.store, 7));
	assert_false(has_action(pair.to.store, 8));
	pair_close(&pair);
}

static void
imported_results_are_marked(void **state)
{
	const struct result_removal removal = {
	    .filter = {.writer = "archive:*"}, .run = true};
	struct archive_roots roots = {.results = true};
	struct archive_report report;
	struct result_removal_report removed;
	struct pair pair;
	struct error err = {0};

	pair_open(&pair, *state);
	fill(pair.from);
	assert_int_equal(export(&pair, &roots, &report, &err), 0);
	assert_int_equal(import(&pair, &report, &err), 0);
	assert_int_equal(
	    results_remove(pair.to.store, &removal, &removed, &err), 0);
	assert_int_equal(removed.removed, SMALL_BLOBS + 1);
	pair_close(&pair);
}

static void
what_is_absent_is_named(void **state)
{
	struct archive_roots roots = {.results = false};
	struct digest absent = digest_of(12345, 10);
	struct archive_report report;
	char text[DIGEST_TEXT_MAX];
	struct pair pair;
	struct error err = {0};

	pair_open(&pair, *state);
	digest_list_init(&roots.blobs, 1);
	assert_int_equal(digest_list_add(&roots.blobs, &absent), 0);
	assert_int_equal(export(&pair, &roots, &report, &err), -1);
	assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
	assert_non_null(strstr(err.text, digest_format(&absent, text)));
	digest_list_clear(&roots.blobs);
	pair_close(&pair);
}

static void
a_cut_or_flipped_archive_is_refused(void **state)
{
	struct archive_roots roots = {.results = true};
	struct archive_report report;
	struct stat status;
	struct pair pair;
	struct error err = {0};
	struct buffer good;

	pair_open(&pair, *state);
	fill(pair.from);
	assert_int_equal(export(&pair, &roots, &report, &err), 0);
	assert_int_equal(stat(pair.file, &status), 0);
	buffer_init(&good, 64 << 20);
	assert_int_equal(file_read_all(pair.file, &good, &err), 0);
	for (size_t i = 0; i < 60; i++) {
		size_t at = (good.len - 1) * i / 59;
		int fd = open(pair.file, O_WRONLY | O_TRUNC);
		char byte = (char)(good.data[at] ^ 0x10);

		assert_int_equal(file_write(fd, good.data, at, &err), 0);
		if (i % 2 == 1) {
			assert_int_equal(file_write(fd, &byte, 1, &err), 0);
			assert_int_equal(file_write(fd, good.data + at + 1,
					     good.len - at - 1, &err),
			    0);
		}
		close(fd);
		if (import(&pair, &report, &err) == 0)
			fail_msg("a change at %zu was not noticed", at);
	}
	buffer_clear(&good);
	/* What came before is sound, if it is there. */
	for (uint64_t i = 0; i < SMALL_BLOBS; i++) {
		struct digest digest = digest_of(i, 500 + i * 7);

		if (!is_missing(pair.to.store, &digest))
			assert_content(pair.to.store, i, 500 + i * 7);
	}
	pair_close(&pair);
}

/* --- made up ---------------------------------------------------------------
 */

static struct archive_writer *
forge(struct pair *pair, int *fd)
{
	struct archive_writer *writer;
	struct error err;

	*fd = open(pair->file, O_RDWR | O_CREAT | O_TRUNC, 0600);
	writer = archive_writer_new(*fd, &err);
	assert_non_null(writer);
	return writer;
}

static void
forge_end(struct archive_writer *writer, int fd)
{
	struct error err;
	uint64_t bytes;

	assert_int_equal(archive_finish(writer, &bytes, &err), 0);
	archive_writer_free(writer);
	close(fd);
}

/* A blob entry with this digest and content, of this length. */
static void
forge_blob(struct pair *pair, const struct digest *digest, uint64_t length,
    const char *content)
{
	struct archive_writer *writer;
	uint8_t bytes[9 + 32];
	struct error err;
	int fd;

	writer = forge(pair, &fd);
	bytes[0] = (uint8_t)digest->function;
	little_endian_put64(bytes + 1, digest->size);
	memcpy(bytes + 9, digest->hash, 32);
	assert_int_equal(archive_begin(writer, ARCHIVE_BLOB, length, &err), 0);
	assert_int_equal(archive_write(writer, bytes, sizeof(bytes), &err), 0);
	assert_int_equal(
	    archive_write(writer, content, strlen(content), &err), 0);
	forge_end(writer, fd);
}

static void
a_forged_blob_is_refused(void **state)
{
	struct digest digest = digest_of(5, 5);
	struct archive_report report;
	struct pair pair;
	struct error err = {0};

	pair_open(&pair, *state);
	forge_blob(&pair, &digest, 41 + 5, "lies!");
	assert_int_equal(import(&pair, &report, &err), -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	assert_true(is_missing(pair.to.store, &digest));
	/* A length that is not the digest's. */
	forge_blob(&pair, &digest, 41 + 6, "lies!!");
	assert_int_equal(import(&pair, &report, &err), -1);
	/* Larger than the store: refused before anything is written. */
	digest.size = (uint64_t)1 << 50;
	forge_blob(&pair, &digest, 41 + digest.size, "");
	assert_int_equal(import(&pair, &report, &err), -1);
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	digest.size = UINT64_MAX;
	forge_blob(&pair, &digest, 40, "");
	assert_int_equal(import(&pair, &report, &err), -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	pair_close(&pair);
}

static void
entries_out_of_bounds_are_refused(void **state)
{
	static const enum archive_kind kinds[] = {
	    ARCHIVE_RESULT, ARCHIVE_NAME, ARCHIVE_PIN, (enum archive_kind)'?'};
	struct archive_report report;
	struct archive_writer *writer;
	struct pair pair;
	struct error err = {0};
	int fd;

	pair_open(&pair, *state);
	for (size_t i = 0; i < 4; i++) {
		writer = forge(&pair, &fd);
		assert_int_equal(
		    archive_begin(writer, kinds[i], (uint64_t)1 << 40, &err),
		    0);
		forge_end(writer, fd);
		assert_int_equal(import(&pair, &report, &err), -1);
		assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
		writer = forge(&pair, &fd);
		assert_int_equal(archive_begin(writer, kinds[i], 8, &err), 0);
		assert_int_equal(
		    archive_write(writer, "\xff\xff\xff\xff\0\0\0\0", 8, &err),
		    0);
		forge_end(writer, fd);
		assert_int_equal(import(&pair, &report, &err), -1);
		assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	}
	pair_close(&pair);
}

static void
a_result_without_its_blobs_is_refused(void **state)
{
	struct archive_roots roots = {.results = true};
	struct archive_report report;
	struct pair pair;
	struct error err = {0};
	struct buffer file;
	struct digest digest;

	/* Export, then import where the large blob does not fit. */
	pair_open(&pair, *state);
	fill(pair.from);
	assert_int_equal(export(&pair, &roots, &report, &err), 0);
	store_close(pair.to.store);
	pair.to.options.max_size = 2 << 20;
	fixture_open(&pair.to);
	assert_int_equal(import(&pair, &report, &err), -1);
	assert_int_equal(err.code, ERROR_RESOURCE_EXHAUSTED);
	digest = digest_of(99, LARGE);
	assert_true(is_missing(pair.to.store, &digest));
	assert_false(has_action(pair.to.store, 99));
	/* And something that is no archive. */
	buffer_init(&file, 1024);
	assert_int_equal(buffer_append(&file, "PK\3\4 no archive", 15), 0);
	assert_int_equal(file_replace(pair.file, file.data, file.len, &err), 0);
	buffer_clear(&file);
	assert_int_equal(import(&pair, &report, &err), -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	pair_close(&pair);
}

#define with_store(test) \
	cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    with_store(what_is_exported_is_imported),
	    with_store(only_what_was_asked_for_is_in_it),
	    with_store(imported_results_are_marked),
	    with_store(what_is_absent_is_named),
	    with_store(a_cut_or_flipped_archive_is_refused),
	    with_store(a_forged_blob_is_refused),
	    with_store(entries_out_of_bounds_are_refused),
	    with_store(a_result_without_its_blobs_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
