/* SPDX-License-Identifier: Apache-2.0 */
/* Settings; then the host, the server, cargo. */
#include "worker/doctor_command.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "base/settings.h"
#include "base/standard_output.h"
#include "client/client_options.h"
#include "client/doctor_cargo.h"
#include "client/doctor_report.h"
#include "client/doctor_server.h"
#include "rpc/runtime.h"
#include "worker/doctor_host.h"

#define EXIT_USAGE 2

struct doctor_options {
	struct client_options client;
	bool no_host;
	bool no_cargo;
	bool json;
};

#define FIELD(name) offsetof(struct doctor_options, name)

static const struct setting table[] = {
    {"no-host", SETTING_FLAG, FIELD(no_host), "", "no",
	"Leave this machine out: for one that runs no actions."},
    {"no-cargo", SETTING_FLAG, FIELD(no_cargo), "", "no",
	"Leave cargo out, also where there is a project."},
    {"json", SETTING_FLAG, FIELD(json), "", "no", "Print JSON."},
    CLIENT_OPTIONS_TABLE(struct doctor_options),
};

static const struct settings doctor_settings = {
    .command = "doctor",
    .section = "client",
    .synopsis = "[options]",
    .about = "Checks what Toolroot needs: this machine (sandbox, limits, room, "
	     "clock), the server\n(one blob is written, found and read, one "
	     "action executed) and, in a directory with\na cargo project, a "
	     "build through all of it. Says what to do about what fails.\n"
	     "Exit status: 0 all is well, 1 a check failed, 2 called wrongly.",
    .table = table,
    .count = sizeof(table) / sizeof(table[0]),
    .epilogue = "Examples:\n"
		"  toolroot doctor\n"
		"  toolroot doctor --server grpc://cache:8980 --no-host\n"
		"  toolroot doctor --json | jq '.checks[] | "
		"select(.result == \"failed\")'",
};

static int
run(const struct doctor_options *options)
{
	struct doctor_report *report = doctor_report_new(options->json);
	bool executes, good;

	/* What parts would log, the report says. */
	log_set_level(LOG_ERROR);
	if (!options->no_host)
		doctor_host(report);
	rpc_init();
	executes = doctor_server(report, &options->client);
	if (!options->no_cargo)
		doctor_cargo(report, &options->client, executes);
	rpc_shutdown();
	good = doctor_report_finish(report);
	doctor_report_free(report);
	if (standard_output_finish("doctor") < 0)
		return EXIT_FAILURE;
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

int
doctor_command(char **argv)
{
	struct doctor_options options = {.json = false};
	struct setting_arguments arguments;
	struct error err;
	int status = EXIT_USAGE;
	int rc =
	    settings_read(&doctor_settings, argv, &options, &arguments, &err);

	if (rc > 0) {
		settings_help(&doctor_settings);
		status = EXIT_SUCCESS;
	} else if (rc < 0) {
		fprintf(stderr, "toolroot doctor: %s\n", err.text);
	} else if (arguments.count > 0) {
		fprintf(stderr,
		    "toolroot doctor: unexpected argument \"%s\"; see toolroot "
		    "doctor --help\n",
		    arguments.items[0]);
	} else {
		status = run(&options);
	}
	free(arguments.items);
	settings_clear(&doctor_settings, &options);
	return status;
}
