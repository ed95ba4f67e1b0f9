/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process sets up once before it uses gRPC: the allocator's thresholds,
 * gRPC's own start, its log lines in our log, SIGPIPE ignored.
 *
 * Signals: block SIGTERM, SIGINT and what else main waits for before rpc_init.
 * gRPC starts helper threads, which inherit the mask; pollers and pool threads
 * block all signals. From then on, start programs with posix_spawn or vfork,
 * and make no call into rpc/ between fork and exec.
 */
#ifndef TOOLROOT_RPC_RUNTIME_H
#define TOOLROOT_RPC_RUNTIME_H

/* From main, before other threads. */
void rpc_init(void);
/* When all servers, channels and messages are gone. Blocks until gRPC's
 * threads have ended. */
void rpc_shutdown(void);

#endif
