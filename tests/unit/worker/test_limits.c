/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of actions: the numbers that settings and properties have, where the
 * kernel's groups are, and what is read from and written to their files. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "worker/cgroup.h"
#include "worker/cgroup_host.h"
#include "worker/cgroup_tree.h"

/* --- numbers -------------------------------------------------------------- */

static void
cpus_are_decimal_numbers(void **state)
{
	struct error err;
	uint64_t milli = 0;

	(void)state;
	assert_int_equal(action_limits_parse_cpus(STR("2"), &milli, &err), 0);
	assert_int_equal(milli, 2000);
	assert_int_equal(action_limits_parse_cpus(STR("0.5"), &milli, &err), 0);
	assert_int_equal(milli, 500);
	assert_int_equal(
	    action_limits_parse_cpus(STR("1.025"), &milli, &err), 0);
	assert_int_equal(milli, 1025);
}

static void
other_texts_are_no_cpus(void **state)
{
	static const char *const texts[] = {"", ".", "2.", ".5", "-1", "1e3",
	    "1.0000", "1.2.3", "99999999999999999999", "two"};
	struct error err;
	uint64_t milli;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		assert_int_equal(
		    action_limits_parse_cpus(str_from(texts[i]), &milli, &err),
		    -1);
}

static int
lower(struct action_limits *limits, const char *name, const char *value,
    struct error *err)
{
	Reapi__Platform platform = REAPI__PLATFORM__INIT;
	Reapi__Platform__Property property = REAPI__PLATFORM__PROPERTY__INIT;
	Reapi__Platform__Property *list[] = {&property};

	property.name.data = (uint8_t *)(uintptr_t)name;
	property.name.len = strlen(name);
	property.value.data = (uint8_t *)(uintptr_t)value;
	property.value.len = strlen(value);
	platform.properties = list;
	platform.n_properties = 1;
	return action_limits_lower(limits, &platform, err);
}

static void
a_platform_may_ask_for_less_and_not_for_more(void **state)
{
	struct action_limits limits = {
	    .memory = 1 << 30, .pids = 100, .cpu_milli = 0};
	struct error err;

	(void)state;
	assert_int_equal(action_limits_lower(&limits, NULL, &err), 0);
	assert_int_equal(lower(&limits, "max-mem", "512M", &err), 0);
	assert_int_equal(limits.memory, 512 << 20);
	assert_int_equal(lower(&limits, "max-mem", "8G", &err), 0);
	assert_int_equal(limits.memory, 512 << 20);
	assert_int_equal(lower(&limits, "max-pids", "20", &err), 0);
	assert_int_equal(limits.pids, 20);
	assert_int_equal(lower(&limits, "max-cores", "1.5", &err), 0);
	assert_int_equal(limits.cpu_milli, 1500);
	assert_int_equal(lower(&limits, "max-bananas", "x", &err), 0);
}

static void
a_senseless_limit_is_refused_by_name(void **state)
{
	static const char *const bad[][2] = {{"max-mem", "1K"},
	    {"max-mem", "much"}, {"max-pids", "1"}, {"max-pids", "-1"},
	    {"max-cores", "0.001"}, {"max-cores", "all"}};
	struct error err;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct action_limits limits = {0};

		assert_int_equal(
		    lower(&limits, bad[i][0], bad[i][1], &err), -1);
		assert_int_equal(err.code, ERROR_INVALID_ARGUMENT);
		assert_non_null(strstr(err.text, bad[i][0]));
	}
}

/* --- where groups are ----------------------------------------------------- */

#define MOUNT(root, place, type, options) \
	"36 35 0:30 " root " " place " rw,relatime shared:7 - " type \
	" x " options "\n"

static void
check_host(const char *groups, const char *mounts, const char *memory,
    const char *cpu, const char *v2)
{
	struct cgroup_host *host = xcalloc(1, sizeof(*host));

	cgroup_host_parse(host, str_from(groups), str_from(mounts));
	assert_string_equal(host->v1[CGROUP_MEMORY], memory);
	assert_string_equal(host->v1[CGROUP_CPU], cpu);
	assert_string_equal(host->v2, v2);
	free(host);
}

static void
version_2_has_one_group(void **state)
{
	(void)state;
	check_host("0::/system.slice/x.service\n",
	    MOUNT("/", "/", "ext4", "rw")
		MOUNT("/", "/sys/fs/cgroup", "cgroup2", "rw,nsdelegate"),
	    "", "", "/sys/fs/cgroup/system.slice/x.service");
}

static void
version_1_has_a_group_for_each_controller(void **state)
{
	(void)state;
	check_host("4:memory:/a/b\n2:cpu,cpuacct:/\n0::/\n",
	    MOUNT("/", "/cg/cpu", "cgroup", "rw,cpu,cpuacct")
		MOUNT("/", "/cg/memory", "cgroup", "rw,memory"),
	    "/cg/memory/a/b", "/cg/cpu", "");
}

static void
a_container_sees_its_part_at_the_mount(void **state)
{
	(void)state;
	check_host("4:memory:/docker/abc/in\n2:cpu:/docker/abcd\n0::/../x\n",
	    MOUNT("/docker/abc", "/cg/memory", "cgroup", "rw,memory")
		MOUNT("/docker/abc", "/cg/cpu", "cgroup", "rw,cpu")
		    MOUNT("/", "/cg/u", "cgroup2", "rw"),
	    "/cg/memory/in", "", "");
}

static void
garbled_lines_are_no_groups(void **state)
{
	(void)state;
	check_host("", "", "", "", "");
	check_host("4:memory\n::\n0:", "36 35\n\n - - - cgroup2", "", "", "");
}

/* --- files ---------------------------------------------------------------- */

static const char *const files[] = {"memory.max", "memory.swap.max",
    "memory.peak", "memory.current", "memory.events", "pids.max", "pids.events",
    "cpu.max", "io.stat"};

struct tree {
	char path[64];
	struct cgroup group;
};

static void
put(const struct tree *tree, const char *name, const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", tree->path, name);
	file = fopen(path, "we");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void
check_file(const struct tree *tree, const char *name, const char *wanted)
{
	struct buffer content;
	struct error err;
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", tree->path, name);
	buffer_init(&content, 4096);
	assert_int_equal(file_read_all(path, &content, &err), 0);
	assert_true(str_equal(buffer_str(&content), str_from(wanted)));
	buffer_clear(&content);
}

/* Plain files stand for those of a group of version 2. */
static int
setup(void **state)
{
	struct tree *tree = xcalloc(1, sizeof(*tree));

	snprintf(tree->path, sizeof(tree->path), "/tmp/toolroot-cg.XXXXXX");
	assert_non_null(mkdtemp(tree->path));
	cgroup_init(&tree->group);
	tree->group.kind = CGROUP_V2;
	for (size_t i = 0; i < CGROUP_CONTROLLERS; i++)
		tree->group.directories[i] =
		    open(tree->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		put(tree, files[i], "");
	*state = tree;
	return 0;
}

static int
teardown(void **state)
{
	struct tree *tree = *state;
	struct error err;

	cgroup_clear(&tree->group);
	(void)file_remove_tree(tree->path, &err);
	free(tree);
	return 0;
}

static void
limits_are_written(void **state)
{
	const struct action_limits limits = {
	    .memory = 64 << 20, .pids = 50, .cpu_milli = 1500};
	struct tree *tree = *state;
	struct error err;

	assert_int_equal(cgroup_set_limits(&tree->group, &limits, &err), 0);
	check_file(tree, "memory.max", "67108864");
	check_file(tree, "memory.swap.max", "0");
	check_file(tree, "pids.max", "51");
	check_file(tree, "cpu.max", "150000 100000");
}

static void
no_limit_is_written_as_max(void **state)
{
	const struct action_limits limits = {0};
	struct tree *tree = *state;
	struct error err;

	assert_int_equal(cgroup_set_limits(&tree->group, &limits, &err), 0);
	check_file(tree, "memory.max", "max");
	check_file(tree, "pids.max", "max");
	check_file(tree, "cpu.max", "max");
}

static void
a_missing_file_is_an_error_that_names_it(void **state)
{
	const struct action_limits limits = {.pids = 10};
	struct tree *tree = *state;
	struct error err;
	char path[128];

	snprintf(path, sizeof(path), "%s/pids.max", tree->path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(cgroup_set_limits(&tree->group, &limits, &err), -1);
	assert_non_null(strstr(err.text, "pids.max"));
}

static void
usage_is_what_came_since_the_start(void **state)
{
	struct tree *tree = *state;
	struct cgroup_usage start;
	struct cgroup_usage usage;
	const struct action_limits limits = {.memory = 1 << 30};

	put(tree, "memory.current", "1000\n");
	put(tree, "memory.events", "low 0\nhigh 0\noom 2\noom_kill 2\n");
	put(tree, "io.stat", "8:0 rbytes=100 wbytes=10 rios=1 wios=1\n");
	cgroup_start(&tree->group, &start);
	put(tree, "memory.peak", "5000\n");
	put(tree, "pids.events", "max 7\n");
	put(tree, "io.stat",
	    "8:0 rbytes=300 wbytes=10 rios=1\n8:16 rbytes=1 wbytes=2\n");
	cgroup_measure(&tree->group, &limits, &start, &usage);
	assert_int_equal(usage.memory_peak, 4000);
	assert_int_equal(usage.oom_kills, 0);
	assert_int_equal(usage.pids_refused, 7);
	assert_int_equal(usage.read_bytes, 201);
	assert_int_equal(usage.written_bytes, 2);
	put(tree, "memory.events", "oom 3\noom_kill 3\n");
	cgroup_measure(&tree->group, &limits, &start, &usage);
	assert_int_equal(usage.oom_kills, 1);
	assert_int_equal(usage.memory_refused, 1);
	assert_int_equal(usage.memory_peak, 5000);
}

static void
a_kill_below_the_limit_is_told_apart(void **state)
{
	struct tree *tree = *state;
	struct cgroup_usage start;
	struct cgroup_usage usage;
	const struct action_limits limits = {.memory = 32 << 20};

	put(tree, "memory.events", "oom 2\noom_kill 2\n");
	cgroup_start(&tree->group, &start);
	put(tree, "memory.events", "oom 2\noom_kill 3\n");
	cgroup_measure(&tree->group, &limits, &start, &usage);
	assert_int_equal(usage.oom_kills, 1);
	assert_int_equal(usage.memory_refused, 0);
	/* By a kernel that does not count. */
	put(tree, "memory.peak", "33554432\n");
	cgroup_measure(&tree->group, &limits, &start, &usage);
	assert_int_equal(usage.memory_refused, 1);
}

static void
a_group_put_back_twice_is_one_group(void **state)
{
	struct cgroup_tree *groups = cgroup_tree_open();
	struct cgroup first;
	struct cgroup second;
	struct error err;

	(void)state;
	if (cgroup_tree_kind(groups) == CGROUP_NONE) {
		print_message("no groups here: %s\n", cgroup_tree_why(groups));
		cgroup_tree_close(groups);
		skip();
	}
	assert_int_equal(cgroup_tree_get(groups, &first, &err), 0);
	cgroup_tree_put(groups, &first);
	cgroup_tree_put(groups, &first);
	assert_int_equal(cgroup_tree_get(groups, &first, &err), 0);
	assert_int_equal(cgroup_tree_get(groups, &second, &err), 0);
	assert_int_not_equal(first.number, second.number);
	cgroup_tree_put(groups, &first);
	cgroup_tree_put(groups, &second);
	cgroup_tree_close(groups);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(cpus_are_decimal_numbers),
	    cmocka_unit_test(other_texts_are_no_cpus),
	    cmocka_unit_test(a_platform_may_ask_for_less_and_not_for_more),
	    cmocka_unit_test(a_senseless_limit_is_refused_by_name),
	    cmocka_unit_test(version_2_has_one_group),
	    cmocka_unit_test(version_1_has_a_group_for_each_controller),
	    cmocka_unit_test(a_container_sees_its_part_at_the_mount),
	    cmocka_unit_test(garbled_lines_are_no_groups),
	    cmocka_unit_test_setup_teardown(
		limits_are_written, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		no_limit_is_written_as_max, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		a_missing_file_is_an_error_that_names_it, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		usage_is_what_came_since_the_start, setup, teardown),
	    cmocka_unit_test_setup_teardown(
		a_kill_below_the_limit_is_told_apart, setup, teardown),
	    cmocka_unit_test(a_group_put_back_twice_is_one_group),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
