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
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#define TIMEOUT_MS 60000
/* Of what a program said before it failed. */
#define TAIL_MAX 200
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
capture_run_find_other(const char *program, bool (*unwanted)(const char *path))
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
		if (access(path, X_OK) == 0 &&
		    (unwanted == NULL || !unwanted(path)))
			return path;
		free(path);
	}
	return NULL;
}

char *
capture_run_find(const char *program)
{
	return capture_run_find_other(program, NULL);
}

/* --- running -------------------------------------------------------------- */

struct child {
	char *const *argv;
	bool both;  /* standard error is read as well */
	int errors; /* else it goes here: a file, for when it fails */
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
		rc =
		    posix_spawn_file_actions_adddup2(actions, child->errors, 2);
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

/* The end of what it printed on standard error, as one line. */
static void
print_tail(const struct child *child, const struct buffer *output,
    char tail[static TAIL_MAX])
{
	struct str text = buffer_str(output);
	char piece[TAIL_MAX];
	ssize_t got;

	if (!child->both) {
		off_t size = lseek(child->errors, 0, SEEK_END);
		off_t at = size > TAIL_MAX - 1 ? size - (TAIL_MAX - 1) : 0;

		got = pread(child->errors, piece, TAIL_MAX - 1, at);
		text = (struct str){piece, got > 0 ? (size_t)got : 0};
	}
	while (text.len > 0 && text.data[text.len - 1] == '\n')
		text.len--;
	if (text.len > TAIL_MAX - 1) {
		text.data += text.len - (TAIL_MAX - 1);
		text.len = TAIL_MAX - 1;
	}
	memcpy(tail, text.data, text.len);
	for (size_t i = 0; i < text.len; i++) {
		if ((unsigned char)tail[i] < ' ')
			tail[i] = ' ';
	}
	tail[text.len] = '\0';
}

static int
child_end(
    struct child *child, int rc, const struct buffer *output, struct error *err)
{
	char tail[TAIL_MAX];
	int status;

	file_close(&child->output);
	if (rc < 0)
		(void)kill(-child->pid, SIGKILL);
	while (waitpid(child->pid, &status, 0) == -1 && errno == EINTR)
		;
	if (rc == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
		print_tail(child, output, tail);
		rc = error_set(err, ERROR_FAILED_PRECONDITION,
		    "it ended with status %d: %s",
		    WIFEXITED(status) ? WEXITSTATUS(status)
				      : 128 + WTERMSIG(status),
		    tail);
	}
	if (rc < 0)
		error_prefix(err, "run %s %s", child->argv[0],
		    child->argv[1] != NULL ? child->argv[1] : "");
	return rc;
}

static int
run(char *const argv[], bool both, struct buffer *output, struct error *err)
{
	struct child child = {.argv = argv,
	    .both = both,
	    .errors = memfd_create("errors", MFD_CLOEXEC)};
	int rc;

	if (child.errors == -1)
		return error_set_errno(err, errno, "memfd_create");
	rc = child_start(&child, err);
	if (rc == 0)
		rc = child_end(
		    &child, child_read(&child, output, err), output, err);
	file_close(&child.errors);
	return rc;
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
