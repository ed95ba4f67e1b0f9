/* SPDX-License-Identifier: Apache-2.0 */
/* toolroot.explain.v1.Explanations, over the history that the explainer keeps
 * (frontend/explainer.h). */
#ifndef TOOLROOT_FRONTEND_EXPLAIN_SERVICE_H
#define TOOLROOT_FRONTEND_EXPLAIN_SERVICE_H

struct method_table;
struct storage;

void explain_service_add(struct method_table *table, struct storage *storage);

#endif
