/* SPDX-License-Identifier: Apache-2.0 */
/* Closures of input roots and action results, over blobs in memory. */
#include "cas/closure.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "cas/digest_list.h"
#include "cas/digest_message.h"
#include "tests/unit/cas/fake_blobs.h"
#include "protos/wire.h"

struct fixture {
	struct fake_blobs blobs;
	struct closure_source source;
	struct digest_list files;
	struct digest_list directories;
	struct digest_list missing;
	struct closure closure;
	struct error err;
};

static int
setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	fake_blobs_init(&f->blobs);
	f->source = fake_blobs_source(&f->blobs);
	digest_list_init(&f->files, CLOSURE_DIGESTS_MAX);
	digest_list_init(&f->directories, CLOSURE_DIGESTS_MAX);
	digest_list_init(&f->missing, CLOSURE_DIGESTS_MAX);
	f->closure = (struct closure){&f->files, &f->directories, &f->missing};
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	fake_blobs_clear(&f->blobs);
	digest_list_clear(&f->files);
	digest_list_clear(&f->directories);
	digest_list_clear(&f->missing);
	free(f);
	return 0;
}

static bool
list_has(const struct digest_list *list, const struct digest *digest)
{
	for (size_t i = 0; i < list->count; i++) {
		if (digest_equal(&list->items[i], digest))
			return true;
	}
	return false;
}

static void
assert_ok(int rc, const struct fixture *f)
{
	if (rc < 0)
		fail_msg("%s", f->err.text);
}

static void
assert_refused(
    int rc, const struct fixture *f, enum error_code code, const char *text)
{
	assert_int_equal(rc, -1);
	assert_int_equal(f->err.code, code);
	if (strstr(f->err.text, text) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", f->err.text, text);
}

static int
walk(struct fixture *f, const struct digest *root)
{
	return closure_of_directory(&f->source, root, &f->closure, &f->err);
}

static void
add_file(struct fixture *f, struct merkle_builder *builder, const char *path)
{
	struct merkle_file file = fake_file(path);

	assert_ok(
	    merkle_builder_add_file(builder, str_from(path), &file, &f->err),
	    f);
}

/* A Directory of subdirectories alone, as its encoded bytes. */
static void
encode_parent(struct buffer *bytes, const struct digest *children, size_t count,
    const char *name_format)
{
	Reapi__Directory directory = REAPI__DIRECTORY__INIT;
	Reapi__DirectoryNode **list = xcalloc(count, sizeof(*list));

	for (size_t i = 0; i < count; i++) {
		char *text = xmalloc(DIGEST_TEXT_MAX);
		char *name = xasprintf("%s%06zu", name_format, i);

		list[i] = xcalloc(1, sizeof(**list));
		reapi__directory_node__init(list[i]);
		list[i]->name.data = (uint8_t *)name;
		list[i]->name.len = strlen(name);
		list[i]->digest = xcalloc(1, sizeof(Reapi__Digest));
		digest_to_message(&children[i], text, list[i]->digest);
	}
	directory.directories = list;
	directory.n_directories = count;
	buffer_init(bytes, 64 << 20);
	bytes->len = reapi__directory__pack(
	    &directory, (uint8_t *)buffer_reserve(bytes,
			    reapi__directory__get_packed_size(&directory)));
	for (size_t i = 0; i < count; i++) {
		free(list[i]->digest->hash.data);
		free(list[i]->digest);
		free(list[i]->name.data);
		free(list[i]);
	}
	free(list);
}

static struct digest
add_parent(struct fixture *f, const struct digest *children, size_t count)
{
	struct buffer bytes;
	struct digest digest;

	encode_parent(&bytes, children, count, "n");
	digest = fake_blobs_add(&f->blobs, buffer_str(&bytes));
	buffer_clear(&bytes);
	return digest;
}

/* A chain of so many directories, the innermost with one file. */
static struct digest
add_chain(struct fixture *f, size_t length)
{
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct digest digest;

	add_file(f, builder, "leaf");
	digest = fake_blobs_add_tree(&f->blobs, builder);
	for (size_t i = 1; i < length; i++)
		digest = add_parent(f, &digest, 1);
	return digest;
}

/* --- directories ---------------------------------------------------------- */

static void
closure_has_every_file_and_directory_once(void **state)
{
	struct fixture *f = *state;
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct merkle_file twice = fake_file("twice");
	struct digest root;

	add_file(f, builder, "a/b/c");
	add_file(f, builder, "a/d");
	assert_ok(
	    merkle_builder_add_file(builder, STR("a/twice"), &twice, &f->err),
	    f);
	assert_ok(
	    merkle_builder_add_file(builder, STR("twice"), &twice, &f->err), f);
	root = fake_blobs_add_tree(&f->blobs, builder);
	assert_ok(walk(f, &root), f);
	assert_int_equal(f->files.count, 3);
	assert_int_equal(f->directories.count, 3);
	assert_int_equal(f->missing.count, 0);
	assert_true(list_has(&f->files, &twice.digest));
	assert_true(list_has(&f->directories, &root));
}

static void
empty_root_needs_no_read(void **state)
{
	struct fixture *f = *state;
	struct digest root;

	digest_empty(DIGEST_SHA256, &root);
	assert_ok(walk(f, &root), f);
	assert_int_equal(f->directories.count, 1);
	assert_int_equal(f->blobs.reads, 0);
}

static void
shared_subtrees_are_read_once(void **state)
{
	struct fixture *f = *state;
	struct digest digest = add_chain(f, 1);
	struct digest pair[2];

	/* 2^40 paths, 41 directories. */
	for (size_t i = 0; i < 40; i++) {
		pair[0] = digest;
		pair[1] = digest;
		digest = add_parent(f, pair, 2);
	}
	assert_ok(walk(f, &digest), f);
	assert_int_equal(f->directories.count, 41);
	assert_int_equal(f->blobs.reads, 41);
}

static void
missing_directories_are_listed_and_the_walk_goes_on(void **state)
{
	struct fixture *f = *state;
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct digest parts[3];
	struct digest root;

	add_file(f, builder, "here");
	parts[1] = fake_blobs_add_tree(&f->blobs, builder);
	digest_compute(DIGEST_SHA256, "gone", 4, &parts[0]);
	digest_compute(DIGEST_SHA256, "lost", 4, &parts[2]);
	root = add_parent(f, parts, 3);
	assert_ok(walk(f, &root), f);
	assert_int_equal(f->missing.count, 2);
	assert_true(list_has(&f->missing, &parts[0]));
	assert_true(list_has(&f->missing, &parts[2]));
	assert_int_equal(f->files.count, 1);
	assert_int_equal(f->directories.count, 4);
}

static void
missing_root_is_listed(void **state)
{
	struct fixture *f = *state;
	struct digest root;

	digest_compute(DIGEST_SHA256, "gone", 4, &root);
	assert_ok(walk(f, &root), f);
	assert_int_equal(f->missing.count, 1);
}

static void
deepest_tree_is_accepted_and_one_more_refused(void **state)
{
	struct fixture *f = *state;
	struct digest root = add_chain(f, CLOSURE_DEPTH_MAX);

	assert_ok(walk(f, &root), f);
	assert_int_equal(f->directories.count, CLOSURE_DEPTH_MAX);
	root = add_parent(f, &root, 1);
	assert_refused(walk(f, &root), f, ERROR_INVALID_ARGUMENT, "too deep");
	assert_non_null(strstr(f->err.text, "n000000/n000000"));
}

/* The depth is that of the tree, also when the deep part was walked before by
 * a shorter way. */
static void
depth_counts_through_what_was_walked_before(void **state)
{
	struct fixture *f = *state;
	struct digest half = add_chain(f, CLOSURE_DEPTH_MAX / 2);
	struct digest pair[2] = {half, half};
	struct digest root;

	for (size_t i = 0; i < CLOSURE_DEPTH_MAX / 2; i++)
		pair[1] = add_parent(f, &pair[1], 1);
	root = add_parent(f, pair, 2);
	assert_refused(walk(f, &root), f, ERROR_INVALID_ARGUMENT, "too deep");
}

static void
wide_tree_is_walked(void **state)
{
	enum { WIDTH = 20000 };
	struct fixture *f = *state;
	struct digest *children = xcalloc(WIDTH, sizeof(*children));
	struct digest root;

	for (size_t i = 0; i < WIDTH; i++) {
		char text[32];

		/* A directory of one symbolic link. */
		snprintf(
		    text, sizeof(text), "\x1a\x0b\x0a\x06%06zu\x12\x01x", i);
		children[i] = fake_blobs_add(&f->blobs, str_from(text));
	}
	root = add_parent(f, children, WIDTH);
	assert_ok(walk(f, &root), f);
	assert_int_equal(f->directories.count, WIDTH + 1);
	free(children);
}

static void
malformed_directory_is_named_by_its_path(void **state)
{
	static const struct {
		struct str bytes;
		const char *text;
	} cases[] = {
	    {{"\x1a\x07\x0a\x02..\x12\x01x", 9}, "\"..\""},
	    {{"\x1a\x06\x0a\x01x\x12\x01x\x1a\x06\x0a\x01x\x12\x01x", 16},
		"twice"},
	    {{"\xff\xff\xff", 3}, "well-formed"},
	    {{"\x12\x07\x0a\x01x\x12\x02\x0a\x00", 9}, "entry \"x\""},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct digest digest =
		    fake_blobs_add(&f->blobs, cases[i].bytes);

		digest = add_parent(f, &digest, 1);
		digest = add_parent(f, &digest, 1);
		assert_refused(
		    walk(f, &digest), f, ERROR_INVALID_ARGUMENT, cases[i].text);
		assert_non_null(
		    strstr(f->err.text, "directory \"n000000/n000000/\""));
	}
}

static void
digest_of_another_function_is_refused(void **state)
{
	struct fixture *f = *state;
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA1);
	struct merkle_file file = {.executable = true};
	struct digest root;

	digest_compute(DIGEST_SHA1, "x", 1, &file.digest);
	assert_ok(
	    merkle_builder_add_file(builder, STR("f"), &file, &f->err), f);
	root = fake_blobs_add_tree(&f->blobs, builder);
	assert_refused(walk(f, &root), f, ERROR_INVALID_ARGUMENT, "\"f\"");
}

static void
directory_that_contains_itself_is_refused(void **state)
{
	struct fixture *f = *state;
	struct digest liar;
	struct buffer bytes;

	/* Only a source that lies about digests can make this. */
	digest_compute(DIGEST_SHA256, "liar", 4, &liar);
	encode_parent(&bytes, &liar, 1, "n");
	liar.size = bytes.len;
	buffer_clear(&bytes);
	encode_parent(&bytes, &liar, 1, "n");
	assert_true(bytes.len - liar.size <= 1);
	liar.size = bytes.len;
	buffer_clear(&bytes);
	encode_parent(&bytes, &liar, 1, "n");
	fake_blobs_add_as(&f->blobs, &liar, buffer_str(&bytes));
	buffer_clear(&bytes);
	assert_refused(
	    walk(f, &liar), f, ERROR_INVALID_ARGUMENT, "contains itself");
}

static void
read_errors_come_through_with_the_digest(void **state)
{
	struct fixture *f = *state;
	struct digest root = add_chain(f, 2);
	char text[DIGEST_TEXT_MAX];

	f->blobs.broken = true;
	assert_refused(walk(f, &root), f, ERROR_INTERNAL, "on fire");
	assert_non_null(strstr(f->err.text, digest_format(&root, text)));
}

static void
content_of_another_length_is_data_loss(void **state)
{
	struct fixture *f = *state;
	struct digest root;

	digest_compute(DIGEST_SHA256, "some bytes", 10, &root);
	fake_blobs_add_as(&f->blobs, &root, STR("some"));
	assert_refused(walk(f, &root), f, ERROR_DATA_LOSS, "4 bytes");
}

static void
oversized_directory_is_refused_unread(void **state)
{
	struct fixture *f = *state;
	struct digest root;

	digest_compute(DIGEST_SHA256, "x", 1, &root);
	root.size = CLOSURE_MESSAGE_MAX + UINT64_C(1);
	assert_refused(walk(f, &root), f, ERROR_INVALID_ARGUMENT, "too large");
	assert_int_equal(f->blobs.reads, 0);
}

static void
list_limit_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct digest root = add_chain(f, 5);

	f->directories.limit = 4;
	assert_refused(
	    walk(f, &root), f, ERROR_INVALID_ARGUMENT, "more than 4 blobs");
	digest_list_clear(&f->directories);
	f->directories.limit = 5;
	assert_ok(walk(f, &root), f);
}

/* --- action results ------------------------------------------------------- */

struct result {
	Reapi__ActionResult message;
	Reapi__OutputFile file;
	Reapi__OutputFile *files[1];
	Reapi__OutputDirectory directory;
	Reapi__OutputDirectory *directories[1];
	Reapi__Digest digests[5];
	char texts[5][DIGEST_TEXT_MAX];
};

static void
result_init(struct result *r)
{
	reapi__action_result__init(&r->message);
	reapi__output_file__init(&r->file);
	reapi__output_directory__init(&r->directory);
	r->files[0] = &r->file;
	r->message.output_files = r->files;
	r->directories[0] = &r->directory;
	r->message.output_directories = r->directories;
	r->directory.path.data = (uint8_t *)"out";
	r->directory.path.len = 3;
}

static Reapi__Digest *
result_digest(struct result *r, size_t i, const struct digest *digest)
{
	digest_to_message(digest, r->texts[i], &r->digests[i]);
	return &r->digests[i];
}

static int
walk_result(struct fixture *f, const struct result *r)
{
	return closure_of_action_result(
	    &f->source, &r->message, &f->files, &f->err);
}

/* a/f, a/g, b/f; the Tree is stored, the directories are not. */
static struct digest
add_tree(struct fixture *f, struct digest *root)
{
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct buffer bytes;
	struct digest digest;

	add_file(f, builder, "a/f");
	add_file(f, builder, "a/g");
	add_file(f, builder, "b/f");
	assert_ok(merkle_builder_finish(builder, &f->err), f);
	buffer_init(&bytes, 1 << 20);
	assert_ok(merkle_builder_tree(builder, &bytes, &f->err), f);
	digest = fake_blobs_add(&f->blobs, buffer_str(&bytes));
	*root = *merkle_builder_root(builder);
	buffer_clear(&bytes);
	merkle_builder_free(builder);
	return digest;
}

static void
result_without_outputs_needs_nothing(void **state)
{
	struct fixture *f = *state;
	struct result r;

	result_init(&r);
	assert_ok(walk_result(f, &r), f);
	assert_int_equal(f->files.count, 0);
}

static void
result_names_files_and_streams(void **state)
{
	struct fixture *f = *state;
	struct digest a = fake_file("a").digest;
	struct digest b = fake_file("b").digest;
	struct result r;

	result_init(&r);
	r.message.n_output_files = 1;
	r.file.digest = result_digest(&r, 0, &a);
	r.message.stdout_digest = result_digest(&r, 1, &b);
	r.message.stderr_digest = result_digest(&r, 2, &b);
	assert_ok(walk_result(f, &r), f);
	assert_int_equal(f->files.count, 2);
	assert_true(list_has(&f->files, &a));
	assert_true(list_has(&f->files, &b));
	r.file.digest = NULL;
	assert_refused(
	    walk_result(f, &r), f, ERROR_INVALID_ARGUMENT, "output file");
}

static void
result_names_its_trees_and_what_is_in_them(void **state)
{
	struct fixture *f = *state;
	struct digest file = fake_file("a/g").digest;
	struct digest root;
	struct digest tree = add_tree(f, &root);
	struct result r;

	result_init(&r);
	r.message.n_output_directories = 1;
	r.directory.tree_digest = result_digest(&r, 0, &tree);
	r.directory.is_topologically_sorted = true;
	assert_ok(walk_result(f, &r), f);
	assert_int_equal(f->files.count, 4);
	assert_true(list_has(&f->files, &tree));
	assert_true(list_has(&f->files, &file));
	assert_false(list_has(&f->files, &root));
}

static void
result_with_a_root_directory_names_directories(void **state)
{
	struct fixture *f = *state;
	struct merkle_builder *builder = merkle_builder_new(DIGEST_SHA256);
	struct digest root;
	struct result r;

	add_file(f, builder, "a/f");
	root = fake_blobs_add_tree(&f->blobs, builder);
	result_init(&r);
	r.message.n_output_directories = 1;
	r.directory.root_directory_digest = result_digest(&r, 0, &root);
	assert_ok(walk_result(f, &r), f);
	assert_int_equal(f->files.count, 3);
	assert_true(list_has(&f->files, &root));
}

static void
absent_tree_or_directory_is_a_failed_precondition(void **state)
{
	struct fixture *f = *state;
	struct digest root;
	struct digest tree = add_tree(f, &root);
	struct result r;
	char text[DIGEST_TEXT_MAX];

	result_init(&r);
	r.message.n_output_directories = 1;
	r.directory.tree_digest = result_digest(&r, 0, &tree);
	r.directory.root_directory_digest = result_digest(&r, 1, &root);
	assert_refused(walk_result(f, &r), f, ERROR_FAILED_PRECONDITION,
	    digest_format(&root, text));
	fake_blobs_remove(&f->blobs, &tree);
	assert_refused(walk_result(f, &r), f, ERROR_FAILED_PRECONDITION,
	    digest_format(&tree, text));
	r.directory.tree_digest = NULL;
	r.directory.root_directory_digest = NULL;
	assert_refused(walk_result(f, &r), f, ERROR_INVALID_ARGUMENT, "out");
}

static void
root_that_is_not_the_trees_is_refused(void **state)
{
	struct fixture *f = *state;
	struct digest other = add_chain(f, 1);
	struct digest root;
	struct digest tree = add_tree(f, &root);
	struct result r;

	result_init(&r);
	r.message.n_output_directories = 1;
	r.directory.tree_digest = result_digest(&r, 0, &tree);
	r.directory.root_directory_digest = result_digest(&r, 1, &other);
	assert_refused(walk_result(f, &r), f, ERROR_INVALID_ARGUMENT,
	    "not the root of tree_digest");
}

/* --- Tree messages that are not what they should be ----------------------- */

static void
tree_part(struct buffer *tree, uint32_t field, struct str bytes)
{
	uint8_t header[2 * WIRE_VARINT_MAX];
	size_t len = wire_put_bytes_header(header, field, bytes.len);

	assert_int_equal(buffer_append(tree, header, len), 0);
	assert_int_equal(buffer_append(tree, bytes.data, bytes.len), 0);
}

static int
walk_tree(struct fixture *f, struct buffer *bytes, bool sorted)
{
	struct digest tree = fake_blobs_add(&f->blobs, buffer_str(bytes));
	struct result r;

	buffer_reset(bytes);
	result_init(&r);
	r.message.n_output_directories = 1;
	r.directory.is_topologically_sorted = sorted;
	r.directory.tree_digest = result_digest(&r, 0, &tree);
	return walk_result(f, &r);
}

/* leaf (a link), middle (leaf), top (middle and leaf). */
struct tree_parts {
	struct str leaf;
	struct buffer middle;
	struct buffer top;
};

static void
tree_parts_init(struct tree_parts *p)
{
	struct digest digests[2];

	p->leaf = STR("\x1a\x06\x0a\x01x\x12\x01x");
	digest_compute(DIGEST_SHA256, p->leaf.data, p->leaf.len, &digests[0]);
	encode_parent(&p->middle, digests, 1, "m");
	digest_compute(
	    DIGEST_SHA256, p->middle.data, p->middle.len, &digests[1]);
	encode_parent(&p->top, digests, 2, "t");
}

static void
tree_children_are_checked(void **state)
{
	struct fixture *f = *state;
	struct tree_parts p;
	struct buffer tree;

	tree_parts_init(&p);
	buffer_init(&tree, 1 << 20);
	/* Any order will do as long as nothing is claimed. */
	tree_part(&tree, 2, p.leaf);
	tree_part(&tree, 2, buffer_str(&p.middle));
	tree_part(&tree, 2, p.leaf);
	tree_part(&tree, 1, buffer_str(&p.top));
	assert_ok(walk_tree(f, &tree, false), f);

	tree_part(&tree, 1, buffer_str(&p.top));
	tree_part(&tree, 2, buffer_str(&p.middle));
	assert_refused(walk_tree(f, &tree, false), f, ERROR_INVALID_ARGUMENT,
	    "is not in the Tree");

	tree_part(&tree, 1, buffer_str(&p.top));
	tree_part(&tree, 1, buffer_str(&p.top));
	assert_refused(
	    walk_tree(f, &tree, false), f, ERROR_INVALID_ARGUMENT, "two roots");

	assert_int_equal(buffer_append(&tree, "\x0a\x05", 2), 0);
	assert_refused(walk_tree(f, &tree, false), f, ERROR_INVALID_ARGUMENT,
	    "well-formed");
	assert_int_equal(buffer_append(&tree, "\x08\x05", 2), 0);
	assert_refused(walk_tree(f, &tree, false), f, ERROR_INVALID_ARGUMENT,
	    "well-formed");

	tree_part(&tree, 1, STR("\x1a\x07\x0a\x02..\x12\x01x"));
	assert_refused(
	    walk_tree(f, &tree, false), f, ERROR_INVALID_ARGUMENT, "\"..\"");
	buffer_clear(&tree);
	buffer_clear(&p.middle);
	buffer_clear(&p.top);
}

static void
false_claim_of_a_sorted_tree_is_refused(void **state)
{
	struct fixture *f = *state;
	struct tree_parts p;
	struct buffer tree;

	tree_parts_init(&p);
	buffer_init(&tree, 1 << 20);
	tree_part(&tree, 1, buffer_str(&p.top));
	tree_part(&tree, 2, buffer_str(&p.middle));
	tree_part(&tree, 2, p.leaf);
	assert_ok(walk_tree(f, &tree, true), f);

	tree_part(&tree, 1, buffer_str(&p.top));
	tree_part(&tree, 2, p.leaf);
	tree_part(&tree, 2, buffer_str(&p.middle));
	assert_refused(walk_tree(f, &tree, true), f, ERROR_INVALID_ARGUMENT,
	    "before its parent");

	tree_part(&tree, 1, buffer_str(&p.top));
	tree_part(&tree, 2, buffer_str(&p.middle));
	tree_part(&tree, 2, p.leaf);
	tree_part(&tree, 2, p.leaf);
	assert_refused(
	    walk_tree(f, &tree, true), f, ERROR_INVALID_ARGUMENT, "twice");

	tree_part(&tree, 1, p.leaf);
	tree_part(&tree, 2, buffer_str(&p.middle));
	assert_refused(walk_tree(f, &tree, true), f, ERROR_INVALID_ARGUMENT,
	    "no directory refers to 1");
	buffer_clear(&tree);
	buffer_clear(&p.middle);
	buffer_clear(&p.top);
}

static void
empty_tree_is_an_empty_directory(void **state)
{
	struct fixture *f = *state;
	struct buffer tree;

	buffer_init(&tree, 100);
	tree_part(&tree, 1, STR(""));
	assert_ok(walk_tree(f, &tree, true), f);
	assert_ok(walk_tree(f, &tree, true), f);
	buffer_clear(&tree);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(closure_has_every_file_and_directory_once),
	    CASE(empty_root_needs_no_read),
	    CASE(shared_subtrees_are_read_once),
	    CASE(missing_directories_are_listed_and_the_walk_goes_on),
	    CASE(missing_root_is_listed),
	    CASE(deepest_tree_is_accepted_and_one_more_refused),
	    CASE(depth_counts_through_what_was_walked_before),
	    CASE(wide_tree_is_walked),
	    CASE(malformed_directory_is_named_by_its_path),
	    CASE(digest_of_another_function_is_refused),
	    CASE(directory_that_contains_itself_is_refused),
	    CASE(read_errors_come_through_with_the_digest),
	    CASE(content_of_another_length_is_data_loss),
	    CASE(oversized_directory_is_refused_unread),
	    CASE(list_limit_is_an_error),
	    CASE(result_without_outputs_needs_nothing),
	    CASE(result_names_files_and_streams),
	    CASE(result_names_its_trees_and_what_is_in_them),
	    CASE(result_with_a_root_directory_names_directories),
	    CASE(absent_tree_or_directory_is_a_failed_precondition),
	    CASE(root_that_is_not_the_trees_is_refused),
	    CASE(tree_children_are_checked),
	    CASE(false_claim_of_a_sorted_tree_is_refused),
	    CASE(empty_tree_is_an_empty_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
