/* SPDX-License-Identifier: Apache-2.0 */
/* Spawning with and without a pipe. No state. */
#include "client/cargo_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"

#define OUTPUT_MAX (256u << 20)
#define PIECE ((size_t)64 << 10)

static int
spawn(pid_t *process, const posix_spawn_file_actions_t *actions,
    char *const *argv, char *const *environment)
{
	posix_spawnattr_t attributes;
	sigset_t none, defaults;
	int number;

	sigemptyset(&none);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	sigaddset(&defaults, SIGINT);
	sigaddset(&defaults, SIGTERM);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &defaults);
	posix_spawnattr_setflags(
	    &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	number = posix_spawnp(
	    process, argv[0], actions, &attributes, argv, environment);
	posix_spawnattr_destroy(&attributes);
	return number;
}

pid_t
cargo_process_start(
    char *const *argv, char *const *environment, int errors, struct error *err)
{
	posix_spawn_file_actions_t actions;
	pid_t process;
	int number;

	posix_spawn_file_actions_init(&actions);
	if (errors != -1)
		posix_spawn_file_actions_adddup2(
		    &actions, errors, STDERR_FILENO);
	number = spawn(&process, &actions, argv, environment);
	posix_spawn_file_actions_destroy(&actions);
	if (number == 0)
		return process;
	error_set_errno(err, number, "start %s", argv[0]);
	return -1;
}

int
cargo_process_wait(pid_t process, struct error *err)
{
	int status;

	while (waitpid(process, &status, 0) == -1) {
		if (errno != EINTR)
			return error_set_errno(err, errno, "wait for cargo");
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int
read_all(int fd, struct buffer *output, struct error *err)
{
	for (;;) {
		char *room = buffer_reserve(output, PIECE);
		ssize_t got;

		if (room == NULL)
			return error_set(err, ERROR_RESOURCE_EXHAUSTED,
			    "the output is too long");
		got = read(fd, room, PIECE);
		if (got == -1 && errno == EINTR)
			continue;
		if (got == -1)
			return error_set_errno(err, errno, "read");
		if (got == 0)
			return 0;
		output->len += (size_t)got;
	}
}

char *
cargo_process_read(char *const *argv, struct error *err)
{
	posix_spawn_file_actions_t actions;
	struct buffer output;
	int ends[2], number, rc;
	pid_t process;

	if (pipe2(ends, O_CLOEXEC) == -1) {
		error_set_errno(err, errno, "pipe");
		return NULL;
	}
	buffer_init(&output, OUTPUT_MAX);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	number = spawn(&process, &actions, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	file_close(&ends[1]);
	if (number != 0) {
		error_set_errno(err, number, "start %s", argv[0]);
		file_close(&ends[0]);
		return NULL;
	}
	rc = read_all(ends[0], &output, err);
	file_close(&ends[0]);
	number = cargo_process_wait(process, err);
	if (rc == 0 && number != 0)
		rc = number < 0
			 ? -1
			 : error_set(err, ERROR_FAILED_PRECONDITION,
			       "%s ended with status %d", argv[0], number);
	if (rc == 0 && buffer_append(&output, "", 1) == 0)
		return output.data;
	buffer_clear(&output);
	return NULL;
}

/* --- the compiler --------------------------------------------------------- */

/* Readable once it has ended; where that cannot be had it is waited for. */
static bool
ends_within(pid_t process, int64_t timeout_ms)
{
	struct pollfd polled = {
	    .fd = (int)syscall(SYS_pidfd_open, process, 0), .events = POLLIN};
	int rc;

	if (polled.fd == -1)
		return true;
	do
		rc = poll(&polled, 1, (int)timeout_ms);
	while (rc == -1 && errno == EINTR);
	close(polled.fd);
	return rc != 0;
}

/* outputs: for standard output and standard error; -1 is nowhere. */
static int
run(const struct cargo_process *process, char *const *argv,
    const int outputs[static 2], struct error *err)
{
	posix_spawn_file_actions_t actions;
	pid_t started;
	int number;
	bool ended;

	posix_spawn_file_actions_init(&actions);
	for (int fd = 0; fd <= STDERR_FILENO; fd++) {
		int to = fd > 0 ? outputs[fd - 1] : -1;

		if (to != -1)
			posix_spawn_file_actions_adddup2(&actions, to, fd);
		else
			posix_spawn_file_actions_addopen(
			    &actions, fd, "/dev/null", O_RDWR, 0);
	}
	posix_spawn_file_actions_addchdir_np(&actions, process->directory);
	number = spawn(&started, &actions, argv, process->environment);
	posix_spawn_file_actions_destroy(&actions);
	if (number != 0)
		return error_set_errno(err, number, "start %s", argv[0]);
	ended = ends_within(started, process->timeout_ms);
	if (!ended)
		kill(started, SIGKILL);
	number = cargo_process_wait(started, err);
	if (!ended)
		return error_set(err, ERROR_DEADLINE_EXCEEDED,
		    "%s was not done after %lld s", argv[0],
		    (long long)process->timeout_ms / 1000);
	return number;
}

int
cargo_process_run(
    const struct cargo_process *process, char *const *argv, struct error *err)
{
	const int nowhere[2] = {-1, -1};

	return run(process, argv, nowhere, err);
}

int
cargo_process_capture(const struct cargo_process *process, char *const *argv,
    struct buffer *output, struct buffer *errors, struct error *err)
{
	int files[2] = {memfd_create("output", MFD_CLOEXEC),
	    memfd_create("errors", MFD_CLOEXEC)};
	int status = -1;

	if (files[0] == -1 || files[1] == -1)
		error_set_errno(err, errno, "memfd_create");
	else
		status = run(process, argv, files, err);
	if (status >= 0 && (lseek(files[0], 0, SEEK_SET) == -1 ||
			       lseek(files[1], 0, SEEK_SET) == -1))
		status = error_set_errno(err, errno, "lseek");
	if (status >= 0 && (read_all(files[0], output, err) < 0 ||
			       read_all(files[1], errors, err) < 0))
		status = -1;
	file_close(&files[0]);
	file_close(&files[1]);
	return status;
}
