/* SPDX-License-Identifier: Apache-2.0 */
/* What a command line of cargo's says, before cargo reads it. Pure; words end
 * in NULL, and what is behind "--" is not cargo's. */
#ifndef TOOLROOT_CLIENT_CARGO_COMMAND_LINE_H
#define TOOLROOT_CLIENT_CARGO_COMMAND_LINE_H

#include <stdbool.h>

/* A command that we know to run no program of the user's but build scripts. */
bool cargo_command_line_compiles(char *const *words);
/* A command that runs rustdoc, which is never asked of us, for each crate. */
bool cargo_command_line_documents(char *const *words);
bool cargo_command_line_is_quiet(char *const *words);
/* It says how many jobs there are to be. */
bool cargo_command_line_has_jobs(char *const *words);
/* What the next --config says; *words is behind it then. NULL when there is
 * none. */
const char *cargo_command_line_next_config(char *const **words);

#endif
