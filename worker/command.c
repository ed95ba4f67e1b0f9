/* SPDX-License-Identifier: Apache-2.0 */
/* Settings of the worker command. Main thread. */
#include "worker/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/processors.h"
#include "base/settings.h"
#include "worker/worker.h"

#define EXIT_USAGE 2
#define SLOTS_MAX 1024

#if defined(__x86_64__)
#define ISA "x86-64"
#elif defined(__aarch64__)
#define ISA "arm-a64"
#else
#define ISA "unknown"
#endif

struct command_settings {
	char *config;
	char *server;
	char *tls_ca;
	char *tls_certificate;
	char *tls_key;
	char *name;
	uint64_t slots;
	struct setting_list properties;
	char *cache;
	uint64_t cache_size;
	uint64_t tree_cache_size;
	char *local_store;
	bool host_root;
	char *sandbox;
	char *staging;
	uint64_t scratch_size;
	uint64_t scratch_files;
	uint64_t memory_per_action;
	uint64_t pids_per_action;
	char *cpus_per_action;
	bool allow_network;
	uint64_t stream_limit;
	char *default_path;
	bool compress;
	char *http;
	bool insecure_listen;
	uint64_t exit_with_parent;
	char *log_level;
	char *log_format;
};

#define FIELD(name) offsetof(struct command_settings, name)

static const struct setting table[] = {
    {"config", SETTING_TEXT, FIELD(config), "FILE", NULL,
	"Read settings from this file."},
    {"server", SETTING_TEXT, FIELD(server), "ADDRESS", "grpc://127.0.0.1:8980",
	"The server: grpc://HOST:PORT, grpcs://HOST:PORT or unix:PATH."},
    {"tls-ca", SETTING_TEXT, FIELD(tls_ca), "FILE", NULL,
	"Who signed the server's certificate (PEM); the system's otherwise."},
    {"tls-cert", SETTING_TEXT, FIELD(tls_certificate), "FILE", NULL,
	"Our certificate (PEM), where the server wants one."},
    {"tls-key", SETTING_TEXT, FIELD(tls_key), "FILE", NULL,
	"Its private key (PEM)."},
    {"name", SETTING_TEXT, FIELD(name), "NAME", NULL,
	"Shown in results and metrics. default: the host name"},
    {"slots", SETTING_COUNT, FIELD(slots), "N", "0",
	"Actions that run at once. 0: one a processor that it may use."},
    {"property", SETTING_LIST, FIELD(properties), "NAME=VALUE", NULL,
	"A platform property that is offered; may be repeated. OSFamily and\n"
	"ISA are offered in any case."},
    {"cache", SETTING_TEXT, FIELD(cache), "DIR", NULL,
	"Where inputs are kept. Several workers may share it; each takes a\n"
	"part of its own.\n"
	"default: DIR/worker with --local-store DIR, else\n"
	"/var/cache/toolroot for root, else $XDG_CACHE_HOME/toolroot"},
    {"cache-size", SETTING_SIZE, FIELD(cache_size), "SIZE", "20G",
	"Bytes that a worker's part of it may take on disk, images of the\n"
	"inputs of actions that run included."},
    {"tree-cache-size", SETTING_SIZE, FIELD(tree_cache_size), "SIZE", "20G",
	"Bytes on disk of toolchain trees that are laid out, beside it; those\n"
	"longest unused go first."},
    {"local-store", SETTING_TEXT, FIELD(local_store), "DIR", NULL,
	"The server's own store on this machine: inputs are read from it and\n"
	"not kept twice."},
    {"host-root", SETTING_FLAG, FIELD(host_root), "", "no",
	"Not hermetic: actions see the host's /usr, /bin, /lib* and /etc,\n"
	"read-only."},
    {"sandbox", SETTING_TEXT, FIELD(sandbox), "KIND", "auto",
	"auto: namespaces, or refuse to run; none: no isolation at all."},
    {"staging", SETTING_TEXT, FIELD(staging), "KIND", "auto",
	"How inputs and toolchains get into sandboxes. erofs: as images that\n"
	"are mounted (root, Linux 6.15, the cache on a disk); erofs-path: the\n"
	"same in the way of Linux 6.12; tmpfs: as files, without root, too, "
	"at\n"
	"12 us an input; auto: the first of them that works here, tried out\n"
	"at the start. toolroot doctor says what is missing for images."},
    {"scratch-size", SETTING_SIZE, FIELD(scratch_size), "SIZE", "4G",
	"Bytes that one action may write, its small inputs included. They\n"
	"live in memory."},
    {"scratch-files", SETTING_COUNT, FIELD(scratch_files), "N", "1000000",
	"Files that one action may have, inputs included."},
    {"memory-per-action", SETTING_SIZE, FIELD(memory_per_action), "SIZE", "0",
	"Bytes of memory that one action may use, its scratch included; at\n"
	"the limit it is killed. 0: seven eighths of this machine's."},
    {"pids-per-action", SETTING_COUNT, FIELD(pids_per_action), "N", "2048",
	"Processes and threads that one action may have. 0: no limit."},
    {"cpus-per-action", SETTING_TEXT, FIELD(cpus_per_action), "N", "0",
	"CPUs that one action may keep busy, such as 2 or 0.5. 0: all."},
    {"allow-network", SETTING_FLAG, FIELD(allow_network), "", "no",
	"Actions with the platform property network=true see the network of\n"
	"this machine; all others have none."},
    {"stream-limit", SETTING_SIZE, FIELD(stream_limit), "SIZE", "64M",
	"Bytes of standard output and of standard error that are kept."},
    {"default-path", SETTING_TEXT, FIELD(default_path), "PATH", "/bin:/usr/bin",
	"PATH of actions that set none."},
    {"compress", SETTING_FLAG, FIELD(compress), "", "no",
	"Compress blobs on the way (zstd): for slow networks."},
    {"http", SETTING_TEXT, FIELD(http), "HOST:PORT", NULL,
	"Serve the worker's own /metrics, /healthz and /readyz here. Without\n"
	"it, nowhere: the server's metrics tell of its workers, too."},
    {"insecure-listen", SETTING_FLAG, FIELD(insecure_listen), "", "no",
	"Allow that on addresses other than loopback."},
    {"exit-with-parent", SETTING_COUNT, FIELD(exit_with_parent), "PID", "0",
	"End when this process ends, which started the worker; 0: when told."},
    {"log-level", SETTING_TEXT, FIELD(log_level), "LEVEL", "info",
	"debug, info, warn or error."},
    {"log-format", SETTING_TEXT, FIELD(log_format), "FORMAT", "text",
	"text (key=value) or json, one object a line."},
};

static const struct settings worker_settings = {
    .command = "worker",
    .synopsis = "[options]",
    .about = "Runs actions for a Toolroot server, each in a sandbox of its "
	     "own. SIGTERM: finishes\nwhat runs, then ends; a second one "
	     "cancels it.",
    .table = table,
    .count = sizeof(table) / sizeof(table[0]),
    .epilogue = "Examples:\n"
		"  toolroot worker --server grpc://build.example:8980 "
		"--slots 16\n"
		"  toolroot worker --server grpcs://build.example:8980 "
		"--tls-ca ca.pem --property gpu=1",
};

static char *
default_cache(void)
{
	const char *cache = getenv("XDG_CACHE_HOME");
	const char *home = getenv("HOME");

	if (geteuid() == 0)
		return xstrdup("/var/cache/toolroot");
	if (cache != NULL && cache[0] == '/')
		return xasprintf("%s/toolroot", cache);
	return xasprintf("%s/.cache/toolroot", home != NULL ? home : "/tmp");
}

/* Cuts the texts of the list at their "=". */
static struct worker_property *
parse_properties(const struct setting_list *list, bool network, size_t *count,
    struct error *err)
{
	static const struct worker_property defaults[] = {
	    {"OSFamily", "linux"}, {"ISA", ISA}, {"network", "true"}};
	size_t default_count = network ? 3 : 2;
	struct worker_property *properties =
	    xcalloc(list->count + default_count, sizeof(*properties));
	size_t given = 0;

	for (size_t i = 0; i < list->count; i++) {
		char *equals = strchr(list->items[i], '=');

		if (equals == NULL || equals == list->items[i]) {
			error_set(err, ERROR_INVALID_ARGUMENT,
			    "--property \"%s\" is not NAME=VALUE",
			    list->items[i]);
			free(properties);
			return NULL;
		}
		*equals = '\0';
		properties[given].name = list->items[i];
		properties[given++].value = equals + 1;
	}
	*count = given;
	for (size_t i = 0; i < default_count; i++) {
		bool found = false;

		for (size_t j = 0; j < given; j++)
			found = found || strcmp(properties[j].name,
					     defaults[i].name) == 0;
		if (!found)
			properties[(*count)++] = defaults[i];
	}
	return properties;
}

static int
check(struct command_settings *settings, struct error *err)
{
	enum staging staging;
	enum log_level level;
	bool json;

	if (!log_level_parse(str_from(settings->log_level), &level))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--log-level \"%s\" is none of debug, info, warn, error",
		    settings->log_level);
	log_set_level(level);
	if (!log_format_parse(str_from(settings->log_format), &json))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--log-format \"%s\" is neither text nor json",
		    settings->log_format);
	log_set_json(json);
	if (strcmp(settings->sandbox, "auto") != 0 &&
	    strcmp(settings->sandbox, "none") != 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--sandbox \"%s\" is neither auto nor none",
		    settings->sandbox);
	if (!staging_parse(settings->staging, &staging))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--staging \"%s\" is none of auto, erofs, erofs-path, "
		    "tmpfs",
		    settings->staging);
	if (settings->slots == 0)
		settings->slots = processors_available();
	if (settings->slots > SLOTS_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--slots %llu is more than %d",
		    (unsigned long long)settings->slots, SLOTS_MAX);
	if (settings->stream_limit > (uint64_t)1 << 30)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--stream-limit is more than 1G");
	if ((settings->tls_certificate == NULL) != (settings->tls_key == NULL))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "--tls-cert and --tls-key go together");
	if (settings->cache == NULL && settings->local_store != NULL)
		settings->cache = xasprintf("%s/worker", settings->local_store);
	if (settings->cache == NULL)
		settings->cache = default_cache();
	return 0;
}

/* What an action must leave to everything else, so that one without measure
 * ends by its own limit, and not the machine's. */
static uint64_t
default_memory(void)
{
	uint64_t pages = (uint64_t)sysconf(_SC_PHYS_PAGES);

	return pages * (uint64_t)sysconf(_SC_PAGESIZE) / 8 * 7;
}

static int
get_limits(const struct command_settings *settings,
    struct action_limits *limits, struct error *err)
{
	limits->memory = settings->memory_per_action != 0
			     ? settings->memory_per_action
			     : default_memory();
	limits->pids = settings->pids_per_action;
	if (action_limits_parse_cpus(str_from(settings->cpus_per_action),
		&limits->cpu_milli, err) < 0) {
		error_prefix(err, "--cpus-per-action");
		return -1;
	}
	return action_limits_check(limits, err);
}

/* Exit status. */
static int
run(struct command_settings *settings)
{
	struct worker_property *properties = NULL;
	struct worker_options options = {.server = settings->server,
	    .tls_ca = settings->tls_ca,
	    .tls_certificate = settings->tls_certificate,
	    .tls_key = settings->tls_key,
	    .name = settings->name,
	    .host_root = settings->host_root,
	    .scratch_size = settings->scratch_size,
	    .scratch_files = settings->scratch_files,
	    .allow_network = settings->allow_network,
	    .stream_limit = settings->stream_limit,
	    .default_path = settings->default_path,
	    .local_store = settings->local_store,
	    .cache_size = settings->cache_size,
	    .tree_cache_size = settings->tree_cache_size,
	    .compress = settings->compress,
	    .http = settings->http,
	    .insecure_listen = settings->insecure_listen,
	    .exit_with_parent = settings->exit_with_parent};
	struct error err;
	int status = EXIT_USAGE;

	if (check(settings, &err) < 0 ||
	    get_limits(settings, &options.limits, &err) < 0)
		goto out;
	properties = parse_properties(&settings->properties,
	    settings->allow_network, &options.property_count, &err);
	if (properties == NULL)
		goto out;
	options.properties = properties;
	options.cache = settings->cache;
	options.slots = (size_t)settings->slots;
	options.unfenced = strcmp(settings->sandbox, "none") == 0;
	(void)staging_parse(settings->staging, &options.staging);
	if (worker_run(&options, &err) == 0)
		status = EXIT_SUCCESS;
	else if (err.code != ERROR_INVALID_ARGUMENT)
		status = EXIT_FAILURE;
out:
	if (status != EXIT_SUCCESS)
		fprintf(stderr, "toolroot worker: %s\n", err.text);
	free(properties);
	return status;
}

int
worker_command(char **argv)
{
	struct command_settings settings = {0};
	struct setting_arguments arguments;
	struct error err;
	int status = EXIT_USAGE;
	int rc =
	    settings_read(&worker_settings, argv, &settings, &arguments, &err);

	if (rc > 0) {
		settings_help(&worker_settings);
		status = EXIT_SUCCESS;
	} else if (rc < 0) {
		fprintf(stderr, "toolroot worker: %s\n", err.text);
	} else if (arguments.count > 0) {
		fprintf(stderr,
		    "toolroot worker: unexpected argument \"%s\"; see "
		    "toolroot worker --help\n",
		    arguments.items[0]);
	} else {
		status = run(&settings);
	}
	free(arguments.items);
	settings_clear(&worker_settings, &settings);
	return status;
}
