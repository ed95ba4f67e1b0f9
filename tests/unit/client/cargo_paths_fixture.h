/* SPDX-License-Identifier: Apache-2.0 */
/* True and fixed paths of a workspace, as setup and teardown of a test. */
#ifndef TOOLROOT_TESTS_CARGO_PATHS_FIXTURE_H
#define TOOLROOT_TESTS_CARGO_PATHS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "client/cargo_paths.h"

static int
make_paths(void **state)
{
	struct cargo_paths *paths = calloc(1, sizeof(*paths));

	assert_non_null(paths);
	cargo_paths_add(paths, "/home/u/ws", "/b/w");
	cargo_paths_add(paths, "/home/u/ws/target", "/b/t");
	cargo_paths_add(paths, "/rust", "/tc");
	*state = paths;
	return 0;
}

static int
drop_paths(void **state)
{
	cargo_paths_clear(*state);
	free(*state);
	return 0;
}

#endif
