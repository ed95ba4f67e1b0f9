/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A child enters the namespace and becomes the compiler. Its standard error
 * comes through a pipe: notices of finished files go on at once, since cargo
 * waits for them, the rest when it is clear that the run counts.
 */
#include "client/cargo_local.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/cargo_dep_info.h"
#include "client/cargo_message.h"
#include "client/cargo_early_metadata.h"
#include "client/cargo_namespace.h"
#include "client/cargo_notice.h"
#include "client/cargo_paths.h"

#define TEXT_MAX (64u << 20)
#define PIECE ((size_t)64 << 10)

struct run {
	const struct cargo_message_place *place;
	struct cargo_paths paths;
	pid_t process;
	int messages; /* what the compiler says */
	int started;  /* one byte when it could not be started, else none */
	struct buffer line;
	struct buffer held;
	bool noticed; /* cargo was told of a file that it builds on */
	struct cargo_early_metadata metadata; /* what it was told of before */
};

/* --- the child ------------------------------------------------------------ */

static _Noreturn void
become_compiler(
    const struct cargo_message_place *place, pid_t parent, int started)
{
	struct error ignored; /* the parent does it the plain way */

	/* Entering a user namespace makes the kernel forget the signal. */
	if (cargo_namespace_enter(&place->paths, &ignored) == 0 &&
	    prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent &&
	    chdir(place->directory) == 0)
		execve(place->arguments.items[0], place->arguments.items,
		    place->environment.items);
	(void)file_write(started, "!", 1, &ignored);
	_exit(EXIT_FAILURE);
}

static bool
start(struct run *run)
{
	int messages[2] = {-1, -1}, started[2] = {-1, -1};
	pid_t self = getpid();

	if (pipe2(messages, O_CLOEXEC) == -1 ||
	    pipe2(started, O_CLOEXEC) == -1) {
		file_close(&messages[0]);
		file_close(&messages[1]);
		return false;
	}
	run->process = fork();
	if (run->process == 0) {
		dup2(messages[1], STDERR_FILENO);
		become_compiler(run->place, self, started[1]);
	}
	file_close(&messages[1]);
	file_close(&started[1]);
	run->messages = messages[0];
	run->started = started[0];
	return run->process != -1;
}

static bool
has_started(struct run *run)
{
	char byte;
	ssize_t got;

	do
		got = read(run->started, &byte, 1);
	while (got == -1 && errno == EINTR);
	return got == 0;
}

/* --- messages ------------------------------------------------------------- */

static int
say(struct run *run, struct str text, struct error *err)
{
	struct buffer mapped;
	int rc;

	buffer_init(&mapped, 2 * (size_t)TEXT_MAX);
	rc = cargo_paths_map(&run->paths, CARGO_PATHS_TO_REAL, text, &mapped);
	if (rc < 0)
		error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the compiler's messages are too long");
	else
		rc = file_write(STDERR_FILENO, mapped.data, mapped.len, err);
	buffer_clear(&mapped);
	return rc;
}

static int
take_line(struct run *run, struct str line, struct error *err)
{
	if (cargo_notice_is(line)) {
		/* Cargo passes over other files, dep-info for instance. */
		if (cargo_notice_is_metadata(line)) {
			if (cargo_early_metadata_is_given(&run->metadata))
				return 0;
			run->noticed = true;
		}
		return say(run, line, err);
	}
	if (buffer_append(&run->held, line.data, line.len) == 0)
		return 0;
	return error_set(err, ERROR_RESOURCE_EXHAUSTED,
	    "the compiler's messages are too long");
}

static int
take_lines(struct run *run, bool last, struct error *err)
{
	struct str rest = buffer_str(&run->line);
	int rc = 0;

	while (rc == 0 && rest.len > 0) {
		const char *end = memchr(rest.data, '\n', rest.len);
		struct str line = {rest.data,
		    end != NULL ? (size_t)(end - rest.data) + 1 : rest.len};

		if (end == NULL && !last)
			break;
		rc = take_line(run, line, err);
		rest.data += line.len;
		rest.len -= line.len;
	}
	if (rest.len > 0)
		memmove(run->line.data, rest.data, rest.len);
	run->line.len = rest.len;
	return rc;
}

static int
listen_to(struct run *run, struct error *err)
{
	int rc = 0;

	while (rc == 0) {
		char *room = buffer_reserve(&run->line, PIECE);
		ssize_t got;

		if (room == NULL)
			return error_set(err, ERROR_RESOURCE_EXHAUSTED,
			    "the compiler's messages are too long");
		got = read(run->messages, room, PIECE);
		if (got == -1 && errno == EINTR)
			continue;
		if (got == -1)
			return error_set_errno(
			    err, errno, "read the compiler's messages");
		run->line.len += (size_t)got;
		rc = take_lines(run, got == 0, err);
		if (got == 0)
			break;
	}
	return rc;
}

/* --- the end -------------------------------------------------------------- */

/* What it reads may be where no fixed path leads. */
static bool
may_be_the_place(const struct run *run)
{
	static const char *const signs[] = {"No such file or directory",
	    "os error 2", "linking with", "couldn't read", "file not found",
	    "panicked", "can't find crate"};

	if (run->noticed || run->held.len == 0)
		return false;
	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
		if (memmem(run->held.data, run->held.len, signs[i],
			strlen(signs[i])) != NULL)
			return true;
	}
	return false;
}

static int
map_dep_info(struct run *run, struct error *err)
{
	const char *path = run->place->dep_info;
	struct buffer text, mapped;
	int fd = -1;
	int rc;

	buffer_init(&text, TEXT_MAX);
	buffer_init(&mapped, 2 * (size_t)TEXT_MAX);
	rc = file_read_all(path, &text, err);
	if (rc == 0 &&
	    cargo_dep_info_map(&run->paths, buffer_str(&text), &mapped) < 0)
		rc = error_set(
		    err, ERROR_RESOURCE_EXHAUSTED, "%s is too large", path);
	/* In its place, with the mode that the compiler gave it. */
	if (rc == 0)
		fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (rc == 0 && fd == -1)
		rc = error_set_errno(err, errno, "%s", path);
	if (rc == 0)
		rc = file_write(fd, mapped.data, mapped.len, err);
	file_close(&fd);
	buffer_clear(&text);
	buffer_clear(&mapped);
	return rc;
}

static int
finish(struct run *run, int *status, struct error *err)
{
	int rc = 0;

	if (*status != 0 && may_be_the_place(run))
		return 0;
	if (*status == 0)
		rc = map_dep_info(run, err);
	if (*status == 0 && rc == 0)
		rc = cargo_early_metadata_check(&run->metadata, err);
	if (rc == 0)
		rc = say(run, buffer_str(&run->held), err);
	return rc == 0 ? 1 : -1;
}

static int
wait_for(pid_t process)
{
	int status;

	while (waitpid(process, &status, 0) == -1) {
		if (errno != EINTR)
			return EXIT_FAILURE;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void
run_init(struct run *run, const struct cargo_message_place *place)
{
	const struct cargo_strings *paths = &place->paths;

	*run = (struct run){
	    .place = place, .process = -1, .messages = -1, .started = -1};
	for (size_t i = 0; i + 1 < paths->count && i / 2 < CARGO_PATHS_MAX;
	     i += 2)
		cargo_paths_add(
		    &run->paths, paths->items[i], paths->items[i + 1]);
	cargo_early_metadata_open(&run->metadata, place->metadata);
	run->noticed = cargo_early_metadata_is_given(&run->metadata);
	buffer_init(&run->line, TEXT_MAX);
	buffer_init(&run->held, TEXT_MAX);
}

static void
run_clear(struct run *run)
{
	file_close(&run->messages);
	file_close(&run->started);
	cargo_early_metadata_close(&run->metadata);
	buffer_clear(&run->line);
	buffer_clear(&run->held);
	cargo_paths_clear(&run->paths);
}

int
cargo_local_run(
    const struct cargo_message_place *place, int *status, struct error *err)
{
	struct run run;
	int rc = 0;

	run_init(&run, place);
	if (!start(&run))
		goto out;
	if (!has_started(&run)) {
		wait_for(run.process);
		goto out;
	}
	rc = listen_to(&run, err);
	/* Who no longer reads must not wait for it. */
	file_close(&run.messages);
	*status = wait_for(run.process);
	if (rc == 0)
		rc = finish(&run, status, err);
out:
	run_clear(&run);
	return rc;
}

bool
cargo_local_can(const struct cargo_message_place *place)
{
	pid_t child = fork();
	struct error ignored;

	if (child == 0)
		_exit(cargo_namespace_enter(&place->paths, &ignored) == 0
			  ? EXIT_SUCCESS
			  : EXIT_FAILURE);
	return child != -1 && wait_for(child) == EXIT_SUCCESS;
}
