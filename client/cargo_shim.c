/* SPDX-License-Identifier: Apache-2.0 */
/* One call over the socket. Starts in well under a millisecond: no gRPC. */
#include "client/cargo_shim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/cargo_message.h"

#define EXIT_USAGE 2
#define EXIT_NO_COMPILER 127

static int
become_compiler(char **argv)
{
	execvp(argv[1], argv + 1);
	fprintf(stderr, CARGO_SHIM_NAME ": %s: %s\n", argv[1], strerror(errno));
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

static int
make_call(struct cargo_message_call *call, char **argv)
{
	*call = (struct cargo_message_call){.directory = getcwd(NULL, 0)};
	if (call->directory == NULL)
		return -1;
	for (char **at = argv + 1; *at != NULL; at++)
		cargo_strings_add(&call->arguments, *at);
	for (char **at = environ; *at != NULL; at++)
		cargo_strings_add(&call->environment, *at);
	return 0;
}

/* 1 and the answer, 0 when the compiler is to be run here. */
static int
ask_broker(char **argv, struct cargo_message_answer *answer)
{
	const char *path = getenv(CARGO_SHIM_BROKER);
	int fd = path != NULL ? connect_broker(path) : -1;
	struct cargo_message_call call;
	/* Whatever fails: the compiler is here. */
	struct error ignored;
	int rc = 0;

	if (fd == -1)
		return 0;
	if (make_call(&call, argv) == 0 &&
	    cargo_message_send_call(fd, &call, &ignored) == 0 &&
	    cargo_message_receive_answer(fd, answer, &ignored) == 0)
		rc = answer->kind == CARGO_MESSAGE_DONE;
	cargo_message_call_clear(&call);
	file_close(&fd);
	return rc;
}

int
cargo_shim_main(char **argv)
{
	struct cargo_message_answer answer;
	struct error err;
	int status;

	if (argv[1] == NULL) {
		fputs(CARGO_SHIM_NAME
		    ": cargo calls this in the compiler's place; set "
		    "RUSTC_WRAPPER to it, or use `cargo toolroot build`\n",
		    stderr);
		return EXIT_USAGE;
	}
	cargo_message_answer_init(&answer);
	if (!ask_broker(argv, &answer)) {
		cargo_message_answer_clear(&answer);
		return become_compiler(argv);
	}
	status = answer.status;
	if (file_write(STDOUT_FILENO, answer.output.data, answer.output.len,
		&err) < 0 ||
	    file_write(
		STDERR_FILENO, answer.errors.data, answer.errors.len, &err) < 0)
		status = EXIT_FAILURE;
	cargo_message_answer_clear(&answer);
	return status;
}
