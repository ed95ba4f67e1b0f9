/* SPDX-License-Identifier: Apache-2.0 */
/* A build's patience with a server that has no room. */
#include "client/cargo_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "client/client_options.h"
#include "client/retry.h"

static void
only_a_full_server_is_waited_for_and_not_long(void **state)
{
	char cache[] = "/tmp/toolroot-session-XXXXXX";
	char function[] = "sha256", ledger[sizeof(cache) + 8];
	const struct client_options client = {.digest_function = function};
	struct cargo_session_options options = {
	    .client = &client, .cache = mkdtemp(cache)};
	struct cargo_session *session;
	struct retry retry;
	struct error err;

	(void)state;
	assert_non_null(options.cache);
	session = cargo_session_open(&options, &err);
	assert_non_null(session);
	retry_init(&retry, 2, NULL);
	error_set_retry(&err, ERROR_UNAVAILABLE, 1, "gone");
	assert_false(cargo_session_retry(session, &retry, &err));
	error_set_retry(&err, ERROR_RESOURCE_EXHAUSTED, 30000, "full");
	assert_false(cargo_session_retry(session, &retry, &err));
	error_set_retry(&err, ERROR_RESOURCE_EXHAUSTED, 1, "full");
	assert_true(cargo_session_retry(session, &retry, &err));
	assert_true(cargo_session_retry(session, &retry, &err));
	assert_false(cargo_session_retry(session, &retry, &err));
	cargo_session_close(session);
	(void)snprintf(ledger, sizeof(ledger), "%s/ledger", cache);
	unlink(ledger);
	assert_int_equal(rmdir(cache), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(only_a_full_server_is_waited_for_and_not_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
