/* SPDX-License-Identifier: Apache-2.0 */
/* Directory messages: what is let in and what is refused. */
#include "cas/directory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/error.h"
#include "cas/digest_message.h"
#include "protos/arena_allocator.h"

#define HASH_SHA256 \
	"2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
#define HASH_SHA1 "0beec7b5ea3f0fdbc95d0dd47f3c5bc275da8a33"
#define NODES_MAX 8

/* A message that lives on the stack; names are given with their length. */
struct fixture {
	Reapi__Directory directory;
	Reapi__Digest digest;
	Reapi__FileNode files[NODES_MAX];
	Reapi__FileNode *file_list[NODES_MAX];
	Reapi__DirectoryNode directories[NODES_MAX];
	Reapi__DirectoryNode *directory_list[NODES_MAX];
	Reapi__SymlinkNode symlinks[NODES_MAX];
	Reapi__SymlinkNode *symlink_list[NODES_MAX];
	Reapi__NodeProperties properties;
	Reapi__NodeProperty property[2];
	Reapi__NodeProperty *property_list[2];
	Google__Protobuf__Timestamp mtime;
	Google__Protobuf__UInt32Value mode;
	struct error err;
};

#define BYTES(literal) \
	((ProtobufCBinaryData){sizeof(literal) - 1, (uint8_t *)"" literal})

static void
fixture_init(struct fixture *f)
{
	reapi__directory__init(&f->directory);
	f->directory.files = f->file_list;
	f->directory.directories = f->directory_list;
	f->directory.symlinks = f->symlink_list;
	reapi__digest__init(&f->digest);
	f->digest.hash = BYTES(HASH_SHA256);
	f->digest.size_bytes = 3;
	reapi__node_properties__init(&f->properties);
	google__protobuf__timestamp__init(&f->mtime);
	google__protobuf__uint32_value__init(&f->mode);
	f->err.text[0] = '\0';
}

static void
add_file(struct fixture *f, ProtobufCBinaryData name)
{
	size_t i = f->directory.n_files++;

	reapi__file_node__init(&f->files[i]);
	f->files[i].name = name;
	f->files[i].digest = &f->digest;
	f->file_list[i] = &f->files[i];
}

static void
add_directory(struct fixture *f, ProtobufCBinaryData name)
{
	size_t i = f->directory.n_directories++;

	reapi__directory_node__init(&f->directories[i]);
	f->directories[i].name = name;
	f->directories[i].digest = &f->digest;
	f->directory_list[i] = &f->directories[i];
}

static void
add_symlink(
    struct fixture *f, ProtobufCBinaryData name, ProtobufCBinaryData target)
{
	size_t i = f->directory.n_symlinks++;

	reapi__symlink_node__init(&f->symlinks[i]);
	f->symlinks[i].name = name;
	f->symlinks[i].target = target;
	f->symlink_list[i] = &f->symlinks[i];
}

static void
add_property(struct fixture *f, ProtobufCBinaryData name)
{
	size_t i = f->properties.n_properties++;

	reapi__node_property__init(&f->property[i]);
	f->property[i].name = name;
	f->property_list[i] = &f->property[i];
	f->properties.properties = f->property_list;
}

static void
assert_accepted(struct fixture *f)
{
	if (directory_check(&f->directory, DIGEST_SHA256, &f->err) < 0)
		fail_msg("%s", f->err.text);
}

/* Refused, with a text that names what is wrong. */
static void
assert_refused(struct fixture *f, const char *text)
{
	assert_int_equal(
	    directory_check(&f->directory, DIGEST_SHA256, &f->err), -1);
	assert_int_equal(f->err.code, ERROR_INVALID_ARGUMENT);
	if (strstr(f->err.text, text) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", f->err.text, text);
}

static void
empty_directory_is_accepted(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	assert_accepted(&f);
}

static void
sorted_lists_of_all_kinds_are_accepted(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	add_file(&f, BYTES("..."));
	add_file(&f, BYTES("B"));
	add_file(&f, BYTES("a"));
	add_file(&f, BYTES("a b\\\t"));
	add_directory(&f, BYTES("A"));
	add_directory(&f, BYTES("\xc3\xa9t\xc3\xa9"));
	add_symlink(&f, BYTES("l"), BYTES("../../up"));
	add_symlink(&f, BYTES("m"), BYTES("/usr/bin/cc"));
	assert_accepted(&f);
}

static void
malformed_names_are_refused(void **state)
{
	static const struct {
		ProtobufCBinaryData name;
		const char *text;
	} cases[] = {
	    {{0, NULL}, "is empty"},
	    {{1, (uint8_t *)"."}, "\".\" names no entry"},
	    {{2, (uint8_t *)".."}, "\"..\" names no entry"},
	    {{3, (uint8_t *)"a/b"}, "\"a/b\" has a '/'"},
	    {{1, (uint8_t *)"/"}, "has a '/'"},
	    {{3, (uint8_t *)"a\0b"}, "\"a\\x00b\" has a NUL"},
	    {{2, (uint8_t *)"a\xff"}, "\"a\\xff\" is no valid UTF-8"},
	    {{2, (uint8_t *)"\xc0\xaf"}, "no valid UTF-8"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f;

		fixture_init(&f);
		add_file(&f, cases[i].name);
		assert_refused(&f, cases[i].text);
		fixture_init(&f);
		add_directory(&f, cases[i].name);
		assert_refused(&f, cases[i].text);
		fixture_init(&f);
		add_symlink(&f, cases[i].name, BYTES("x"));
		assert_refused(&f, cases[i].text);
	}
}

static void
longest_name_has_255_bytes(void **state)
{
	struct fixture f;
	uint8_t name[256];

	(void)state;
	memset(name, 'n', sizeof(name));
	fixture_init(&f);
	add_file(&f, (ProtobufCBinaryData){255, name});
	assert_accepted(&f);
	fixture_init(&f);
	add_file(&f, (ProtobufCBinaryData){256, name});
	assert_refused(&f, "longer than 255");
}

static void
unsorted_or_repeated_names_are_refused(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	add_file(&f, BYTES("b"));
	add_file(&f, BYTES("a"));
	assert_refused(&f, "\"a\" stands twice or is not in order");
	fixture_init(&f);
	add_directory(&f, BYTES("a"));
	add_directory(&f, BYTES("a"));
	assert_refused(&f, "\"a\" stands twice or is not in order");
	fixture_init(&f);
	add_symlink(&f, BYTES("ab"), BYTES("x"));
	add_symlink(&f, BYTES("a"), BYTES("x"));
	assert_refused(&f, "\"a\" stands twice or is not in order");
}

static void
name_in_two_lists_is_refused(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	add_file(&f, BYTES("a"));
	add_file(&f, BYTES("k"));
	add_directory(&f, BYTES("b"));
	add_directory(&f, BYTES("k"));
	assert_refused(&f, "\"k\" stands twice, with different types");
	fixture_init(&f);
	add_file(&f, BYTES("k"));
	add_symlink(&f, BYTES("k"), BYTES("x"));
	assert_refused(&f, "\"k\" stands twice, with different types");
	fixture_init(&f);
	add_directory(&f, BYTES("k"));
	add_symlink(&f, BYTES("j"), BYTES("x"));
	add_symlink(&f, BYTES("k"), BYTES("x"));
	assert_refused(&f, "\"k\" stands twice, with different types");
}

static void
malformed_digests_are_refused(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	add_file(&f, BYTES("a"));
	f.files[0].digest = NULL;
	assert_refused(&f, "entry \"a\"");
	fixture_init(&f);
	add_directory(&f, BYTES("a"));
	f.digest.hash = BYTES(HASH_SHA1);
	assert_refused(&f, "entry \"a\"");
	fixture_init(&f);
	add_file(&f, BYTES("a"));
	f.digest.size_bytes = -1;
	assert_refused(&f, "entry \"a\"");
	fixture_init(&f);
	add_file(&f, BYTES("a"));
	f.digest.hash = BYTES("..");
	assert_refused(&f, "entry \"a\"");
}

static void
malformed_targets_are_refused(void **state)
{
	struct fixture f;
	uint8_t target[4096];

	(void)state;
	fixture_init(&f);
	add_symlink(&f, BYTES("l"), (ProtobufCBinaryData){0, NULL});
	assert_refused(&f, "entry \"l\": the target");
	fixture_init(&f);
	add_symlink(&f, BYTES("l"), BYTES("a\0b"));
	assert_refused(&f, "NUL");
	fixture_init(&f);
	add_symlink(&f, BYTES("l"), BYTES("\x80"));
	assert_refused(&f, "UTF-8");
	memset(target, 't', sizeof(target));
	fixture_init(&f);
	add_symlink(&f, BYTES("l"), (ProtobufCBinaryData){4096, target});
	assert_refused(&f, "4095");
	fixture_init(&f);
	add_symlink(&f, BYTES("l"), (ProtobufCBinaryData){4095, target});
	assert_accepted(&f);
}

static void
node_properties_are_checked(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	f.directory.node_properties = &f.properties;
	f.properties.unix_mode = &f.mode;
	f.mode.value = 07777;
	f.properties.mtime = &f.mtime;
	f.mtime.seconds = -1;
	f.mtime.nanos = 999999999;
	add_property(&f, BYTES("a"));
	add_property(&f, BYTES("a"));
	assert_accepted(&f);
	f.mode.value = 010000;
	assert_refused(&f, "unix_mode 10000");
	f.mode.value = 0755;
	f.mtime.nanos = 1000000000;
	assert_refused(&f, "nanoseconds");
	f.mtime.nanos = -1;
	assert_refused(&f, "nanoseconds");
	f.mtime.nanos = 0;
	f.mtime.seconds = INT64_MAX;
	assert_refused(&f, "seconds");
	f.mtime.seconds = 0;
	f.property[0].name = BYTES("b");
	assert_refused(&f, "not in order");
	f.directory.node_properties = NULL;
	add_file(&f, BYTES("x"));
	f.files[0].node_properties = &f.properties;
	assert_refused(&f, "entry \"x\"");
}

static void
decode_reads_what_was_packed(void **state)
{
	struct fixture f;
	struct arena arena;
	Reapi__Directory *again;
	struct str bytes;

	(void)state;
	fixture_init(&f);
	add_file(&f, BYTES("a"));
	add_symlink(&f, BYTES("l"), BYTES("a"));
	arena_init(&arena, 1 << 20);
	assert_non_null(protos_pack(&arena, &f.directory.base, &bytes));
	again = directory_decode(&arena, bytes, DIGEST_SHA256, &f.err);
	assert_non_null(again);
	assert_int_equal(again->n_files, 1);
	assert_true(str_equal(directory_str(again->files[0]->name), STR("a")));
	assert_null(directory_decode(&arena, bytes, DIGEST_SHA1, &f.err));
	bytes.len--;
	assert_null(directory_decode(&arena, bytes, DIGEST_SHA256, &f.err));
	assert_int_equal(f.err.code, ERROR_INVALID_ARGUMENT);
	arena_clear(&arena);
}

static void
bomb_of_empty_entries_is_refused_within_its_memory(void **state)
{
	enum { COUNT = 100000 };
	struct arena arena;
	struct error err;
	char *bytes = test_malloc(2 * COUNT);

	(void)state;
	for (size_t i = 0; i < COUNT; i++)
		memcpy(bytes + 2 * i, "\x0a\x00", 2); /* files: {} */
	arena_init(&arena, directory_memory(2 * (size_t)COUNT));
	assert_null(directory_decode(&arena,
	    (struct str){bytes, 2 * (size_t)COUNT}, DIGEST_SHA256, &err));
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	arena_clear(&arena);
	test_free(bytes);
}

/* The densest legal message, many short symbolic links, fits the cap. */
static void
densest_legal_directory_fits_its_memory(void **state)
{
	enum { COUNT = 200000, ENTRY = 2 + 6 + 3 };
	struct arena arena;
	struct error err;
	char *bytes = test_malloc(ENTRY * COUNT + 1);

	(void)state;
	for (unsigned i = 0; i < COUNT; i++) {
		char *entry = bytes + ENTRY * (size_t)i;

		snprintf(entry, ENTRY + 1, "\x1a\x09\x0a\x04%c%c%c%c\x12\x01x",
		    '0' + i / 32 / 32 / 32, '@' + i / 32 / 32 % 32,
		    '@' + i / 32 % 32, '@' + i % 32);
	}
	arena_init(&arena, directory_memory(ENTRY * (size_t)COUNT));
	if (directory_decode(&arena, (struct str){bytes, ENTRY * (size_t)COUNT},
		DIGEST_SHA256, &err) == NULL)
		fail_msg("%s", err.text);
	arena_clear(&arena);
	test_free(bytes);
}

static void
printable_text_is_bounded_and_escaped(void **state)
{
	char printable[DIRECTORY_PRINTABLE_MAX];
	char text[1000];

	(void)state;
	assert_string_equal(directory_printable(STR("a\n\"\x1b"), printable),
	    "a\\x0a\\x22\\x1b");
	memset(text, '\1', sizeof(text));
	directory_printable((struct str){text, sizeof(text)}, printable);
	assert_true(strlen(printable) < DIRECTORY_PRINTABLE_MAX);
	assert_string_equal(printable + strlen(printable) - 3, "...");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(empty_directory_is_accepted),
	    cmocka_unit_test(sorted_lists_of_all_kinds_are_accepted),
	    cmocka_unit_test(malformed_names_are_refused),
	    cmocka_unit_test(longest_name_has_255_bytes),
	    cmocka_unit_test(unsorted_or_repeated_names_are_refused),
	    cmocka_unit_test(name_in_two_lists_is_refused),
	    cmocka_unit_test(malformed_digests_are_refused),
	    cmocka_unit_test(malformed_targets_are_refused),
	    cmocka_unit_test(node_properties_are_checked),
	    cmocka_unit_test(decode_reads_what_was_packed),
	    cmocka_unit_test(
		bomb_of_empty_entries_is_refused_within_its_memory),
	    cmocka_unit_test(densest_legal_directory_fits_its_memory),
	    cmocka_unit_test(printable_text_is_bounded_and_escaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
