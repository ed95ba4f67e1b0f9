/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The W3C Trace Context header `traceparent`, as a client sends it with a call:
 * version, trace, parent and flags in hexadecimal. Only logged, so that lines
 * can be found by the trace. Pure, but for the call that it is read from.
 */
#ifndef TOOLROOT_FRONTEND_TRACE_PARENT_H
#define TOOLROOT_FRONTEND_TRACE_PARENT_H

#include <stdbool.h>

#include "base/str.h"

struct rpc_call;

/* Whether it is well-formed. Versions after 00 may have more behind another
 * dash; ff is none, and neither trace nor parent is all zeros (Trace Context,
 * 3.2.2). */
bool trace_parent_valid(struct str text);
/* Of the call, in its memory; "" when there is none or it is malformed, which
 * then counts as absent (3.2.2.3). */
struct str trace_parent_of(const struct rpc_call *call);

#endif
