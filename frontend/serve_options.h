/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings of `toolroot serve`: their table and what follows from them.
 * For the start of the program.
 */
#ifndef TOOLROOT_FRONTEND_SERVE_OPTIONS_H
#define TOOLROOT_FRONTEND_SERVE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/settings.h"
#include "base/str.h"

struct error;

struct serve_options {
	char *config;
	char *listen;
	char *http;
	char *worker_http;
	char *store;
	uint64_t max_size;
	int64_t min_age;
	uint64_t gc_high;
	uint64_t gc_low;
	uint64_t scrub_rate;
	uint64_t memory;
	uint64_t max_blob_size;
	uint64_t workers; /* SERVE_WORKERS_CORES = one a core */
	bool host_root;
	char *staging;
	uint64_t tree_cache_size;
	bool allow_network;
	bool capture_default;
	char *sandbox;
	struct setting_list properties;
	struct setting_list instances;
	struct setting_list instance_quotas; /* NAME=SIZE */
	struct setting_list instance_floors; /* NAME=SIZE */
	struct setting_list digest_functions;
	bool cache_updates;
	bool explain;
	struct setting_list unexplained; /* instances */
	int64_t action_timeout;
	int64_t action_timeout_max;
	uint64_t attempts;
	int64_t upload_keep;
	int64_t shutdown_grace;
	char *tls_certificate;
	char *tls_key;
	char *tls_client_ca;
	bool insecure_listen;
	char *log_level;
	char *log_format;
	int64_t log_slow; /* ms */
};

#define SERVE_WORKERS_CORES UINT64_C(9999)

extern const struct settings serve_settings;

/* Fills in what has no fixed default (store directory, max_size, workers) and
 * checks what goes together. INVALID_ARGUMENT names the settings. */
int serve_options_complete(struct serve_options *options, struct error *err);
/* The instance, and the digest function, that those use who choose none: ""
 * and "sha256" where they are served, else the first that is. */
const char *serve_first_instance(const struct serve_options *options);
const char *serve_first_function(const struct serve_options *options);
/* All are, where the settings name none. */
bool serve_instance_is_served(
    const struct serve_options *options, struct str instance);
/* Bit mask for struct storage. INVALID_ARGUMENT names the functions. */
int serve_digest_functions(const struct serve_options *options,
    uint32_t *functions, struct error *err);

#endif
