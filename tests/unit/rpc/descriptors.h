/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All descriptors of the process taken: the limit is lowered, and the rest are
 * copies of standard input.
 */
#ifndef TOOLROOT_TESTS_UNIT_RPC_DESCRIPTORS_H
#define TOOLROOT_TESTS_UNIT_RPC_DESCRIPTORS_H

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/unit/rpc/fixture.h"

#define DESCRIPTORS_FEW 256

struct descriptors {
	struct rlimit before;
	int copies[DESCRIPTORS_FEW];
	int count;
};

static inline void
descriptors_take_all(struct descriptors *all)
{
	struct rlimit few;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &all->before), 0);
	few = all->before;
	few.rlim_cur = DESCRIPTORS_FEW;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	all->count = 0;
	while ((all->copies[all->count] = fcntl(0, F_DUPFD_CLOEXEC, 0)) != -1)
		all->count++;
	assert_int_equal(errno, EMFILE);
}

static inline void
descriptors_give_back(struct descriptors *all)
{
	while (all->count > 0)
		close(all->copies[--all->count]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &all->before), 0);
}

#endif
