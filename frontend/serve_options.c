/* SPDX-License-Identifier: Apache-2.0 */
/* The table of serve's settings. */
#include "frontend/serve_options.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/processors.h"
#include "cas/digest.h"
#include "frontend/resource_name.h"

#define GC_LOW_MIN 50
#define FIELD(name) offsetof(struct serve_options, name)

static const struct setting table[] = {
    {"config", SETTING_TEXT, FIELD(config), "FILE", NULL,
	"Read settings from this file."},
    {"listen", SETTING_TEXT, FIELD(listen), "HOST:PORT", "127.0.0.1:8980",
	"Where gRPC is served; port 0 takes a free one, unix:PATH a socket."},
    {"http", SETTING_TEXT, FIELD(http), "HOST:PORT", "127.0.0.1:8981",
	"Where metrics, status and health are served."},
    {"worker-http", SETTING_TEXT, FIELD(worker_http), "HOST:PORT", NULL,
	"Where the local workers serve metrics of their own; without it,\n"
	"nowhere."},
    {"store", SETTING_TEXT, FIELD(store), "DIR", NULL,
	"The directory with all blobs and action results.\n"
	"default: /var/lib/toolroot for root, else "
	"$XDG_DATA_HOME/toolroot"},
    {"max-size", SETTING_SIZE, FIELD(max_size), "SIZE", "0",
	"Bytes that the store may take on disk; writes beyond it are refused.\n"
	"0: four fifths of what is free and the store's own."},
    {"min-age", SETTING_DURATION, FIELD(min_age), "TIME", "3h",
	"What was written, found or read is kept at least so long, and up to\n"
	"ten minutes longer, since times of use are kept in steps of that.\n"
	"When there is nothing older left to drop, writes are refused."},
    {"gc-high", SETTING_COUNT, FIELD(gc_high), "PERCENT", "90",
	"Of max-size: above it, what was not used for longest is dropped."},
    {"gc-low", SETTING_COUNT, FIELD(gc_low), "PERCENT", "80",
	"Of max-size: down to it; 50 at least."},
    {"scrub-rate", SETTING_SIZE, FIELD(scrub_rate), "SIZE", "4M",
	"Bytes a second at which the store is read again and again, to find\n"
	"what the disk has lost. 0: it is not."},
    {"memory", SETTING_SIZE, FIELD(memory), "SIZE", "1G",
	"Bytes that requests and uploads may hold at once; what is above is\n"
	"refused and may be tried again. The process stays below this and\n"
	"256M."},
    {"max-blob-size", SETTING_SIZE, FIELD(max_blob_size), "SIZE", "0",
	"Largest blob that is accepted. 0: as large as the store."},
    {"workers", SETTING_COUNT, FIELD(workers), "N", "9999",
	"Actions that local workers run at once; 0: this is a cache, or all\n"
	"workers are elsewhere. 9999: one for each processor that\n"
	"it may use."},
    {"capture-default", SETTING_FLAG, FIELD(capture_default), "", "no",
	"When the store has no toolchain named default, capture this "
	"machine's\n"
	"C and C++ compiler as that, as `toolroot toolchain add default --cc`\n"
	"does, once the server is ready."},
    {"host-root", SETTING_FLAG, FIELD(host_root), "", "no",
	"Not hermetic: local workers show actions the host's /usr, /bin, "
	"/lib*\n"
	"and /etc, read-only."},
    {"allow-network", SETTING_FLAG, FIELD(allow_network), "", "no",
	"Local workers show actions that have the platform property\n"
	"network=true the network of this machine; all others have none."},
    {"sandbox", SETTING_TEXT, FIELD(sandbox), "KIND", "auto",
	"Of local workers. auto: namespaces, or refuse to run; none: no\n"
	"isolation at all."},
    {"staging", SETTING_TEXT, FIELD(staging), "KIND", "auto",
	"Of local workers: how inputs get into sandboxes; auto, erofs,\n"
	"erofs-path or tmpfs, see toolroot worker --help."},
    {"tree-cache-size", SETTING_SIZE, FIELD(tree_cache_size), "SIZE", "20G",
	"Of local workers: bytes on disk of toolchain trees, beside the "
	"store."},
    {"property", SETTING_LIST, FIELD(properties), "NAME=VALUE", NULL,
	"A platform property that local workers offer; may be repeated."},
    {"instance", SETTING_LIST, FIELD(instances), "NAME", NULL,
	"An instance name that is served; may be repeated, \"\" is the empty\n"
	"one. Without it, every name is served."},
    {"instance-quota", SETTING_LIST, FIELD(instance_quotas), "NAME=SIZE", NULL,
	"Bytes that one instance may take of the store; may be repeated. Near\n"
	"it, what that instance has and has not used for longest is dropped;\n"
	"its writes beyond are refused."},
    {"instance-floor", SETTING_LIST, FIELD(instance_floors), "NAME=SIZE", NULL,
	"Bytes that collections leave one instance, whatever others write; "
	"may\n"
	"be repeated."},
    {"digest-function", SETTING_LIST, FIELD(digest_functions), "NAME", NULL,
	"Accept this digest function: sha256, sha384, sha512 or sha1; may be\n"
	"repeated. Without it: sha256."},
    {"cache-updates", SETTING_FLAG, FIELD(cache_updates), "YES|NO", "yes",
	"Clients may write action results (a remote cache needs it); no: only\n"
	"workers do (--cache-updates=no)."},
    {"explain", SETTING_FLAG, FIELD(explain), "YES|NO", "yes",
	"Remember actions and find out why each one misses, for\n"
	"`toolroot explain` and the metrics."},
    {"unexplained", SETTING_LIST, FIELD(unexplained), "NAME", NULL,
	"An instance whose actions are neither remembered nor explained; may "
	"be\n"
	"repeated. For one that makes so many that those of others are "
	"forgotten."},
    {"action-timeout", SETTING_DURATION, FIELD(action_timeout), "TIME", "1h",
	"For actions that ask for no timeout."},
    {"action-timeout-max", SETTING_DURATION, FIELD(action_timeout_max), "TIME",
	"24h", "Longest timeout that an action may ask for."},
    {"attempts", SETTING_COUNT, FIELD(attempts), "N", "3",
	"How often an action is tried when workers are lost."},
    {"upload-keep", SETTING_DURATION, FIELD(upload_keep), "TIME", "10m",
	"How long an interrupted upload can be gone on with."},
    {"shutdown-grace", SETTING_DURATION, FIELD(shutdown_grace), "TIME", "10s",
	"How long running actions of local workers and calls may take to end\n"
	"after SIGTERM; a second one ends the server at once."},
    {"tls-cert", SETTING_TEXT, FIELD(tls_certificate), "FILE", NULL,
	"Serve TLS with this certificate chain (PEM); read anew when it\n"
	"changes."},
    {"tls-key", SETTING_TEXT, FIELD(tls_key), "FILE", NULL,
	"Its private key (PEM)."},
    {"tls-client-ca", SETTING_TEXT, FIELD(tls_client_ca), "FILE", NULL,
	"Clients must show a certificate signed by one of these (PEM)."},
    {"insecure-listen", SETTING_FLAG, FIELD(insecure_listen), "", "no",
	"Allow plain text on addresses other than loopback."},
    {"log-level", SETTING_TEXT, FIELD(log_level), "LEVEL", "info",
	"debug, info, warn or error."},
    {"log-format", SETTING_TEXT, FIELD(log_format), "FORMAT", "text",
	"text (key=value) or json, one object a line."},
    {"log-slow", SETTING_DURATION, FIELD(log_slow), "TIME", "1s",
	"Log RPCs that took longer at level info, as failed ones are; all "
	"others\nare logged at level debug."},
};

const struct settings serve_settings = {
    .command = "serve",
    .synopsis = "[options]",
    .about = "Serves the Remote Execution API: content-addressable storage, "
	     "action cache,\nexecution with sandboxed local workers. When it "
	     "is ready it prints one line on\nstandard output:\n\n"
	     "  toolroot ready grpc://HOST:PORT http://HOST:PORT",
    .table = table,
    .count = sizeof(table) / sizeof(table[0]),
    .epilogue = "Examples:\n"
		"  toolroot serve --host-root\n"
		"  toolroot serve --workers 0 --max-size 200G      # a cache\n"
		"  toolroot serve --listen 0.0.0.0:8980 --tls-cert cert.pem "
		"--tls-key key.pem",
};

static char *
default_store(void)
{
	const char *data = getenv("XDG_DATA_HOME");
	const char *home = getenv("HOME");

	if (geteuid() == 0)
		return xstrdup("/var/lib/toolroot");
	if (data != NULL && data[0] == '/')
		return xasprintf("%s/toolroot", data);
	return xasprintf(
	    "%s/.local/share/toolroot", home != NULL ? home : "/tmp");
}

static int
check_tls(const struct serve_options *options, struct error *err)
{
	if ((options->tls_certificate == NULL) != (options->tls_key == NULL))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--tls-cert and --tls-key go together");
	if (options->tls_client_ca != NULL && options->tls_certificate == NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--tls-client-ca needs --tls-cert and --tls-key");
	return 0;
}

/* What is handed on to the local workers; else each of them would refuse it,
 * again and again, while the server waits. */
static int
check_workers(const struct serve_options *options, struct error *err)
{
	if (strcmp(options->sandbox, "auto") != 0 &&
	    strcmp(options->sandbox, "none") != 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--sandbox \"%s\" is neither auto nor none",
		    options->sandbox);
	if (strcmp(options->staging, "auto") != 0 &&
	    strcmp(options->staging, "erofs") != 0 &&
	    strcmp(options->staging, "erofs-path") != 0 &&
	    strcmp(options->staging, "tmpfs") != 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--staging \"%s\" is none of auto, erofs, erofs-path, "
		    "tmpfs",
		    options->staging);
	for (size_t i = 0; i < options->properties.count; i++) {
		const char *property = options->properties.items[i];

		if (property[0] == '=' || strchr(property, '=') == NULL)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "--property \"%s\" is not NAME=VALUE", property);
	}
	return 0;
}

static int
check_instance_names(
    const struct setting_list *names, const char *setting, struct error *err)
{
	for (size_t i = 0; i < names->count; i++)
		if (resource_name_check_instance(
			str_from(names->items[i]), setting, err) < 0)
			return -1;
	return 0;
}

static int
check_instances(const struct serve_options *options, struct error *err)
{
	const struct setting_list *unexplained = &options->unexplained;

	if (check_instance_names(&options->instances, "--instance ", err) < 0 ||
	    check_instance_names(unexplained, "--unexplained ", err) < 0)
		return -1;
	for (size_t i = 0; i < unexplained->count; i++)
		if (!serve_instance_is_served(
			options, str_from(unexplained->items[i])))
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "--unexplained \"%s\" is no instance that is "
			    "served; see the setting \"instance\"",
			    unexplained->items[i]);
	return 0;
}

int
serve_options_complete(struct serve_options *options, struct error *err)
{
	enum log_level level;
	uint32_t functions;
	bool json;

	if (check_tls(options, err) < 0 || check_workers(options, err) < 0 ||
	    check_instances(options, err) < 0 ||
	    serve_digest_functions(options, &functions, err) < 0)
		return -1;
	if (!log_level_parse(str_from(options->log_level), &level))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--log-level \"%s\" is none of debug, info, warn, error",
		    options->log_level);
	log_set_level(level);
	if (!log_format_parse(str_from(options->log_format), &json))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--log-format \"%s\" is neither text nor json",
		    options->log_format);
	log_set_json(json);
	if (options->action_timeout > options->action_timeout_max)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--action-timeout is longer than --action-timeout-max");
	/* Open uploads count for up to a third of the limit: what is stored
	 * needs room beside them. */
	if (options->gc_high > 100 || options->gc_low < GC_LOW_MIN ||
	    options->gc_low > options->gc_high)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--gc-low must be from %d to --gc-high, and --gc-high at "
		    "most 100",
		    GC_LOW_MIN);
	if (options->attempts == 0 || options->attempts > 100)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--attempts must be from 1 to 100");
	if (options->store == NULL)
		options->store = default_store();
	if (options->workers == SERVE_WORKERS_CORES)
		options->workers = processors_available();
	if (options->workers > 4096)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--workers %llu is more than 4096",
		    (unsigned long long)options->workers);
	return 0;
}

static const char *
preferred(const struct setting_list *list, const char *usual)
{
	if (list->count == 0 || setting_list_has(list, str_from(usual)))
		return usual;
	return list->items[0];
}

const char *
serve_first_instance(const struct serve_options *options)
{
	return preferred(&options->instances, "");
}

bool
serve_instance_is_served(
    const struct serve_options *options, struct str instance)
{
	return options->instances.count == 0 ||
	       setting_list_has(&options->instances, instance);
}

const char *
serve_first_function(const struct serve_options *options)
{
	return preferred(&options->digest_functions, "sha256");
}

int
serve_digest_functions(
    const struct serve_options *options, uint32_t *functions, struct error *err)
{
	*functions = 0;
	for (size_t i = 0; i < options->digest_functions.count; i++) {
		const char *name = options->digest_functions.items[i];
		enum digest_function function =
		    digest_function_parse(str_from(name));

		if (function == DIGEST_UNKNOWN)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "--digest-function \"%s\" is none of sha256, "
			    "sha384, sha512, sha1",
			    name);
		*functions |= 1u << (unsigned)function;
	}
	if (*functions == 0)
		*functions = 1u << DIGEST_SHA256;
	return 0;
}
