/* SPDX-License-Identifier: Apache-2.0 */
/* A pipe, cut at line ends: "\n" and "\r\n" end a message, "\r" alone a
 * progress line. */
#include "client/cargo_terminal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/cargo_command_line.h"
#include "client/cargo_strings.h"
#include "client/cargo_summary.h"

#define INTERVAL_MS 200
#define PIECE ((size_t)64 << 10)
/* A line that is longer is shown in parts. */
#define LINE_MAX_BYTES ((size_t)1 << 20)
/* For our part of the line. */
#define COUNTS_WIDTH 48
#define WIDTH_MIN 20
#define CLEAR "\r\033[K"

struct cargo_terminal {
	struct cargo_summary *summary;
	int ends[2];
	pthread_t thread;
	atomic_bool ended; /* what is left running may hold the pipe open */
	/* The thread's: */
	struct buffer line;     /* what has come of it */
	bool returned;          /* it ended in "\r", and nothing came since */
	struct buffer progress; /* cargo's last progress line */
	struct buffer out;      /* to be written at once */
};

/* --- when ----------------------------------------------------------------- */

static bool
is_set(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && value[0] != '\0';
}

static bool
is_terminal(void)
{
	const char *kind = getenv("TERM");

	/* Cargo draws no line either with these. */
	return isatty(STDERR_FILENO) == 1 && kind != NULL &&
	       strcmp(kind, "dumb") != 0 && !is_set("CI") &&
	       !is_set("CARGO_TERM_QUIET") &&
	       !is_set("CARGO_TERM_PROGRESS_WHEN");
}

static int
width(void)
{
	struct winsize window;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1)
		return window.ws_col - 1;
	return 79;
}

/* --- drawing -------------------------------------------------------------- */

/* out has no limit. */
static void
put(struct cargo_terminal *terminal, const char *data, size_t length)
{
	if (buffer_append(&terminal->out, data, length) < 0)
		abort();
}

/* Length of what stands at the start of text and takes one column, or none:
 * then it is a sequence for the terminal, up to its letter. */
static size_t
next_length(struct str text, bool *column)
{
	size_t length = 1;

	*column = text.data[0] != '\033';
	if (*column) {
		while (length < text.len &&
		       ((unsigned char)text.data[length] & 0xc0) == 0x80)
			length++;
		return length;
	}
	while (length < text.len && !isalpha((unsigned char)text.data[length]))
		length++;
	return length < text.len ? length + 1 : length;
}

static void
put_progress(struct cargo_terminal *terminal, size_t room)
{
	struct str text = buffer_str(&terminal->progress);

	while (text.len > 0 && text.data[text.len - 1] == ' ')
		text.len--;
	while (text.len > 0) {
		bool column;
		size_t length = next_length(text, &column);

		if (column && room == 0)
			break;
		room -= column ? 1 : 0;
		put(terminal, text.data, length);
		text.data += length;
		text.len -= length;
	}
	put(terminal, "\033[0m", 4);
}

static void
draw(struct cargo_terminal *terminal)
{
	struct cargo_summary_counts counts =
	    cargo_summary_count(terminal->summary);
	const char *status = cargo_summary_status(terminal->summary);
	size_t room = (size_t)width();
	char text[COUNTS_WIDTH + 1];
	int length;

	if (terminal->progress.len == 0)
		return;
	length = status != NULL ? snprintf(text, sizeof(text), " | %s", status)
				: snprintf(text, sizeof(text),
				      " | %llu hits, %llu remote, %llu local",
				      (unsigned long long)counts.hits,
				      (unsigned long long)counts.remote,
				      (unsigned long long)counts.local);
	if (length < 0 || (size_t)length >= sizeof(text) ||
	    (size_t)length > room)
		length = 0;
	put(terminal, CLEAR, sizeof(CLEAR) - 1);
	put_progress(terminal, room - (size_t)length);
	put(terminal, text, (size_t)length);
	put(terminal, "\r", 1);
}

static void
flush(struct cargo_terminal *terminal)
{
	/* A terminal that is gone has nobody to be told. */
	struct error ignored;

	if (terminal->out.len > 0)
		(void)file_write(STDERR_FILENO, terminal->out.data,
		    terminal->out.len, &ignored);
	buffer_reset(&terminal->out);
}

/* --- cargo's output ------------------------------------------------------- */

static void
take_message(struct cargo_terminal *terminal, const char *end)
{
	struct str line = buffer_str(&terminal->line);

	if (terminal->progress.len > 0)
		put(terminal, CLEAR, sizeof(CLEAR) - 1);
	put(terminal, line.data, line.len);
	put(terminal, end, strlen(end));
	buffer_reset(&terminal->line);
}

/* Drawn at once, since the next one may be long in coming; the line stays until
 * it is clear that it was no message. */
static void
take_progress(struct cargo_terminal *terminal)
{
	struct str line = buffer_str(&terminal->line);

	buffer_reset(&terminal->progress);
	if (buffer_append(&terminal->progress, line.data, line.len) < 0)
		abort(); /* their limits are equal */
	terminal->returned = true;
}

static void
take_byte(struct cargo_terminal *terminal, char byte)
{
	bool returned = terminal->returned;

	terminal->returned = false;
	if (byte == '\n' && returned) {
		take_message(terminal, "\r\n");
		buffer_reset(&terminal->progress);
		return;
	}
	if (returned)
		buffer_reset(&terminal->line);
	if (byte == '\n')
		take_message(terminal, "\n");
	else if (byte == '\r')
		take_progress(terminal);
	else if (buffer_append(&terminal->line, &byte, 1) < 0)
		take_message(terminal, "\n");
}

/* False at the end. */
static bool
read_some(struct cargo_terminal *terminal)
{
	char *piece = xmalloc(PIECE);
	ssize_t got = read(terminal->ends[0], piece, PIECE);

	for (ssize_t i = 0; i < got; i++)
		take_byte(terminal, piece[i]);
	free(piece);
	return got > 0 || (got == -1 && errno == EINTR);
}

static void *
run(void *cookie)
{
	struct cargo_terminal *terminal = cookie;
	struct pollfd polled = {.fd = terminal->ends[0], .events = POLLIN};
	bool more = true;

	while (more) {
		bool ended = atomic_load(&terminal->ended);

		if (poll(&polled, 1, INTERVAL_MS) > 0)
			more = read_some(terminal);
		else
			more = !ended;
		if (more)
			draw(terminal);
		flush(terminal);
	}
	if (terminal->progress.len > 0)
		put(terminal, CLEAR, sizeof(CLEAR) - 1);
	if (terminal->line.len > 0 && !terminal->returned)
		take_message(terminal, "\n");
	flush(terminal);
	return NULL;
}

/* --- the whole ------------------------------------------------------------ */

static void
destroy(struct cargo_terminal *terminal)
{
	file_close(&terminal->ends[0]);
	file_close(&terminal->ends[1]);
	buffer_clear(&terminal->line);
	buffer_clear(&terminal->progress);
	buffer_clear(&terminal->out);
	free(terminal);
}

struct cargo_terminal *
cargo_terminal_open(char *const *words, struct cargo_summary *summary)
{
	struct cargo_terminal *terminal;
	sigset_t all, before;
	int number;

	if (!is_terminal() || cargo_command_line_is_quiet(words) ||
	    !cargo_command_line_compiles(words))
		return NULL;
	terminal = xcalloc(1, sizeof(*terminal));
	terminal->summary = summary;
	buffer_init(&terminal->line, LINE_MAX_BYTES);
	buffer_init(&terminal->progress, LINE_MAX_BYTES);
	buffer_init(&terminal->out, SIZE_MAX);
	terminal->ends[0] = terminal->ends[1] = -1;
	/* Without a pipe or a thread cargo writes itself, which is as good. */
	if (pipe2(terminal->ends, O_CLOEXEC) == -1) {
		destroy(terminal);
		return NULL;
	}
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	number = pthread_create(&terminal->thread, NULL, run, terminal);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (number != 0) {
		destroy(terminal);
		return NULL;
	}
	return terminal;
}

int
cargo_terminal_fd(const struct cargo_terminal *terminal)
{
	return terminal->ends[1];
}

void
cargo_terminal_environment(
    const struct cargo_terminal *terminal, struct cargo_strings *environment)
{
	int room = width() - COUNTS_WIDTH;

	if (terminal == NULL)
		return;
	if (!is_set("CARGO_TERM_COLOR") && !is_set("NO_COLOR"))
		cargo_strings_add(environment, "CARGO_TERM_COLOR=always");
	cargo_strings_add(environment, "CARGO_TERM_PROGRESS_WHEN=always");
	cargo_strings_take(
	    environment, xasprintf("CARGO_TERM_PROGRESS_WIDTH=%d",
			     room > WIDTH_MIN ? room : WIDTH_MIN));
}

void
cargo_terminal_started(struct cargo_terminal *terminal)
{
	if (terminal != NULL)
		file_close(&terminal->ends[1]);
}

void
cargo_terminal_close(struct cargo_terminal *terminal)
{
	if (terminal == NULL)
		return;
	cargo_terminal_started(terminal);
	atomic_store(&terminal->ended, true);
	pthread_join(terminal->thread, NULL);
	destroy(terminal);
}
