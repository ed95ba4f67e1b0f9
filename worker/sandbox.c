/* SPDX-License-Identifier: Apache-2.0 */
/* Drives one sandbox's first process over its socket. Thread: the slot's. */
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "worker/fd_message.h"
#include "worker/image_mount.h"
#include "worker/live_output.h"
#include "worker/sandbox_init.h"
#include "worker/sandbox_layout.h"
#include "worker/spawner.h"

/* How long the first process may take to end the action before it is killed
 * itself, and the measurements with it. */
#define KILL_PATIENCE_MS 10000
/* Files of one action that are mounted singly, at most; fs.mount-max is
 * 100,000. Each takes a descriptor until the sandbox starts. */
#define BINDS_LIMIT 50000
#define DESCRIPTORS_FOR_OTHERS 500

struct bind {
	int fd;
	bool mount;   /* it is a detached mount itself */
	char *target; /* below the root */
};

struct sandbox {
	struct spawner *spawner;
	size_t slot;
	struct spawned spawned;
	struct sandbox_layout layout;
	char *input_root_path;  /* as the action names it */
	char *input_root_below; /* below the root, "" or ending in "/" */
	char *host_path;        /* of the root, without namespaces */
	int input_root;
	int kept[2];   /* parts of the inputs' mount, or -1 */
	bool new_root; /* in place of the one that was spawned */
	struct bind *binds;
	size_t bind_count;
	size_t bind_capacity;
	size_t bind_limit;
};

static bool
fenced(const struct sandbox *sandbox)
{
	return spawner_tier(sandbox->spawner) != SANDBOX_NONE;
}

static int
find_host_path(struct sandbox *sandbox, struct error *err)
{
	char link[64];
	char path[4096];
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", sandbox->spawned.root);
	len = readlink(link, path, sizeof(path));
	if (len == -1 || (size_t)len == sizeof(path))
		return error_set_errno(err, errno, "name the action's root");
	sandbox->host_path = xstrndup(path, (size_t)len);
	return 0;
}

/* A slot's fair share of the descriptors we may have. */
static size_t
limit_of_binds(const struct spawner *spawner)
{
	size_t slots = spawner_options(spawner)->slots;
	struct rlimit limit;
	size_t share;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1 ||
	    limit.rlim_cur <= DESCRIPTORS_FOR_OTHERS)
		return 0;
	share = (size_t)(limit.rlim_cur - DESCRIPTORS_FOR_OTHERS) / slots;
	return share < BINDS_LIMIT ? share : BINDS_LIMIT;
}

struct sandbox *
sandbox_new(struct spawner *spawner, size_t slot, struct error *err)
{
	struct sandbox *sandbox = xcalloc(1, sizeof(*sandbox));

	sandbox->spawner = spawner;
	sandbox->slot = slot;
	sandbox->spawned = SPAWNED_NONE;
	sandbox->input_root = -1;
	sandbox->kept[0] = sandbox->kept[1] = -1;
	sandbox->bind_limit = limit_of_binds(spawner);
	if (spawner_take(spawner, slot, &sandbox->spawned, err) < 0 ||
	    (!fenced(sandbox) && find_host_path(sandbox, err) < 0)) {
		sandbox_free(sandbox);
		return NULL;
	}
	return sandbox;
}

static void
drop_binds(struct sandbox *sandbox)
{
	for (size_t i = 0; i < sandbox->bind_count; i++) {
		file_close(&sandbox->binds[i].fd);
		free(sandbox->binds[i].target);
	}
	sandbox->bind_count = 0;
}

void
sandbox_free(struct sandbox *sandbox)
{
	struct error err;

	if (sandbox == NULL)
		return;
	/* Our hold on the files first: so it is the sandbox's own end, beside
	 * us, that frees them. */
	file_close(&sandbox->input_root);
	file_close(&sandbox->spawned.root);
	file_close(&sandbox->spawned.layers);
	file_close(&sandbox->kept[0]);
	file_close(&sandbox->kept[1]);
	drop_binds(sandbox);
	/* Closing the socket lets the first process go; the kill is for one
	 * that was never started or is stuck. */
	if (sandbox->spawned.pidfd != -1)
		(void)pidfd_send_signal(
		    sandbox->spawned.pidfd, SIGKILL, NULL, 0);
	file_close(&sandbox->spawned.pidfd);
	file_close(&sandbox->spawned.socket);
	if (sandbox->host_path != NULL &&
	    file_remove_tree(sandbox->host_path, &err) < 0)
		log_warn("scratch_left", "path=\"%s\" error=\"%s\"",
		    sandbox->host_path, err.text);
	spawner_prepare(sandbox->spawner, sandbox->slot);
	free(sandbox->binds);
	free(sandbox->host_path);
	free(sandbox->input_root_path);
	free(sandbox->input_root_below);
	free(sandbox);
}

/* Takes fd and target, which is below the root. */
static void
add_bind(struct sandbox *sandbox, int fd, char *target)
{
	if (sandbox->bind_count == sandbox->bind_capacity) {
		sandbox->bind_capacity = sandbox->bind_capacity * 2 + 16;
		sandbox->binds = xreallocarray(sandbox->binds,
		    sandbox->bind_capacity, sizeof(*sandbox->binds));
	}
	sandbox->binds[sandbox->bind_count++] =
	    (struct bind){.fd = fd, .target = target};
}

static void
bind_graft(void *cookie, int fd, const char *target)
{
	add_bind(cookie, fd, xstrdup(target));
}

/* The upper directory of the inputs' root, so that nothing has to be copied up
 * when outputs are made there. */
static int
make_upper(const struct sandbox *sandbox, const struct sandbox_inputs *inputs,
    struct error *err)
{
	const struct timespec times[2] = {inputs->time, inputs->time};
	int layers = sandbox->spawned.layers;
	bool root = inputs->top[0] == '\0';
	char path[64];

	snprintf(path, sizeof(path), IMAGE_MOUNT_UPPER "/%s", inputs->top);
	if ((!root && mkdirat(layers, path, 0755) == -1) ||
	    (inputs->mode != 0755 &&
		fchmodat(layers, path, inputs->mode, 0) == -1) ||
	    fchownat(layers, path, SANDBOX_UID, SANDBOX_GID, 0) == -1 ||
	    utimensat(layers, path, times, 0) == -1)
		return error_set_errno(err, errno, "set up the input root");
	return 0;
}

/* The inputs become the root itself, or what is mounted first. */
static int
mount_inputs(
    struct sandbox *sandbox, const struct sandbox_view *view, struct error *err)
{
	struct image_layers layers = {.image = view->inputs->image,
	    .bodies = view->inputs->bodies,
	    .top = view->inputs->top,
	    .lowers = view->inputs->lowers,
	    .lower_count = view->inputs->lower_count,
	    .place = -1,
	    .scratch = sandbox->spawned.layers};
	struct image_mounts mounts;

	if (spawner_staging(sandbox->spawner) == STAGING_EROFS_PATH) {
		if (spawner_attach(sandbox->spawner, sandbox->slot,
			layers.scratch, err) < 0)
			return -1;
		layers.place = layers.scratch;
	}
	if (make_upper(sandbox, view->inputs, err) < 0 ||
	    image_mount(&layers, &mounts, err) < 0)
		return -1;
	sandbox->kept[0] = mounts.lower;
	sandbox->kept[1] = mounts.whole;
	if (view->input_root[0] == '\0') {
		file_close(&sandbox->spawned.root);
		sandbox->spawned.root = mounts.shown;
		sandbox->new_root = true;
		return 0;
	}
	add_bind(sandbox, mounts.shown, xstrdup(view->input_root));
	sandbox->binds[0].mount = true;
	return 0;
}

int
sandbox_lay_out(
    struct sandbox *sandbox, const struct sandbox_view *view, struct error *err)
{
	const char *input_root = view->input_root;

	if (view->inputs != NULL && mount_inputs(sandbox, view, err) < 0)
		return -1;
	sandbox->layout = (struct sandbox_layout){.fenced = fenced(sandbox),
	    .host_root = spawner_options(sandbox->spawner)->host_root,
	    .chown = sandbox_needs_chown(sandbox),
	    .new_root = sandbox->new_root,
	    .input_root = input_root,
	    .inputs = sandbox->bind_count > 0 ? sandbox->binds[0].fd : -1,
	    .grafts = {.items = view->grafts,
		.count = view->graft_count,
		.bind = bind_graft,
		.cookie = sandbox}};
	sandbox->input_root =
	    sandbox_layout_make(&sandbox->layout, sandbox->spawned.root, err);
	sandbox->input_root_path = xasprintf("%s/%s",
	    sandbox->host_path != NULL ? sandbox->host_path : "", input_root);
	sandbox->input_root_below =
	    xasprintf("%s%s", input_root, input_root[0] != '\0' ? "/" : "");
	/* Borrowed for this call. */
	sandbox->layout.input_root = NULL;
	sandbox->layout.grafts = (struct sandbox_grafts){.count = 0};
	return sandbox->input_root;
}

const char *
sandbox_input_root(const struct sandbox *sandbox)
{
	return sandbox->input_root_path;
}

bool
sandbox_shows_host(const struct sandbox *sandbox)
{
	for (size_t i = 0; i < sandbox->layout.mount_count; i++)
		if (sandbox->layout.mounts[i].kind == RUN_MOUNT_HOST)
			return true;
	return !fenced(sandbox);
}

bool
sandbox_needs_chown(const struct sandbox *sandbox)
{
	return spawner_tier(sandbox->spawner) == SANDBOX_NAMESPACES;
}

bool
sandbox_can_bind(const struct sandbox *sandbox)
{
	return fenced(sandbox) && sandbox->bind_count < sandbox->bind_limit;
}

void
sandbox_bind(struct sandbox *sandbox, int fd, const char *target)
{
	add_bind(
	    sandbox, fd, xasprintf("%s%s", sandbox->input_root_below, target));
}

/* Known mounts first, then those that will be sent, in their order. */
static void
fill_spec(const struct sandbox *sandbox, struct run_spec *spec)
{
	size_t known = sandbox->layout.mount_count;

	spec->new_root = sandbox->new_root;
	spec->mount_count = known + sandbox->bind_count;
	spec->mounts = xcalloc(spec->mount_count + 1, sizeof(*spec->mounts));
	if (known > 0)
		memcpy(spec->mounts, sandbox->layout.mounts,
		    known * sizeof(*spec->mounts));
	for (size_t i = 0; i < sandbox->bind_count; i++)
		spec->mounts[known + i] = (struct run_mount){
		    RUN_MOUNT_FD, "", sandbox->binds[i].target};
}

static int
send_start(struct sandbox *sandbox, struct run_spec *spec,
    const struct sandbox_outcome *outcome, struct error *err)
{
	struct sandbox_request request = {SANDBOX_START};
	struct fd_message message = {.data = &request,
	    .len = sizeof(request),
	    .fd_count = SANDBOX_FD_COUNT};
	const int kept[SANDBOX_KEPT_MAX] = {
	    sandbox->kept[0], sandbox->kept[1], sandbox->spawned.layers};
	int spec_fd = -1;
	int rc = -1;

	fill_spec(sandbox, spec);
	if (run_spec_write(spec, &spec_fd, err) < 0)
		goto out;
	message.fds[SANDBOX_FD_ROOT] = sandbox->spawned.root;
	message.fds[SANDBOX_FD_SPEC] = spec_fd;
	message.fds[SANDBOX_FD_STDOUT] = outcome->output.write_fd;
	message.fds[SANDBOX_FD_STDERR] = outcome->errors.write_fd;
	for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++)
		if (kept[i] != -1)
			message.fds[message.fd_count++] = kept[i];
	rc = fd_message_send(sandbox->spawned.socket, &message, err);
	file_close(&sandbox->kept[0]);
	file_close(&sandbox->kept[1]);
	file_close(&sandbox->spawned.layers);
out:
	file_close(&spec_fd);
	free(spec->mounts);
	return rc;
}

/* Mounts are passed on as they are. */
static int
send_mount(struct sandbox *sandbox, const struct bind *bind, struct error *err)
{
	struct sandbox_request request = {SANDBOX_MOUNTS};
	const struct fd_message message = {.data = &request,
	    .len = sizeof(request),
	    .fds = {bind->fd},
	    .fd_count = 1};

	return fd_message_send(sandbox->spawned.socket, &message, err);
}

/* Turns the files to bind into mounts and passes them on, a batch at a time.
 */
static int
send_mounts(struct sandbox *sandbox, struct error *err)
{
	struct sandbox_request request = {SANDBOX_MOUNTS};
	struct fd_message message;
	size_t next = 0;
	int rc = 0;

	if (sandbox->bind_count > 0 && sandbox->binds[0].mount)
		rc = send_mount(sandbox, &sandbox->binds[next++], err);
	while (next < sandbox->bind_count && rc == 0) {
		message.fd_count = 0;
		while (next < sandbox->bind_count &&
		       message.fd_count < FD_MESSAGE_FDS_MAX)
			message.fds[message.fd_count++] =
			    sandbox->binds[next++].fd;
		if (spawner_clone_mounts(
			sandbox->spawner, sandbox->slot, &message, err) < 0)
			return -1;
		message.data = &request;
		message.len = sizeof(request);
		rc = fd_message_send(sandbox->spawned.socket, &message, err);
		fd_message_close(&message);
	}
	drop_binds(sandbox);
	return rc;
}

static int
receive_report(
    struct sandbox *sandbox, struct sandbox_report *report, struct error *err)
{
	struct fd_message message = {.data = report, .len = sizeof(*report)};
	int rc = fd_message_receive(sandbox->spawned.socket, &message, err);

	if (rc == 0)
		return error_set(err, ERROR_INTERNAL,
		    "the sandbox died while the action ran (out of memory?)");
	fd_message_close(&message);
	return rc < 0 ? -1 : 0;
}

/* Asks the first process to end the action. */
static void
request_kill(struct sandbox *sandbox)
{
	struct sandbox_request request = {SANDBOX_KILL};
	struct fd_message message = {.data = &request, .len = sizeof(request)};
	struct error err;

	/* If it is gone, the wait for its report finds that out. */
	(void)fd_message_send(sandbox->spawned.socket, &message, &err);
}

struct run {
	struct sandbox *sandbox;
	struct sandbox_outcome *outcome;
	int cancel_fd;
	struct live_output *live;
	int64_t deadline_ms; /* when to lose patience next */
	int64_t started_ns;
	bool killing;
	bool died; /* without a report */
};

static void
end_early(struct run *run, bool timed_out)
{
	run->outcome->timed_out = timed_out;
	run->outcome->cancelled = !timed_out;
	run->killing = true;
	run->cancel_fd = -1;
	run->deadline_ms = clock_monotonic_ms() + KILL_PATIENCE_MS;
	request_kill(run->sandbox);
}

static void
handle_deadline(struct run *run)
{
	if (!run->killing) {
		end_early(run, true);
		return;
	}
	(void)pidfd_send_signal(run->sandbox->spawned.pidfd, SIGKILL, NULL, 0);
	run->deadline_ms = CLOCK_NEVER;
}

static int
poll_timeout(int64_t deadline_ms)
{
	int64_t left = deadline_ms - clock_monotonic_ms();

	if (left <= 0)
		return 0;
	return left > 3600000 ? 3600000 : (int)left;
}

/* Drains both streams until the report comes. */
static int
wait_for_report(
    struct run *run, struct sandbox_report *report, struct error *err)
{
	struct capture *output = &run->outcome->output;
	struct capture *errors = &run->outcome->errors;

	for (;;) {
		struct pollfd polls[4] = {
		    {run->sandbox->spawned.socket, POLLIN, 0},
		    {output->read_fd, POLLIN, 0}, {errors->read_fd, POLLIN, 0},
		    {run->cancel_fd, POLLIN, 0}};

		if (poll(polls, 4, poll_timeout(run->deadline_ms)) == -1)
			continue;
		if (polls[1].revents != 0)
			capture_drain(output);
		if (polls[2].revents != 0)
			capture_drain(errors);
		if (run->live != NULL)
			live_output_grown(run->live);
		if (polls[0].revents != 0) {
			run->died =
			    receive_report(run->sandbox, report, err) < 0;
			return run->died ? -1 : 0;
		}
		if (polls[3].revents != 0)
			end_early(run, false);
		if (clock_monotonic_ms() >= run->deadline_ms)
			handle_deadline(run);
	}
}

static void
take_report(
    const struct sandbox_report *report, struct sandbox_outcome *outcome)
{
	int64_t ago = clock_monotonic_ns() - report->ended_ns;

	outcome->exit_code = WIFSIGNALED(report->wait_status)
				 ? 128 + WTERMSIG(report->wait_status)
				 : WEXITSTATUS(report->wait_status);
	outcome->duration_ns = report->ended_ns - report->started_ns;
	outcome->completed_wall_ns = clock_wall_ns() - ago;
	outcome->started_wall_ns =
	    outcome->completed_wall_ns - outcome->duration_ns;
	outcome->user_us = report->user_us;
	outcome->system_us = report->system_us;
	outcome->max_rss_bytes = report->max_rss_bytes;
	outcome->usage = report->usage;
	if (report->usage.oom_kills > 0)
		outcome->exit_code = 128 + SIGKILL;
	/* It ended by itself before the order arrived. */
	if (report->killed == 0)
		outcome->timed_out = outcome->cancelled = false;
}

/* The first process was to end the action, and went with it: it was stuck, or
 * killed. What the action used is not known then. */
static void
take_death(const struct run *run)
{
	struct sandbox_outcome *outcome = run->outcome;

	outcome->exit_code = 128 + SIGKILL;
	outcome->duration_ns = clock_monotonic_ns() - run->started_ns;
	outcome->completed_wall_ns = clock_wall_ns();
	outcome->started_wall_ns =
	    outcome->completed_wall_ns - outcome->duration_ns;
}

/* Of the file system made for the action; without namespaces it is the host's.
 */
static bool
scratch_is_full(const struct sandbox *sandbox)
{
	struct statvfs status;

	return fenced(sandbox) &&
	       fstatvfs(sandbox->spawned.root, &status) == 0 &&
	       (status.f_bfree == 0 || status.f_ffree == 0);
}

static int
run_spec(struct run *run, struct run_spec *spec, struct sandbox_report *report,
    struct error *err)
{
	struct sandbox_outcome *outcome = run->outcome;
	struct error sending;
	int sent;

	if (send_start(run->sandbox, spec, outcome, err) < 0)
		return -1;
	file_close(&outcome->output.write_fd);
	file_close(&outcome->errors.write_fd);
	sent = send_mounts(run->sandbox, &sending);
	if (sent < 0 && sending.code != ERROR_UNAVAILABLE) {
		*err = sending;
		return -1;
	}
	/* A first process that is gone may have left its reason. */
	if (wait_for_report(run, report, err) < 0)
		return -1;
	if (report->error.code != ERROR_OK) {
		*err = report->error;
		return -1;
	}
	return 0;
}

int
sandbox_run(struct sandbox *sandbox, const struct sandbox_command *command,
    struct sandbox_outcome *outcome, struct error *err)
{
	struct run run = {.sandbox = sandbox,
	    .outcome = outcome,
	    .cancel_fd = command->cancel_fd,
	    .live = command->live,
	    .deadline_ms = clock_monotonic_ms() + command->timeout_ms,
	    .started_ns = clock_monotonic_ns()};
	struct run_spec spec = {.arguments = command->arguments,
	    .argument_count = command->argument_count,
	    .environment = command->environment,
	    .environment_count = command->environment_count,
	    .search_path = command->search_path,
	    .network = command->network,
	    .limits = command->limits};
	pthread_mutex_t *guard =
	    command->live != NULL ? &command->live->lock : NULL;
	struct sandbox_report report;
	char *directory = NULL;
	int rc = -1;

	memset(outcome, 0, sizeof(*outcome));
	if (capture_open(&outcome->output, command->stream_limit, guard, err) <
		0 ||
	    capture_open(&outcome->errors, command->stream_limit, guard, err) <
		0)
		return -1;
	if (command->live != NULL)
		live_output_begin(
		    command->live, &outcome->output, &outcome->errors);
	directory = xasprintf("%s%s%s", sandbox->input_root_path,
	    command->working_directory[0] != '\0' ? "/" : "",
	    command->working_directory);
	spec.working_directory = directory;
	if (run_spec(&run, &spec, &report, err) == 0) {
		take_report(&report, outcome);
		outcome->scratch_full = scratch_is_full(sandbox);
		rc = 0;
	} else if (run.died && run.killing) {
		take_death(&run);
		rc = 0;
	}
	capture_finish(&outcome->output);
	capture_finish(&outcome->errors);
	if (command->live != NULL)
		live_output_end(command->live);
	free(directory);
	return rc;
}

void
sandbox_outcome_clear(struct sandbox_outcome *outcome)
{
	capture_close(&outcome->output);
	capture_close(&outcome->errors);
}

int
sandbox_try(struct sandbox *sandbox, struct error *err)
{
	struct sandbox_command nothing = {.search_path = "",
	    .working_directory = "",
	    .timeout_ms = 60000,
	    .cancel_fd = -1,
	    .stream_limit = 1,
	    .limits = spawner_options(sandbox->spawner)->limits};
	const struct sandbox_view view = {.input_root = "b"};
	struct sandbox_outcome outcome;
	int rc = -1;

	if (sandbox_lay_out(sandbox, &view, err) < 0)
		return -1;
	if (sandbox_run(sandbox, &nothing, &outcome, err) == 0)
		rc = 0;
	sandbox_outcome_clear(&outcome);
	return rc;
}
