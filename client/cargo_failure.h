/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why a compiler failed on a worker, told by what it wrote, where the reader
 * can do something about it: a linker that found no library of the system.
 * Pure.
 */
#ifndef TOOLROOT_CLIENT_CARGO_FAILURE_H
#define TOOLROOT_CLIENT_CARGO_FAILURE_H

#include "base/str.h"

struct error;

/* Always -1. status: its exit code; messages: its standard error. */
int cargo_failure_set(int status, struct str messages, struct error *err);

#endif
