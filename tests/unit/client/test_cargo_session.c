/* SPDX-License-Identifier: Apache-2.0 */
/* A build's patience with a server that has no room. */
#include "client/cargo_session.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "client/client_options.h"
#include "client/retry.h"

struct build {
	char cache[64];
	char function[8];
	struct client_options client;
	struct cargo_session *session;
};

static void
open_build(struct build *build, unsigned local_jobs)
{
	struct cargo_session_options options = {
	    .client = &build->client, .local_jobs = local_jobs};
	struct error err;

	*build = (struct build){
	    .cache = "/tmp/toolroot-session-XXXXXX", .function = "sha256"};
	build->client.digest_function = build->function;
	options.cache = mkdtemp(build->cache);
	assert_non_null(options.cache);
	build->session = cargo_session_open(&options, &err);
	assert_non_null(build->session);
}

static void
close_build(struct build *build)
{
	struct error err;

	cargo_session_close(build->session);
	assert_int_equal(file_remove_tree(build->cache, &err), 0);
}

static void
only_a_full_server_is_waited_for_and_not_long(void **state)
{
	struct cargo_session *session;
	struct build build;
	struct retry retry;
	struct error err;

	(void)state;
	open_build(&build, 0);
	session = build.session;
	retry_init(&retry, 2, NULL);
	error_set_retry(&err, ERROR_UNAVAILABLE, 1, "gone");
	assert_false(cargo_session_retry(session, &retry, &err));
	error_set_retry(&err, ERROR_RESOURCE_EXHAUSTED, 30000, "full");
	assert_false(cargo_session_retry(session, &retry, &err));
	error_set_retry(&err, ERROR_RESOURCE_EXHAUSTED, 1, "full");
	assert_true(cargo_session_retry(session, &retry, &err));
	assert_true(cargo_session_retry(session, &retry, &err));
	assert_false(cargo_session_retry(session, &retry, &err));
	close_build(&build);
}

struct waiting {
	struct cargo_session *session;
	atomic_bool began;
};

static void *
begin_another(void *cookie)
{
	struct waiting *waiting = cookie;

	cargo_session_begin_local(waiting->session);
	atomic_store(&waiting->began, true);
	return NULL;
}

/* Whether a second compiler begins beside the first one before that has ended,
 * or the session, which ends by this. */
static bool
begins_beside(unsigned jobs, void (*end)(struct cargo_session *session))
{
	const struct timespec moment = {.tv_nsec = 50000000};
	struct waiting waiting;
	pthread_t thread;
	struct build build;
	bool began;

	open_build(&build, jobs);
	waiting.session = build.session;
	atomic_init(&waiting.began, false);
	cargo_session_begin_local(build.session);
	assert_int_equal(
	    pthread_create(&thread, NULL, begin_another, &waiting), 0);
	nanosleep(&moment, NULL);
	began = atomic_load(&waiting.began);
	end(build.session);
	pthread_join(thread, NULL);
	close_build(&build);
	return began;
}

static void
compilers_here_wait_for_each_other(void **state)
{
	(void)state;
	assert_false(begins_beside(1, cargo_session_end_local));
	assert_false(begins_beside(1, cargo_session_stop));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(only_a_full_server_is_waited_for_and_not_long),
	    cmocka_unit_test(compilers_here_wait_for_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
