/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an ELF program or shared library needs to be loaded: interpreter,
 * DT_NEEDED names, run paths. The loader is never run for that: what is looked
 * at need not be trusted. Pure functions over bytes, any thread.
 * Source: System V ABI, chapters 4 and 5.
 */
#ifndef TOOLROOT_CLIENT_ELF_NEEDED_H
#define TOOLROOT_CLIENT_ELF_NEEDED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct error;

#define ELF_NEEDED_MAX 256

/* Everything points into the bytes. */
struct elf_needed {
	uint8_t class;          /* 1: 32 bits, 2: 64 bits */
	uint16_t machine;       /* libraries must have the same two */
	struct str interpreter; /* data NULL: none */
	struct str rpath;       /* data NULL: none */
	struct str runpath;     /* data NULL: none */
	struct str names[ELF_NEEDED_MAX];
	size_t count;
};

/* 1, or 0 when the bytes are no ELF program or shared library of this
 * machine's byte order (object files, static programs and text are not), -1
 * with INVALID_ARGUMENT when it is damaged. */
int elf_needed_read(
    struct str bytes, struct elf_needed *needed, struct error *err);

#endif
