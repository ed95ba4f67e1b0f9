/* SPDX-License-Identifier: Apache-2.0 */
/* One call over the socket. Starts in well under a millisecond: no gRPC. */
#include "client/cargo_shim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/cargo_local.h"
#include "client/cargo_message.h"
#include "client/cargo_stand_in.h"

#define EXIT_USAGE 2
#define EXIT_NO_COMPILER 127

static int
become_compiler(char **words)
{
	execvp(words[0], words);
	fprintf(
	    stderr, CARGO_SHIM_NAME ": %s: %s\n", words[0], strerror(errno));
	return EXIT_NO_COMPILER;
}

/* The socket, or -1. */
static int
connect_broker(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return -1;
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd != -1 && connect(fd, (const struct sockaddr *)&address,
			    sizeof(address)) == -1)
		file_close(&fd);
	return fd;
}

bool
cargo_shim_is_called_by_cargo(void)
{
	char target[PATH_MAX];
	char *exe = xasprintf("/proc/%d/exe", (int)getppid());
	ssize_t length = readlink(exe, target, sizeof(target) - 1);
	const char *slash;

	free(exe);
	if (length <= 0)
		return false;
	target[length] = '\0';
	slash = strrchr(target, '/');
	return slash != NULL && strcmp(slash, "/cargo") == 0;
}

int
cargo_shim_call(struct cargo_message_call *call, char **argv)
{
	*call = (struct cargo_message_call){
	    .directory = getcwd(NULL, 0), .caller = -1};
	if (call->directory == NULL)
		return -1;
	for (char **at = argv + 1; *at != NULL; at++)
		cargo_strings_add(&call->arguments, *at);
	for (char **at = environ; *at != NULL; at++)
		cargo_strings_add(&call->environment, *at);
	return 0;
}

/* What there is to say before the compiler's work is done, elsewhere: false
 * when it is not said, since the work could not be repeated here. */
static bool
say_early(const struct cargo_message_answer *answer)
{
	struct error err;

	return (answer->status != 0 || cargo_local_can(&answer->place)) &&
	       file_write(STDERR_FILENO, answer->errors.data,
		   answer->errors.len, &err) == 0;
}

static void
replace_answer(
    struct cargo_message_answer *answer, struct cargo_message_answer *by)
{
	cargo_message_answer_clear(answer);
	*answer = *by;
}

/* An early answer is left, as one to run the compiler here, when what cargo was
 * told of is all that came. */
static int
receive_answers(int fd, struct cargo_message_answer *answer, struct error *err)
{
	struct cargo_message_answer next;
	bool early = true;
	int rc = 0;

	while (early && rc == 0) {
		bool told = false;

		cargo_message_answer_init(&next);
		rc = cargo_message_receive_answer(fd, &next, err);
		early = next.kind == CARGO_MESSAGE_EARLY;
		if (rc == 0 && early) {
			told = say_early(&next);
			rc = cargo_message_send_reply(fd, told, err);
			next.kind = CARGO_MESSAGE_PLACE;
		}
		if (told || (rc == 0 && !early))
			replace_answer(answer, &next);
		else
			cargo_message_answer_clear(&next);
	}
	return rc;
}

/* Leaves an answer as it was initialised when there is none. */
static void
ask_broker(char **argv, struct cargo_message_answer *answer)
{
	const char *path = getenv(CARGO_SHIM_BROKER);
	int fd = path != NULL ? connect_broker(path) : -1;
	struct cargo_message_call call;
	/* Whatever fails: the compiler is here. */
	struct error ignored;

	if (fd == -1)
		return;
	if (cargo_shim_call(&call, argv) == 0 &&
	    cargo_message_send_call(fd, &call, &ignored) == 0)
		(void)receive_answers(fd, answer, &ignored);
	cargo_message_call_clear(&call);
	/* The front sees by its end when the compiler has ended. */
	if (answer->kind == CARGO_MESSAGE_DONE || fcntl(fd, F_SETFD, 0) == -1)
		file_close(&fd);
}

static int
hand_on(const struct cargo_message_answer *answer)
{
	struct error err;

	if (file_write(STDOUT_FILENO, answer->output.data, answer->output.len,
		&err) < 0 ||
	    file_write(STDERR_FILENO, answer->errors.data, answer->errors.len,
		&err) < 0)
		return EXIT_FAILURE;
	return answer->status;
}

static int
run_here(const struct cargo_message_answer *answer, char **argv)
{
	struct error err;
	int status = EXIT_FAILURE;
	int rc = cargo_local_run(&answer->place, &status, &err);

	if (rc == 0 && answer->place.metadata[0] == '\0')
		return become_compiler(argv + 1);
	if (rc == 0)
		rc = error_set(&err, ERROR_FAILED_PRECONDITION,
		    "%s: crates that use it may have been compiled with it "
		    "already, and the compiler cannot be run here as it was on "
		    "the worker: build again",
		    answer->place.metadata);
	if (rc < 0)
		fprintf(stderr, CARGO_SHIM_NAME ": %s\n", err.text);
	return rc > 0 ? status : EXIT_FAILURE;
}

int
cargo_shim_finish(const struct cargo_message_answer *answer, char **argv)
{
	switch (answer->kind) {
	case CARGO_MESSAGE_DONE:
		return hand_on(answer);
	case CARGO_MESSAGE_PLACE:
		return run_here(answer, argv);
	default:
		return become_compiler(argv + 1);
	}
}

/* Without a front. Returns only when that cannot be. */
static void
become_front(char **argv)
{
	char *self = realpath("/proc/self/exe", NULL);
	char *slash = self != NULL ? strrchr(self, '/') : NULL;
	struct cargo_strings words = {.count = 0};
	char *program;

	if (slash == NULL)
		return;
	*slash = '\0';
	program = xasprintf("%s/toolroot", self);
	cargo_strings_add(&words, program);
	cargo_strings_add(&words, CARGO_SHIM_ALONE);
	for (char **at = argv + 1; *at != NULL; at++)
		cargo_strings_add(&words, *at);
	execv(program, words.items);
	cargo_strings_clear(&words);
	free(program);
	free(self);
}

/* argv[1] is the compiler. */
static int
answer_cargo(char **argv)
{
	struct cargo_message_answer answer;
	int status;

	/* When cargo is gone nobody wants what is under way; the compiler
	 * keeps this. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	cargo_message_answer_init(&answer);
	ask_broker(argv, &answer);
	status = cargo_shim_finish(&answer, argv);
	cargo_message_answer_clear(&answer);
	return status;
}

/* --- as the compiler ------------------------------------------------------ */

/* What we stand for, by the name that we were executed by; or by that in RUSTC,
 * when somebody asked where that leads. NULL: we are the wrapper. */
static char *
compiler_we_are(char **argv)
{
	const char *name = (const char *)getauxval(AT_EXECFN); /* NOLINT */
	char *compiler = name != NULL ? cargo_stand_in_compiler(name) : NULL;
	const char *rustc = getenv("RUSTC");

	if (compiler == NULL && rustc != NULL && argv[1] != NULL &&
	    argv[1][0] == '-')
		compiler = cargo_stand_in_compiler(rustc);
	return compiler;
}

/* Cargo's one question is answered as if the wrapper had been asked. */
static int
stand_in(char *compiler, char **argv)
{
	char *question[] = {argv[0], compiler, (char[]){"-vV"}, NULL};
	int status;

	if (argv[1] != NULL && strcmp(argv[1], "-vV") == 0 && argv[2] == NULL &&
	    getenv(CARGO_SHIM_BROKER) != NULL &&
	    cargo_shim_is_called_by_cargo()) {
		cargo_stand_in_resolve(question);
		status = answer_cargo(question);
		if (question[1] != compiler)
			free(question[1]);
		free(compiler);
		return status;
	}
	argv[0] = compiler;
	return become_compiler(argv);
}

int
cargo_shim_main(char **argv)
{
	char *compiler = compiler_we_are(argv);

	if (compiler != NULL)
		return stand_in(compiler, argv);
	if (argv[1] == NULL) {
		fputs(CARGO_SHIM_NAME
		    ": cargo calls this in the compiler's place; set "
		    "RUSTC_WRAPPER to it, or use `cargo toolroot build`\n",
		    stderr);
		return EXIT_USAGE;
	}
	cargo_stand_in_resolve(argv);
	if (getenv(CARGO_SHIM_BROKER) == NULL)
		become_front(argv);
	return answer_cargo(argv);
}
