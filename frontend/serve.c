/* SPDX-License-Identifier: Apache-2.0 */
/* The serve command: settings, signals, the server and its local workers. Main
 * thread. */
#include "frontend/serve.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/memory.h"
#include "frontend/first_toolchain.h"
#include "frontend/local_workers.h"
#include "frontend/serve_options.h"
#include "frontend/server.h"
#include "rpc/runtime.h"

#define EXIT_USAGE 2
/* Signals that come together are one. */
#define ONE_SIGNAL_MS 300

/* The address for clients: who listens everywhere is found by the host's name.
 * malloc. */
static char *
client_address(const char *address)
{
	static const char *const everywhere[] = {"//0.0.0.0:", "//[::]:"};
	char host[HOST_NAME_MAX + 1];

	for (size_t i = 0; i < sizeof(everywhere) / sizeof(everywhere[0]);
	     i++) {
		const char *at = strstr(address, everywhere[i]);

		if (at != NULL && gethostname(host, sizeof(host)) == 0)
			return xasprintf("%.*s//%s:%s", (int)(at - address),
			    address, host, at + strlen(everywhere[i]));
	}
	return xstrdup(address);
}

/* Files that only the user knows are in capitals. */
static void
print_tls(const struct serve_options *options)
{
	if (options->tls_certificate == NULL)
		return;
	fprintf(stderr,
	    "\nwith the certificate of the authority that signed the server's, "
	    "unless it is one\nof the system's%s:\n\n"
	    "  build --tls_certificate=AUTHORITY.pem\n",
	    options->tls_client_ca != NULL ? ", and one of your own" : "");
	if (options->tls_client_ca != NULL)
		fprintf(stderr, "  build --tls_client_certificate=YOURS.pem\n"
				"  build --tls_client_key=YOURS.key\n");
}

/* The lines that a first user needs next. root: of the default toolchain, or
 * "". */
static void
print_first_steps(const struct server *server,
    const struct serve_options *options, const char *root)
{
	const char *instance = serve_first_instance(options);
	char *address = client_address(server_grpc_address(server));

	fprintf(stderr, "\nBazel: put into .bazelrc\n\n");
	if (options->workers > 0)
		fprintf(stderr,
		    "  build --remote_executor=%s\n"
		    "  build --remote_local_fallback=false\n",
		    address);
	else
		fprintf(stderr, "  build --remote_cache=%s\n", address);
	fprintf(stderr, "  build --incompatible_strict_action_env\n");
	if (instance[0] != '\0')
		fprintf(
		    stderr, "  build --remote_instance_name=%s\n", instance);
	if (options->workers > 0 && root[0] != '\0')
		fprintf(stderr,
		    "  build --remote_default_exec_properties="
		    "toolchain-root=%s\n",
		    root);
	print_tls(options);
	if (options->workers > 0)
		fprintf(stderr,
		    "\nCargo: in any workspace\n\n"
		    "  cargo toolroot --server %s%s%s%s%s build\n",
		    address, instance[0] != '\0' ? " --instance " : "",
		    instance,
		    options->tls_certificate != NULL ? " --tls-ca AUTHORITY.pem"
						     : "",
		    options->tls_client_ca != NULL
			? " --tls-cert YOURS.pem --tls-key YOURS.key"
			: "");
	fprintf(stderr, "\nStatus: %s/status   Metrics: %s/metrics\n\n",
	    server_http_address(server), server_http_address(server));
	if (options->capture_default && root[0] == '\0')
		fprintf(stderr,
		    "This machine's C and C++ compiler is being captured; the "
		    "line for\n.bazelrc that names it follows.\n\n");
	free(address);
}

static void
signals_to_wait_for(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGINT);
	sigaddset(signals, SIGCHLD);
}

/* When the first signal came; for the handler of the second. */
static _Atomic int64_t told_to_end_ms = CLOCK_NEVER;

/* Safe at any time: what was acknowledged is durable, and the children end
 * with us. timeout(1) and others signal a process, and then its group: that is
 * one signal. */
static void
end_at_once(int number)
{
	static const char text[] =
	    "toolroot serve: told to end again: ends at once\n";

	if (clock_monotonic_ms() - atomic_load(&told_to_end_ms) < ONE_SIGNAL_MS)
		return;
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	/* As _exit, which sanitizers use to count the threads that run. */
	syscall(SYS_exit_group, 128 + number);
}

/* From here on a signal is a second one. A handler, since the first process of
 * a container gets no signal without one. */
static void
end_at_next_signal(void)
{
	const struct sigaction action = {.sa_handler = end_at_once};
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	/* What is pending already came with the first. */
	sigprocmask(SIG_UNBLOCK, &signals, NULL);
	atomic_store(&told_to_end_ms, clock_monotonic_ms());
}

/* Until SIGTERM or SIGINT. */
static void
tend(struct local_workers *workers, struct first_toolchain *toolchain,
    const sigset_t *signals, int64_t grace_ms)
{
	for (;;) {
		int64_t now_ms = clock_monotonic_ms();
		int64_t due_ms = workers != NULL
				     ? local_workers_tend(workers, now_ms)
				     : CLOCK_NEVER;
		int64_t wait_ms =
		    due_ms - now_ms < 60000 ? due_ms - now_ms : 60000;
		const struct timespec wait = {
		    wait_ms / 1000, wait_ms % 1000 * 1000000};
		int number;

		first_toolchain_tend(toolchain);
		number = sigtimedwait(signals, NULL, &wait);
		if (number == SIGTERM || number == SIGINT) {
			end_at_next_signal();
			log_info("stopping",
			    "signal=%d grace_ms=%lld another=\"ends it at "
			    "once\"",
			    number, (long long)grace_ms);
			return;
		}
	}
}

static int
run_children(const struct serve_options *options, struct server *server,
    bool capture, struct error *err)
{
	const struct local_workers_options local = {
	    .server = server_worker_address(server),
	    .store = options->store,
	    .slots = options->workers,
	    .config = options->config,
	    .host_root = options->host_root,
	    .staging = options->staging,
	    .tree_cache_size = options->tree_cache_size,
	    .allow_network = options->allow_network,
	    .sandbox = options->sandbox,
	    .http = options->worker_http,
	    .insecure_listen = options->insecure_listen,
	    .log_level = options->log_level,
	    .log_format = options->log_format,
	    .properties = &options->properties,
	};
	const struct first_toolchain_options first = {
	    .server = server_worker_address(server),
	    .instance = serve_first_instance(options),
	    .digest_function = serve_first_function(options),
	};
	struct first_toolchain toolchain = {-1};
	struct local_workers *workers = NULL;
	sigset_t signals;

	signals_to_wait_for(&signals);
	if (options->workers > 0) {
		workers = local_workers_start(&local, err);
		if (workers == NULL)
			return -1;
	}
	/* A server without it is a server still. */
	if (capture && first_toolchain_start(&toolchain, &first, err) < 0)
		log_error("default_toolchain_not_captured", "error=\"%s\"",
		    err->text);
	tend(workers, &toolchain, &signals, options->shutdown_grace);
	server_drain(server);
	first_toolchain_stop(&toolchain);
	local_workers_stop(workers, options->shutdown_grace);
	return 0;
}

/* The server runs: says so, and serves until it is told to stop. */
static int
serve_until_stopped(struct server *server, const struct serve_options *options,
    struct error *err)
{
	char root[DIGEST_TEXT_MAX] = "";
	int found = server_default_toolchain(server, root, err);

	if (found < 0)
		return -1;
	server_start(server);
	printf("toolroot ready %s %s\n", server_grpc_address(server),
	    server_http_address(server));
	fflush(stdout);
	/* Programs that read JSON are no first users. */
	if (!log_is_json())
		print_first_steps(server, options, root);
	return run_children(
	    options, server, options->capture_default && found == 0, err);
}

static int
serve(const struct serve_options *options, struct error *err)
{
	struct server *server;
	sigset_t signals;
	int rc;

	signals_to_wait_for(&signals);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	rpc_init();
	server = server_open(options, err);
	if (server == NULL) {
		rpc_shutdown();
		return -1;
	}
	rc = serve_until_stopped(server, options, err);
	server_stop(server);
	server_close(server);
	rpc_shutdown();
	return rc;
}

int
serve_command(char **argv)
{
	struct serve_options options = {0};
	struct setting_arguments arguments;
	struct error err;
	int status = EXIT_USAGE;
	int rc =
	    settings_read(&serve_settings, argv, &options, &arguments, &err);

	if (rc > 0) {
		settings_help(&serve_settings);
		status = EXIT_SUCCESS;
	} else if (rc < 0) {
		fprintf(stderr, "toolroot serve: %s\n", err.text);
	} else if (arguments.count > 0) {
		fprintf(stderr,
		    "toolroot serve: unexpected argument \"%s\"; see "
		    "toolroot serve --help\n",
		    arguments.items[0]);
	} else if (serve_options_complete(&options, &err) < 0) {
		fprintf(stderr, "toolroot serve: %s\n", err.text);
	} else if (serve(&options, &err) < 0) {
		fprintf(stderr, "toolroot serve: %s\n", err.text);
		if (err.code != ERROR_INVALID_ARGUMENT)
			status = EXIT_FAILURE;
	} else {
		status = EXIT_SUCCESS;
	}
	free(arguments.items);
	settings_clear(&serve_settings, &options);
	return status;
}
