/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of closures share: lists, blobs in memory, small trees. One
 * thread. */
#ifndef TOOLROOT_TESTS_CLOSURE_FIXTURE_H
#define TOOLROOT_TESTS_CLOSURE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "cas/closure.h"
#include "cas/digest_list.h"
#include "cas/digest_message.h"
#include "tests/unit/cas/fake_blobs.h"

struct fixture {
	struct fake_blobs blobs;
	struct closure_source source;
	struct digest_list files;
	struct digest_list directories;
	struct digest_list missing;
	struct closure closure;
	struct error err;
};

static inline int
setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	fake_blobs_init(&f->blobs);
	f->source = fake_blobs_source(&f->blobs);
	digest_list_init(&f->files, CLOSURE_DIGESTS_MAX);
	digest_list_init(&f->directories, CLOSURE_DIGESTS_MAX);
	digest_list_init(&f->missing, CLOSURE_DIGESTS_MAX);
	f->closure =
	    (struct closure){&f->files, &f->directories, &f->missing, 0};
	*state = f;
	return 0;
}

static inline int
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

static inline bool
list_has(const struct digest_list *list, const struct digest *digest)
{
	for (size_t i = 0; i < list->count; i++) {
		if (digest_equal(&list->items[i], digest))
			return true;
	}
	return false;
}

static inline void
assert_ok(int rc, const struct fixture *f)
{
	if (rc < 0)
		fail_msg("%s", f->err.text);
}

static inline void
assert_refused(
    int rc, const struct fixture *f, enum error_code code, const char *text)
{
	assert_int_equal(rc, -1);
	assert_int_equal(f->err.code, code);
	if (strstr(f->err.text, text) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", f->err.text, text);
}

static inline int
walk(struct fixture *f, const struct digest *root)
{
	return closure_of_directory(&f->source, root, &f->closure, &f->err);
}

static inline void
add_file(struct fixture *f, struct merkle_builder *builder, const char *path)
{
	struct merkle_file file = fake_file(path);

	assert_ok(
	    merkle_builder_add_file(builder, str_from(path), &file, &f->err),
	    f);
}

/* A Directory of subdirectories alone, as its encoded bytes. */
static inline void
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

static inline struct digest
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
static inline struct digest
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

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
