/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quotas and floors of instances: the settings instance-quota and
 * instance-floor, NAME=SIZE each, told to the store (cas/owners.h), and the
 * metrics of what each instance has.
 */
#ifndef TOOLROOT_FRONTEND_INSTANCE_LIMITS_H
#define TOOLROOT_FRONTEND_INSTANCE_LIMITS_H

struct error;
struct metrics;
struct serve_options;
struct store;

/* INVALID_ARGUMENT names the setting: no size, an instance that is not served
 * or named twice, a floor above the low mark of its quota, floors that a
 * collection could not leave. At the start; blocks. */
int instance_limits_apply(const struct serve_options *options,
    struct store *store, struct error *err);

struct instance_metrics;
/* Instances that the settings name, and "/other" for all else. */
struct instance_metrics *instance_metrics_new(struct metrics *metrics,
    const struct serve_options *options, struct store *store);
/* After the metrics were rendered for the last time. NULL is allowed. */
void instance_metrics_free(struct instance_metrics *instance_metrics);

#endif
