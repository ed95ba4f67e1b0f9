/* SPDX-License-Identifier: Apache-2.0 */
/* Closures of action results, and the Tree messages in them. */
#include "cas/closure.h"

#include "protos/wire.h"
#include "tests/unit/cas/closure_fixture.h"

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

int
main(void)
{
	const struct CMUnitTest tests[] = {
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
