/* SPDX-License-Identifier: Apache-2.0 */
/* posix_spawn with a pipe; the child's group is killed when it takes too long.
 */
#include "client/capture_run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#define TIMEOUT_MS 60000
#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

static const char *
search_path(void)
{
	const char *path = getenv("PATH");

	return path != NULL ? path : DEFAULT_PATH;
}

/* Symbolic links stay: they are part of what is captured. */
static char *
absolute_path(const char *path)
{
	char here[PATH_MAX];

	if (access(path, X_OK) == -1)
		return NULL;
	if (path[0] == '/')
		return xstrdup(path);
	if (getcwd(here, sizeof(here)) == NULL)
		return NULL;
	return xasprintf("%s/%s", here, path);
}

char *
capture_run_find(const char *program)
{
	struct str rest = str_from(search_path());

	if (strchr(program, '/') != NULL)
		return absolute_path(program);
	while (rest.data != NULL) {
		struct str directory = str_cut(&rest, ':');
		char *path;

		if (directory.len == 0 || directory.data[0] != '/')
			continue;
		path = xasprintf("%.*s/%s", STR_ARG(directory), program);
		if (access(path, X_OK) == 0)
			return path;
		free(path);
	}
	return NULL;
}

/* --- running -------------------------------------------------------------- */

struct child {
	char *const *argv;
	bool both; /* standard error is read as well */
	pid_t pid;
	int output; /* our end of the pipe */
};

static int
child_actions(
    posix_spawn_file_actions_t *actions, const struct child *child, int output)
{
	int rc = posix_spawn_file_actions_init(actions);

	if (rc == 0)
		rc = posix_spawn_file_actions_addopen(
		    actions, 0, "/dev/null", O_RDONLY, 0);
	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(actions, output, 1);
	if (rc == 0 && child->both)
		rc = posix_spawn_file_actions_adddup2(actions, output, 2);
	else if (rc == 0)
		rc = posix_spawn_file_actions_addopen(
		    actions, 2, "/dev/null", O_WRONLY, 0);
	return rc;
}

/* What the answers may depend on; LIBRARY_PATH and its like must not be. */
static const char *const passed[] = {
    "HOME", "RUSTUP_HOME", "CARGO_HOME", "RUSTUP_TOOLCHAIN"};

#define PASSED (sizeof(passed) / sizeof(passed[0]))
#define ENVIRONMENT_MAX (PASSED + 3)

/* NULL-terminated; the elements are the caller's. */
static void
make_environment(char *environment[static ENVIRONMENT_MAX])
{
	size_t count = 0;

	environment[count++] = xasprintf("PATH=%s", search_path());
	environment[count++] = xstrdup("LC_ALL=C");
	for (size_t i = 0; i < PASSED; i++) {
		const char *value = getenv(passed[i]);

		if (value != NULL)
			environment[count++] =
			    xasprintf("%s=%s", passed[i], value);
	}
	environment[count] = NULL;
}

static int
child_spawn(struct child *child, int output, struct error *err)
{
	char *environment[ENVIRONMENT_MAX];
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int rc = posix_spawnattr_init(&attributes);

	make_environment(environment);
	if (rc == 0)
		rc = posix_spawnattr_setflags(
		    &attributes, POSIX_SPAWN_SETPGROUP);
	if (rc == 0)
		rc = child_actions(&actions, child, output);
	if (rc == 0)
		rc = posix_spawnp(&child->pid, child->argv[0], &actions,
		    &attributes, child->argv, environment);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)posix_spawnattr_destroy(&attributes);
	for (size_t i = 0; environment[i] != NULL; i++)
		free(environment[i]);
	if (rc == 0)
		return 0;
	error_set_errno(err, rc, "run %s", child->argv[0]);
	err->code = ERROR_FAILED_PRECONDITION;
	return -1;
}

static int
child_start(struct child *child, struct error *err)
{
	int ends[2];
	int rc;

	if (pipe2(ends, O_CLOEXEC) == -1)
		return error_set_errno(err, errno, "pipe");
	rc = child_spawn(child, ends[1], err);
	file_close(&ends[1]);
	child->output = ends[0];
	if (rc < 0)
		file_close(&child->output);
	return rc;
}

static int
child_read(struct child *child, struct buffer *output, struct error *err)
{
	int64_t end = clock_monotonic_ms() + TIMEOUT_MS;
	struct pollfd wait = {child->output, POLLIN, 0};

	for (;;) {
		int64_t left = end - clock_monotonic_ms();
		char piece[4096];
		ssize_t got;

		if (left <= 0)
			return error_set(err, ERROR_FAILED_PRECONDITION,
			    "it did not end within %d s", TIMEOUT_MS / 1000);
		if (poll(&wait, 1, (int)left) <= 0)
			continue;
		got = read(child->output, piece, sizeof(piece));
		if (got == 0)
			return 0;
		if (got == -1 && errno != EINTR)
			return error_set_errno(err, errno, "read");
		if (got > 0 && buffer_append(output, piece, (size_t)got) < 0)
			return error_set(err, ERROR_FAILED_PRECONDITION,
			    "it prints more than %zu bytes", output->limit);
	}
}

static void
append_tail(struct error *err, const struct buffer *output)
{
	const char *tail = output->data != NULL ? output->data : "";
	size_t len = output->len;
	char shown[200];

	if (len == 0)
		return;
	while (len > 0 && (tail[len - 1] == '\n' || tail[len - 1] == ' '))
		len--;
	if (len > sizeof(shown) - 1) {
		tail += len - (sizeof(shown) - 1);
		len = sizeof(shown) - 1;
	}
	memcpy(shown, tail, len);
	shown[len] = '\0';
	error_set(err, err->code, "exit status not 0; it printed: %s", shown);
}

static int
child_end(
    struct child *child, int rc, const struct buffer *output, struct error *err)
{
	int status;

	file_close(&child->output);
	if (rc < 0)
		(void)kill(-child->pid, SIGKILL);
	while (waitpid(child->pid, &status, 0) == -1 && errno == EINTR)
		;
	if (rc == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
		rc = error_set(err, ERROR_FAILED_PRECONDITION,
		    "it ended with status %d",
		    WIFEXITED(status) ? WEXITSTATUS(status)
				      : 128 + WTERMSIG(status));
		append_tail(err, output);
	}
	if (rc < 0)
		error_prefix(err, "run %s %s", child->argv[0],
		    child->argv[1] != NULL ? child->argv[1] : "");
	return rc;
}

static int
run(char *const argv[], bool both, struct buffer *output, struct error *err)
{
	struct child child = {.argv = argv, .both = both};

	/* So that output->data is a text even if nothing is printed. */
	if (buffer_append(output, "", 0) < 0 || child_start(&child, err) < 0)
		return -1;
	return child_end(&child, child_read(&child, output, err), output, err);
}

int
capture_run(char *const argv[], struct buffer *output, struct error *err)
{
	return run(argv, true, output, err);
}

char *
capture_run_text(char *const argv[], struct error *err)
{
	struct buffer output;
	char *text = NULL;

	buffer_init(&output, CAPTURE_RUN_OUTPUT_MAX);
	if (run(argv, false, &output, err) == 0) {
		size_t len = output.len;

		while (len > 0 && (output.data[len - 1] == '\n' ||
				      output.data[len - 1] == ' '))
			len--;
		text = xstrndup(len > 0 ? output.data : "", len);
	}
	buffer_clear(&output);
	return text;
}
