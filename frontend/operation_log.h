/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line for each finished operation: what for (target, mnemonic,
 * invocation), who asked first (identity, W3C trace parent), where and how it
 * ended, and what it spent its time with. Any thread.
 */
#ifndef TOOLROOT_FRONTEND_OPERATION_LOG_H
#define TOOLROOT_FRONTEND_OPERATION_LOG_H

struct operation;

/* The operation is done. */
void operation_log_done(const struct operation *operation);

#endif
