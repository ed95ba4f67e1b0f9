/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two encoded messages that are nearly the same: what both begin with and end
 * with is cut off field by field, so that only the rest has to be decoded.
 * Since fields stand for themselves, the rest is a message, too. Of two
 * Directory messages, whose nodes are sorted, it has every node that differs.
 * Pure; any thread.
 */
#ifndef TOOLROOT_EXECUTOR_MESSAGE_DIFFERENCE_H
#define TOOLROOT_EXECUTOR_MESSAGE_DIFFERENCE_H

#include "base/str.h"

/* Where something malformed differs it is left in, for the decoder to find. */
void message_difference(struct str *before, struct str *after);

#endif
