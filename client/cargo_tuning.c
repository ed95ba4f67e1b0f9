/* SPDX-License-Identifier: Apache-2.0 */
/* Two variables. */
#include "client/cargo_tuning.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/processors.h"
#include "client/cargo_command_line.h"
#include "client/cargo_config.h"
#include "client/cargo_strings.h"

/* Calls that wait for the server while others use the processors. Measured on
 * two: four are as good as more. */
#define JOBS_THAT_WAIT 4
#define TUNABLES "GLIBC_TUNABLES"
#define HUGE_PAGES "glibc.malloc.hugetlb"

/* In the environment, on the command line or in cargo's files. */
static bool
have_jobs(char *const *words, char *const *environment)
{
	char *directory, *told;
	bool have =
	    cargo_command_line_has_jobs(words) ||
	    cargo_strings_value(environment, "CARGO_BUILD_JOBS") != NULL ||
	    cargo_strings_value(environment, "CARGO_MAKEFLAGS") != NULL ||
	    cargo_strings_value(environment, "MAKEFLAGS") != NULL;

	if (have)
		return true;
	directory = getcwd(NULL, 0);
	told = directory != NULL ? cargo_config_find(CARGO_CONFIG_JOBS,
				       directory, environment)
				 : NULL;
	have = directory == NULL || told != NULL;
	free(directory);
	free(told);
	return have;
}

static unsigned
add_jobs(
    char *const *words, char *const *environment, struct cargo_strings *added)
{
	unsigned processors = processors_available();

	/* All of rustdoc runs here, and nobody but cargo counts it. */
	if (cargo_command_line_documents(words) ||
	    have_jobs(words, environment))
		return 0;
	cargo_strings_take(added,
	    xasprintf("CARGO_BUILD_JOBS=%u", processors + JOBS_THAT_WAIT));
	return processors;
}

unsigned
cargo_tuning_add(
    char *const *words, char *const *environment, struct cargo_strings *added)
{
	/* Programs that are the user's get nothing that he did not set. */
	if (cargo_command_line_compiles(words) &&
	    cargo_strings_value(environment, TUNABLES) == NULL)
		cargo_strings_add(added, TUNABLES "=" HUGE_PAGES "=1");
	return add_jobs(words, environment, added);
}
