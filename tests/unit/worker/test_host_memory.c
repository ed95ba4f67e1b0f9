/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that runs out in an action, and around it: this program and all that
 * it starts are in a control group with less than the action's own limit. */
#include "run_fixture.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "worker/cgroup_host.h"

/* For us and the action; its own limit is far above. */
#define AROUND "300000000"
#define OWN_LIMIT ((uint64_t)4 << 30)

static char group[PATH_MAX];
static bool around; /* we are in it */

static bool
write_file(const char *directory, const char *name, const char *text)
{
	char path[PATH_MAX + 64];
	struct error err;
	int fd;
	int rc;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	rc = fd == -1 ? -1 : file_write(fd, text, strlen(text), &err);
	file_close(&fd);
	return rc == 0;
}

/* Version 1: on version 2 groups with processes, as ours, have none below. */
static bool
enter_group(void)
{
	struct cgroup_host *host = xcalloc(1, sizeof(*host));
	struct buffer groups;
	struct buffer mounts;
	struct error err;
	bool entered = false;

	buffer_init(&groups, 1 << 20);
	buffer_init(&mounts, 1 << 20);
	if (file_read_all("/proc/self/cgroup", &groups, &err) == 0 &&
	    file_read_all("/proc/self/mountinfo", &mounts, &err) == 0)
		cgroup_host_parse(
		    host, buffer_str(&groups), buffer_str(&mounts));
	if (host->v1[CGROUP_MEMORY][0] != '\0') {
		snprintf(group, sizeof(group), "%.*s/test-host-memory-%d",
		    PATH_MAX - 64, host->v1[CGROUP_MEMORY], getpid());
		entered = mkdir(group, 0755) == 0 &&
			  write_file(group, "memory.limit_in_bytes", AROUND) &&
			  write_file(group, "cgroup.procs", "0");
	}
	buffer_clear(&groups);
	buffer_clear(&mounts);
	free(host);
	return entered;
}

static void
leave_group(void)
{
	char parent[PATH_MAX];

	snprintf(parent, sizeof(parent), "%s", group);
	*strrchr(parent, '/') = '\0';
	if (!write_file(parent, "cgroup.procs", "0") || rmdir(group) == -1)
		perror(group);
}

static void
a_kill_for_the_machines_memory_is_not_the_actions_limit(void **state)
{
	struct fixture *fixture = *state;

	if (!around) {
		print_message("no memory group of version 1 here\n");
		skip();
	}
	fixture_script(fixture, "dd if=/dev/zero of=/dev/null bs=1G count=1");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, 0);
	assert_int_equal(fixture->result->exit_code, 137);
	assert_null(strstr(fixture->run.message, "its memory limit"));
	assert_non_null(strstr(fixture->run.message, "the worker's machine"));
	assert_non_null(strstr(fixture->run.message, "--slots"));
}

static void
a_kill_at_the_actions_own_limit_is_told_as_that(void **state)
{
	struct fixture *fixture = *state;

	fixture_property(fixture, "max-mem", "32M");
	fixture_script(fixture, "dd if=/dev/zero of=/dev/null bs=1G count=1");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, 0);
	if (spawner_limits_kind(fixture_spawner) == CGROUP_NONE)
		skip();
	assert_int_equal(fixture->result->exit_code, 137);
	assert_non_null(
	    strstr(fixture->run.message, "its memory limit of 32M"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		a_kill_at_the_actions_own_limit_is_told_as_that, fixture_setup,
		fixture_teardown),
	    cmocka_unit_test_setup_teardown(
		a_kill_for_the_machines_memory_is_not_the_actions_limit,
		fixture_setup, fixture_teardown),
	};
	int failed = 1;

	around = enter_group();
	fixture_limits.memory = OWN_LIMIT;
	if (fixture_start_spawner(NULL))
		failed = cmocka_run_group_tests(tests, NULL, NULL);
	fixture_stop_spawner();
	if (around)
		leave_group();
	return failed;
}
