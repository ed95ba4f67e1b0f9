/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program for Linux that needs nothing: it writes DOCTOR_PROGRAM_OUTPUT and
 * ends with status 0. With it a worker can be tried before there is any
 * toolchain. Pure.
 */
#ifndef TOOLROOT_CLIENT_DOCTOR_PROGRAM_H
#define TOOLROOT_CLIENT_DOCTOR_PROGRAM_H

#include "base/str.h"

#define DOCTOR_PROGRAM_OUTPUT "toolroot\n"

/* An ELF file for this machine's kind of processor, static; empty when there
 * is none for it. */
struct str doctor_program(void);

#endif
