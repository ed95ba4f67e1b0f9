/* SPDX-License-Identifier: Apache-2.0 */
/* vfork, and little between it and the program. */
#include "client/cargo_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"

#define OUTPUT_MAX (256u << 20)
#define PIECE ((size_t)64 << 10)

/* --- starting ------------------------------------------------------------- */

/* Held while a child may have copies of our descriptors. */
static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;

struct child {
	char *const *argv;
	char *const *environment;
	const char *directory; /* NULL: where we are */
	const int *streams;    /* three */
	int last_signal;       /* when our thread ends before it */
	pid_t parent;
	int failure; /* a pipe that closes when it executes; else errno */
};

/* Executing would close them too, but after our parent goes on, and in the
 * order of their numbers: the end of the pipe would say nothing of them. */
static int
close_others(int kept)
{
	if (kept > 3 && close_range(3, (unsigned)kept - 1, 0) == -1)
		return -1;
	return close_range((unsigned)kept + 1, ~0U, 0);
}

/* In our memory until it executes: no call that locks or allocates. */
static _Noreturn void
become(struct child *child)
{
	const struct sigaction defaults = {.sa_handler = SIG_DFL};
	sigset_t none;
	bool ready;
	int number;

	sigaction(SIGPIPE, &defaults, NULL);
	sigaction(SIGINT, &defaults, NULL);
	sigaction(SIGTERM, &defaults, NULL);
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	ready = prctl(PR_SET_PDEATHSIG, child->last_signal) == 0 &&
		getppid() == child->parent &&
		(child->directory == NULL || chdir(child->directory) == 0);
	for (int fd = 0; fd <= STDERR_FILENO && ready; fd++)
		ready = child->streams[fd] == fd ||
			dup2(child->streams[fd], fd) != -1;
	if (ready)
		ready = close_others(child->failure) == 0;
	if (ready)
		execvpe(child->argv[0], child->argv, child->environment);
	number = errno;
	(void)!write(child->failure, &number, sizeof(number));
	_exit(EXIT_FAILURE);
}

/* The process, or -1 and errno. */
static pid_t
start(struct child *child)
{
	int ends[2], number = 0;
	sigset_t all, before;
	pid_t started;

	if (pipe2(ends, O_CLOEXEC) == -1)
		return -1;
	child->failure = ends[1];
	/* A handler of ours must not run in the child. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_mutex_lock(&starting);
	child->parent = getpid();
	/* become keeps to what a child may do in its parent's memory. */
	started = vfork(); /* NOLINT */
	if (started == 0)
		become(child); /* NOLINT */
	if (started == -1)
		number = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	file_close(&ends[1]);
	if (started != -1 && read(ends[0], &number, sizeof(number)) > 0) {
		waitpid(started, NULL, 0);
		started = -1;
	}
	file_close(&ends[0]);
	pthread_mutex_unlock(&starting);
	errno = number;
	return started;
}

void
cargo_process_settle(void)
{
	pthread_mutex_lock(&starting);
	pthread_mutex_unlock(&starting);
}

pid_t
cargo_process_start(
    char *const *argv, char *const *environment, int errors, struct error *err)
{
	const int streams[3] = {
	    STDIN_FILENO, STDOUT_FILENO, errors != -1 ? errors : STDERR_FILENO};
	/* It ends what it started. */
	struct child child = {.argv = argv,
	    .environment = environment,
	    .streams = streams,
	    .last_signal = SIGTERM};
	pid_t started = start(&child);

	if (started == -1)
		error_set_errno(err, errno, "start %s", argv[0]);
	return started;
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

/* --- the compiler --------------------------------------------------------- */

enum end { END_OWN, END_LATE, END_UNWANTED };

/* Where its end cannot be watched it is waited for. */
static enum end
await_end(pid_t started, const struct cargo_process *process)
{
	struct pollfd polled[2] = {
	    {.fd = (int)syscall(SYS_pidfd_open, started, 0), .events = POLLIN},
	    {.fd = process->wanted_by, .events = POLLRDHUP},
	};
	int rc;

	if (polled[0].fd == -1)
		return END_OWN;
	do
		rc = poll(polled, 2, (int)process->timeout_ms);
	while (rc == -1 && errno == EINTR);
	close(polled[0].fd);
	if (rc == 0)
		return END_LATE;
	return polled[0].revents == 0 && polled[1].revents != 0 ? END_UNWANTED
								: END_OWN;
}

/* outputs: for standard output and standard error; -1 is nowhere. */
static int
run(const struct cargo_process *process, char *const *argv,
    const int outputs[static 2], struct error *err)
{
	int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
	const int streams[3] = {nowhere,
	    outputs[0] != -1 ? outputs[0] : nowhere,
	    outputs[1] != -1 ? outputs[1] : nowhere};
	struct child child = {.argv = argv,
	    .environment = process->environment,
	    .directory = process->directory,
	    .streams = streams,
	    .last_signal = SIGKILL};
	pid_t started = nowhere != -1 ? start(&child) : -1;
	enum end end;
	int status;

	if (started == -1)
		error_set_errno(err, errno, "start %s", argv[0]);
	file_close(&nowhere);
	if (started == -1)
		return -1;
	end = await_end(started, process);
	if (end != END_OWN)
		kill(started, SIGKILL);
	status = cargo_process_wait(started, err);
	if (end == END_LATE)
		return error_set(err, ERROR_DEADLINE_EXCEEDED,
		    "%s was not done after %lld s", argv[0],
		    (long long)process->timeout_ms / 1000);
	if (end == END_UNWANTED)
		return error_set(
		    err, ERROR_CANCELLED, "cargo did not wait for it");
	return status;
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

char *
cargo_process_read(
    const struct cargo_process *process, char *const *argv, struct error *err)
{
	const int outputs[2] = {
	    memfd_create("output", MFD_CLOEXEC), STDERR_FILENO};
	struct buffer output;
	int fd = outputs[0];
	int status = -1;

	buffer_init(&output, OUTPUT_MAX);
	if (fd == -1)
		error_set_errno(err, errno, "memfd_create");
	else
		status = run(process, argv, outputs, err);
	if (status > 0)
		status = error_set(err, ERROR_FAILED_PRECONDITION,
		    "%s ended with status %d", argv[0], status);
	if (status == 0 && lseek(fd, 0, SEEK_SET) == -1)
		status = error_set_errno(err, errno, "lseek");
	if (status == 0)
		status = read_all(fd, &output, err);
	if (status == 0 && buffer_append(&output, "", 1) < 0)
		status = error_set(
		    err, ERROR_RESOURCE_EXHAUSTED, "the output is too long");
	file_close(&fd);
	if (status == 0)
		return output.data;
	buffer_clear(&output);
	return NULL;
}
