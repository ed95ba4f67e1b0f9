/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program: picks the command and hands it its arguments. Exit status: 0
 * done, 1 failed, 2 called wrongly.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/nearest_word.h"
#include "client/cargo_front.h"
#include "client/cargo_shim.h"
#include "client/explain_command.h"
#include "client/gc_command.h"
#include "client/logs_command.h"
#include "client/store_command.h"
#include "client/toolchain_command.h"
#include "frontend/serve.h"
#include "worker/command.h"
#include "worker/doctor_command.h"

static bool
version_wanted(const char *word)
{
	return word != NULL &&
	       (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0);
}

static int
version(void)
{
	puts("toolroot " TOOLROOT_VERSION);
	return 0;
}

/* As `cargo toolroot` calls it: "cargo-toolroot toolroot ...". */
static int
cargo_command(char **argv)
{
	bool by_cargo = argv[1] != NULL && strcmp(argv[1], "toolroot") == 0;

	argv += by_cargo ? 1 : 0;
	return version_wanted(argv[1]) ? version() : cargo_front_main(argv);
}

struct command {
	const char *name;
	int (*run)(char **argv);
	const char *about;
};

static const struct command commands[] = {
    {"serve", serve_command,
	"store, action cache, scheduler and local workers in one process"},
    {"worker", worker_command, "run actions for a server elsewhere"},
    {"cargo", cargo_command,
	"run cargo with its compiler calls as actions of a server"},
    {"toolchain", toolchain_command,
	"capture toolchains into the store, list and compare them"},
    {"gc", gc_command, "drop what was not used for longest"},
    {"store", store_command, "figures of a store, checks, pins"},
    {"explain", explain_command, "why actions were not in the cache"},
    {"logs", logs_command, "what runs, and what it writes while it runs"},
    {"doctor", doctor_command,
	"checks this machine, the server and cargo; says what to mend"},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void
usage(FILE *out)
{
	fputs("Toolroot " TOOLROOT_VERSION
	      ": remote execution and caching for builds (Remote Execution "
	      "API v2)\n\nusage: toolroot COMMAND [options]\n\n",
	    out);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(
		    out, "  %-9s %s\n", commands[i].name, commands[i].about);
	fputs("\n`toolroot COMMAND --help` tells more; so does man toolroot.\n",
	    out);
}

static void
unknown_command(const char *name)
{
	struct nearest_word search = {.word = str_from(name)};

	for (size_t i = 0; i < COMMANDS; i++)
		nearest_word_offer(&search, commands[i].name);
	fprintf(stderr, "toolroot: there is no command \"%s\"%s%s%s\n\n", name,
	    search.nearest != NULL ? "; did you mean \"" : "",
	    search.nearest != NULL ? search.nearest : "",
	    search.nearest != NULL ? "\"?" : "");
}

int
main(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *program = slash != NULL ? slash + 1 : argv[0];
	const char *name = argc > 1 ? argv[1] : "";

	if (argc > 0 && strcmp(program, "cargo-toolroot") == 0)
		return cargo_command(argv);

	/* The shim calls it, nobody else does. */
	if (strcmp(name, CARGO_SHIM_ALONE) == 0 && argc > 2)
		return cargo_front_alone(argv + 1);
	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].run(argv + 1);
	}
	if (version_wanted(name))
		return version();
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 ||
	    strcmp(name, "help") == 0) {
		usage(stdout);
		return 0;
	}
	if (argc > 1)
		unknown_command(name);
	usage(stderr);
	return 2;
}
