/* SPDX-License-Identifier: Apache-2.0 */
/* What can be had elsewhere is; the rest is run here, as like it as can be. */
#include "client/cargo_unit.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "client/cargo_attempt.h"
#include "client/cargo_crate.h"
#include "client/cargo_message.h"
#include "client/cargo_probe.h"
#include "client/cargo_session.h"
#include "client/cargo_summary.h"
#include "client/cargo_toolchain.h"

/* As it is, with the variables that it reads, at its true place, which is that
 * of what was fetched or of all, and with variables once more. */
#define ATTEMPTS 5

/* Answered, or -1 and why it stays here. */
static int
have_compiled(struct cargo_crate *crate, struct cargo_message_answer *answer,
    struct cargo_summary_row *row, struct error *err)
{
	const struct cargo_attempt attempt = {
	    .crate = crate,
	    .server = cargo_session_server(crate->session, err),
	    .answer = answer,
	    .row = row,
	};
	int rc = 0;

	if (attempt.server == NULL)
		return -1;
	for (int i = 0; i < ATTEMPTS && rc == 0; i++)
		rc = cargo_attempt_run(&attempt, err);
	if (rc == 0)
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "what it reads changes with each attempt");
	return rc > 0 ? 0 : -1;
}

static int
compile(struct cargo_crate *crate, struct cargo_message_answer *answer,
    struct cargo_summary_row *row, struct error *err)
{
	const struct cargo_arguments *arguments = &crate->arguments;
	int rc;

	if (cargo_crate_locate(crate, err) < 0)
		return -1;
	if (arguments->call == CARGO_CALL_LOCAL)
		error_set(
		    err, ERROR_FAILED_PRECONDITION, "%s", arguments->reason);
	if (!arguments->dep_info || cargo_crate_discover(crate, err) < 0)
		return -1;
	rc = arguments->call == CARGO_CALL_LOCAL
		 ? -1
		 : have_compiled(crate, answer, row, err);
	if (rc < 0) {
		/* What was begun elsewhere is ended as it was begun. */
		if (!crate->given)
			cargo_crate_find_place(crate);
		cargo_crate_place(crate, answer);
	}
	return rc;
}

static void
answer_compile(struct cargo_crate *crate, struct cargo_message_answer *answer)
{
	struct cargo_summary_row row = {
	    .crate = crate->arguments.crate_name,
	    .package = cargo_crate_variable(crate, "CARGO_PKG_NAME"),
	    .type = crate->arguments.crate_type,
	    .start_ms = clock_monotonic_ms(),
	};
	struct error err;

	if (compile(crate, answer, &row, &err) < 0) {
		row.outcome = CARGO_OUTCOME_LOCAL;
		row.cause = err.text;
	}
	row.wall_ms = clock_monotonic_ms() - row.start_ms;
	cargo_summary_add(cargo_session_summary(crate->session), &row);
}

static void
answer_version(
    const struct cargo_crate *crate, struct cargo_message_answer *answer)
{
	struct error ignored; /* noted in the summary */
	/* Also for clippy, so that both use the same crates. */
	const struct cargo_session_programs programs = {.rustc = crate->rustc};
	const struct cargo_toolchain *toolchain =
	    cargo_session_toolchain(crate->session, &programs, &ignored);

	if (crate->wrapper == NULL && toolchain != NULL &&
	    buffer_append(&answer->output, toolchain->version,
		strlen(toolchain->version)) == 0)
		answer->kind = CARGO_MESSAGE_DONE;
}

bool
cargo_unit_answer(struct cargo_session *session,
    const struct cargo_message_call *call, struct cargo_message_answer *answer)
{
	struct cargo_crate crate;
	bool compiles = false;

	answer->kind = CARGO_MESSAGE_LOCAL;
	if (call->environment.items == NULL)
		return false;
	cargo_crate_init(&crate, session, call);
	if (crate.arguments.call == CARGO_CALL_VERSION) {
		answer_version(&crate, answer);
	} else if (cargo_probe_is(&crate)) {
		cargo_probe_answer(&crate, answer);
	} else if (crate.arguments.of_cargo) {
		answer_compile(&crate, answer);
		compiles = true;
	}
	cargo_crate_clear(&crate);
	return compiles && answer->kind != CARGO_MESSAGE_DONE;
}
