/* SPDX-License-Identifier: Apache-2.0 */
/* Matching of platform properties, and the heap under queues and deadlines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/error.h"
#include "executor/heap.h"
#include "executor/platform.h"

#define PROPERTIES_MAX 300

/* From "name=value" texts, ended by NULL. */
static int
make(struct platform *platform, const char *const *texts, struct error *err)
{
	struct platform_property properties[PROPERTIES_MAX];
	size_t count = 0;

	for (; texts[count] != NULL; count++) {
		struct str rest = str_from(texts[count]);

		properties[count].name = str_cut(&rest, '=');
		properties[count].value = rest;
	}
	return platform_init(platform, properties, count, err);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static bool
matches(const char *const *required, const char *const *offered)
{
	struct platform a, b;
	struct error err;
	bool result;

	assert_int_equal(make(&a, required, &err), 0);
	assert_int_equal(make(&b, offered, &err), 0);
	result = platform_matches(&a, &b);
	platform_clear(&a);
	platform_clear(&b);
	return result;
}

static void
every_required_property_must_be_offered(void **state)
{
	(void)state;
	assert_true(matches(
	    LIST("OSFamily=linux"), LIST("ISA=x86-64", "OSFamily=linux")));
	assert_false(
	    matches(LIST("OSFamily=linux", "gpu=1"), LIST("OSFamily=linux")));
	assert_false(matches(LIST("OSFamily=Linux"), LIST("OSFamily=linux")));
	assert_true(matches((const char *const[]){NULL}, LIST("a=b")));
}

static void
one_name_may_have_several_values(void **state)
{
	(void)state;
	assert_true(matches(
	    LIST("pool=a", "pool=b"), LIST("pool=a", "pool=b", "pool=c")));
	assert_false(matches(
	    LIST("pool=a", "pool=d"), LIST("pool=a", "pool=b", "pool=c")));
}

static void
a_star_offers_any_value(void **state)
{
	(void)state;
	assert_true(
	    matches(LIST("container-image=x"), LIST("container-image=*")));
	assert_false(
	    matches(LIST("container-image=*"), LIST("container-image=x")));
}

static void
setup_properties_restrict_no_worker(void **state)
{
	(void)state;
	assert_true(
	    matches(LIST("toolchain-root=ab/1", "toolchain-root:/opt/x=cd/2",
			"InputRootAbsolutePath=/src"),
		LIST("a=b")));
	assert_false(matches(LIST("toolchain-rooted=1"), LIST("a=b")));
	assert_true(matches(
	    LIST("max-mem=1G", "max-cores=2", "max-pids=9"), LIST("a=b")));
	assert_true(matches(LIST("early-outputs=.d,.x"), LIST("a=b")));
	assert_true(matches(LIST("network=false"), LIST("a=b")));
	assert_false(matches(LIST("network=true"), LIST("a=b")));
	assert_true(matches(LIST("network=true"), LIST("network=true")));
	assert_true(platform_is_root(STR("toolchain-root:/opt/x")));
	assert_false(platform_is_root(STR("InputRootAbsolutePath")));
}

static void
the_key_ignores_order_doubles_and_setup(void **state)
{
	struct platform a, b, c;
	struct error err;

	(void)state;
	assert_int_equal(make(&a, LIST("x=1", "y=2"), &err), 0);
	assert_int_equal(
	    make(&b, LIST("y=2", "toolchain-root=q/1", "x=1", "x=1"), &err), 0);
	assert_int_equal(make(&c, LIST("x=", "1y=2"), &err), 0);
	assert_true(str_equal(a.key, b.key));
	assert_false(str_equal(a.key, c.key));
	assert_int_equal(b.count, 3);
	platform_clear(&a);
	platform_clear(&b);
	platform_clear(&c);
}

static void
properties_out_of_bounds_are_refused(void **state)
{
	const char *texts[PLATFORM_PROPERTIES_MAX + 2] = {NULL};
	struct platform platform;
	struct error err;

	(void)state;
	assert_int_equal(make(&platform, LIST("=v"), &err), -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	assert_int_equal(make(&platform, LIST("a=\xff"), &err), -1);
	for (size_t i = 0; i <= PLATFORM_PROPERTIES_MAX; i++)
		texts[i] = "a=b";
	assert_int_equal(make(&platform, texts, &err), -1);
	assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
	texts[PLATFORM_PROPERTIES_MAX] = NULL;
	assert_int_equal(make(&platform, texts, &err), 0);
	assert_int_equal(platform.count, 1);
	platform_clear(&platform);
}

static void
missing_counts_and_names_what_lacks(void **state)
{
	const struct platform_property *first = NULL;
	struct platform required, offered;
	struct error err;

	(void)state;
	assert_int_equal(make(&required, LIST("a=1", "b=2", "c=3"), &err), 0);
	assert_int_equal(make(&offered, LIST("a=1", "b=9"), &err), 0);
	assert_int_equal(platform_missing(&required, &offered, &first), 2);
	assert_true(str_equal(first->name, STR("b")));
	assert_true(str_equal(platform_value(&offered, STR("b")), STR("9")));
	assert_null(platform_value(&offered, STR("c")).data);
	platform_clear(&required);
	platform_clear(&offered);
}

/* --- heap ------------------------------------------------------------------
 */

#define NODES 500

static void
the_heap_gives_its_nodes_in_order_whatever_was_moved(void **state)
{
	static struct heap_node nodes[NODES];
	struct heap_node before = {.key = INT64_MIN};
	struct heap heap;
	size_t left = 0;

	(void)state;
	srandom(7);
	heap_init(&heap);
	for (size_t i = 0; i < NODES; i++)
		nodes[i] = (struct heap_node){random() % 100, i, HEAP_OUTSIDE};
	for (size_t i = 0; i < NODES; i++)
		heap_put(&heap, &nodes[i]);
	for (size_t i = 0; i < NODES; i += 3) {
		nodes[i].key = random() % 100;
		heap_put(&heap, &nodes[i]);
	}
	for (size_t i = 0; i < NODES; i += 5)
		heap_remove(&heap, &nodes[i]);
	heap_remove(&heap, &nodes[0]); /* twice is once */
	while (heap.count > 0) {
		struct heap_node *top = heap_top(&heap);

		assert_true(heap_node_before(&before, top));
		before = *top;
		heap_remove(&heap, top);
		assert_int_equal(top->position, HEAP_OUTSIDE);
		left++;
	}
	assert_int_equal(left, NODES - NODES / 5);
	assert_null(heap_top(&heap));
	heap_clear(&heap);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_required_property_must_be_offered),
	    cmocka_unit_test(one_name_may_have_several_values),
	    cmocka_unit_test(a_star_offers_any_value),
	    cmocka_unit_test(setup_properties_restrict_no_worker),
	    cmocka_unit_test(the_key_ignores_order_doubles_and_setup),
	    cmocka_unit_test(properties_out_of_bounds_are_refused),
	    cmocka_unit_test(missing_counts_and_names_what_lacks),
	    cmocka_unit_test(
		the_heap_gives_its_nodes_in_order_whatever_was_moved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
