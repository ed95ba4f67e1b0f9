/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many blobs at once: what lies in segments is read right, in whatever order it
 * is asked for, and everything else is left to store_read.
 */
#include "store_fixture.h"
#include "store_stall.h"

#include <fcntl.h>

#define COUNT 40
#define LEN(i) (500 + (i)*7)

static struct str
part_of(const struct buffer *content, const struct store_part *part, size_t len)
{
	assert_true(part->found);
	assert_true(part->offset + len <= content->len);
	return (struct str){content->data + part->offset, len};
}

static void
assert_part(const struct buffer *content, const struct store_part *part,
    uint64_t seed, size_t len)
{
	char *data = make_content(seed, len);

	assert_memory_equal(part_of(content, part, len).data, data, len);
	free(data);
}

/* Blobs 0 to COUNT - 1, with others between some of them, so that they are
 * several runs and in two segments. */
static void
put_all(struct fixture *fixture)
{
	for (uint64_t i = 0; i < COUNT; i++) {
		put_numbered(fixture->store, i, LEN(i));
		if (i % 10 == 9)
			for (uint64_t j = 0; j < 8; j++)
				put_numbered(
				    fixture->store, 1000 + i * 10 + j, 50000);
	}
}

/* Backwards, so that the order of the log is another one. */
static void
read_all(struct fixture *fixture)
{
	struct digest digests[COUNT];
	struct store_part parts[COUNT];
	struct buffer content;

	for (uint64_t i = 0; i < COUNT; i++)
		digests[COUNT - 1 - i] = digest_of(i, LEN(i));
	buffer_init(&content, 1 << 20);
	store_read_together(fixture->store, digests, COUNT, parts, &content);
	for (uint64_t i = 0; i < COUNT; i++)
		assert_part(&content, &parts[COUNT - 1 - i], i, LEN(i));
	/* The 50,000 bytes of others between them were not read. */
	assert_true(content.len < COUNT * (LEN(COUNT) + 200));
	buffer_clear(&content);
}

static void
many_are_read_in_any_order(void **state)
{
	struct fixture *fixture = *state;

	put_all(fixture);
	read_all(fixture);
	fixture_reopen(fixture);
	read_all(fixture);
}

static void
they_are_read_before_the_index_knows_them(void **state)
{
	struct fixture *fixture = *state;
	struct stall stall;

	stall_begin(&stall, fixture->store);
	put_all(fixture);
	read_all(fixture);
	stall_end(&stall);
}

static void
the_same_twice_and_the_empty_one_are_found(void **state)
{
	struct fixture *fixture = *state;
	struct digest digests[3] = {put_numbered(fixture->store, 1, 1000)};
	struct store_part parts[3];
	struct buffer content;

	digests[1] = digests[0];
	digest_empty(DIGEST_SHA256, &digests[2]);
	buffer_init(&content, 1 << 20);
	store_read_together(fixture->store, digests, 3, parts, &content);
	assert_part(&content, &parts[0], 1, 1000);
	assert_part(&content, &parts[1], 1, 1000);
	assert_true(parts[2].found);
	buffer_clear(&content);
}

static void
what_is_absent_or_a_file_or_too_much_is_left(void **state)
{
	struct fixture *fixture = *state;
	struct digest digests[4] = {digest_of(5, 100),
	    put_numbered(fixture->store, 1, 100000),
	    put_numbered(fixture->store, 2, 1000),
	    put_numbered(fixture->store, 3, 1001)};
	struct store_part parts[4];
	struct buffer content;

	buffer_init(&content, 1 << 20);
	store_read_together(fixture->store, digests, 4, parts, &content);
	assert_false(parts[0].found);
	assert_false(parts[1].found);
	assert_part(&content, &parts[2], 2, 1000);
	assert_part(&content, &parts[3], 3, 1001);
	buffer_clear(&content);
	buffer_init(&content, 1500);
	store_read_together(fixture->store, digests, 4, parts, &content);
	assert_false(parts[2].found);
	assert_false(parts[3].found);
	buffer_clear(&content);
}

static void
a_damaged_one_is_left_and_its_neighbours_are_not(void **state)
{
	struct fixture *fixture = *state;
	struct digest digests[3] = {put_numbered(fixture->store, 1, 1000),
	    put_numbered(fixture->store, 2, 1000),
	    put_numbered(fixture->store, 3, 1000)};
	struct store_part parts[3];
	struct buffer content;
	char path[96];
	int fd;

	snprintf(path, sizeof(path), "%s/segments/00000001", fixture->path);
	fd = open(path, O_WRONLY);
	assert_int_not_equal(fd, -1);
	/* In the second record's payload. */
	assert_int_equal(pwrite(fd, "?!", 2, 96 + 1000 + 96 + 500), 2);
	close(fd);
	buffer_init(&content, 1 << 20);
	store_read_together(fixture->store, digests, 3, parts, &content);
	assert_part(&content, &parts[0], 1, 1000);
	assert_false(parts[1].found);
	assert_part(&content, &parts[2], 3, 1000);
	buffer_clear(&content);
}

int
main(void)
{
#define TEST(name) \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(many_are_read_in_any_order),
	    TEST(they_are_read_before_the_index_knows_them),
	    TEST(the_same_twice_and_the_empty_one_are_found),
	    TEST(what_is_absent_or_a_file_or_too_much_is_left),
	    TEST(a_damaged_one_is_left_and_its_neighbours_are_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
