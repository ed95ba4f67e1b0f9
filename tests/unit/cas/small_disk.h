/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A test on a small disk of its own: a child process in its own mount
 * namespace. Asserts of cmocka do not work there, so it ends with a number that
 * tells what went wrong.
 */
#ifndef TOOLROOT_TESTS_UNIT_CAS_SMALL_DISK_H
#define TOOLROOT_TESTS_UNIT_CAS_SMALL_DISK_H

#include "store_fixture.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

/* What the child ends with when it may not mount. */
#define SMALL_DISK_SKIPPED 77

static inline int
small_disk_child(struct fixture *fixture, const char *size,
    int (*run)(struct fixture *fixture))
{
	if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", fixture->path, "tmpfs", 0, size) != 0)
		return SMALL_DISK_SKIPPED;
	return run(fixture);
}

/* Runs it with the store closed and its directory on the disk: 0 is well.
 * size: "size=6m". Skips the test where one may not mount. */
static inline void
small_disk_run(struct fixture *fixture, const char *size,
    int (*run)(struct fixture *fixture))
{
	int status;
	pid_t child;

	store_close(fixture->store);
	fixture->store = NULL;
	child = fork();
	if (child == 0)
		_exit(small_disk_child(fixture, size, run));
	waitpid(child, &status, 0);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == SMALL_DISK_SKIPPED)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

#endif
