/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line for each finished RPC: method, status, time, bytes of messages in
 * and out, who (peer, name that the certificate proves, tool), what for
 * (invocation, target, action) and the W3C trace parent. Level info for what
 * failed or was slow, debug for the rest; NOT_FOUND and CANCELLED are no
 * failures, and streams that live long by nature are never slow. Any thread.
 */
#ifndef TOOLROOT_FRONTEND_ACCESS_LOG_H
#define TOOLROOT_FRONTEND_ACCESS_LOG_H

#include <stdint.h>

struct rpc_call;

/* slow_ns: from this duration on an RPC is slow. Costs next to nothing when
 * the line is not written. */
void access_log_write(
    struct rpc_call *call, int status, int64_t duration_ns, int64_t slow_ns);

#endif
