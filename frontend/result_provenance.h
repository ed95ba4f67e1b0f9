/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is kept of an action result's origin, from the call that hands it in
 * and what the build tool said of itself. Any thread of the pool.
 */
#ifndef TOOLROOT_FRONTEND_RESULT_PROVENANCE_H
#define TOOLROOT_FRONTEND_RESULT_PROVENANCE_H

#include "base/str.h"

struct digest;
struct provenance;
struct rpc_call;
struct store;

/* Who sends: the name of the certificate, else the address without its port.
 * The caller frees it. */
char *result_provenance_writer(struct rpc_call *call);
/* Sets all but writer and worker; texts point into request_metadata, the
 * encoded message. Blocks: the action is looked into for its toolchains. */
void result_provenance_read(struct str request_metadata, struct store *store,
    const struct digest *action, struct provenance *provenance);

#endif
