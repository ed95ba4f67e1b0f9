/* SPDX-License-Identifier: Apache-2.0 */
/* The end of what a command prints. */
#ifndef TOOLROOT_BASE_STANDARD_OUTPUT_H
#define TOOLROOT_BASE_STANDARD_OUTPUT_H

/* Writes out what is buffered; -1 when all of it did not arrive, which is told
 * on standard error in the name of the command ("gc"), unless the reader has
 * left, as head(1) does. */
int standard_output_finish(const char *command);

#endif
