/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What cargo is told so that a build which mostly waits for a server is fast:
 * more jobs than there are processors, where nobody said how many, and a heap
 * in huge pages, since cargo copies its page tables for each process that it
 * starts. Blocks on the disk.
 */
#ifndef TOOLROOT_CLIENT_CARGO_TUNING_H
#define TOOLROOT_CLIENT_CARGO_TUNING_H

struct cargo_strings;

/* Adds what cargo's environment is to have beside the build's, unless that or
 * words, which are cargo's, say otherwise; both end in NULL. Returns how many
 * compilers may run on this machine at once, since cargo would now start more;
 * 0: as many as it likes. */
unsigned cargo_tuning_add(
    char *const *words, char *const *environment, struct cargo_strings *added);

#endif
