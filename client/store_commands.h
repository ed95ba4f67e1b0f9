/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands of `toolroot store`, for store_command.c alone. Each takes
 * its own name as argv[0] and returns the exit status. */
#ifndef TOOLROOT_CLIENT_STORE_COMMANDS_H
#define TOOLROOT_CLIENT_STORE_COMMANDS_H

int store_commands_stats(char **argv);
int store_commands_check(char **argv);
int store_commands_pins(char **argv);
int store_commands_pin(char **argv);
int store_commands_unpin(char **argv);
int store_commands_remove(char **argv);
int store_commands_repair(char **argv);
int store_commands_export(char **argv);
int store_commands_import(char **argv);

#endif
