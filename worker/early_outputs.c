/* SPDX-License-Identifier: Apache-2.0 */
/* One thread for an action, which sleeps on an inotify descriptor. */
#include "worker/early_outputs.h"

#include <errno.h>
#include <pthread.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/thread.h"
#include "protos/early_outputs.h"
#include "worker/outputs.h"
#include "worker/run_command.h"

/* Of all messages and small files of an action. */
#define ARENA_MAX ((size_t)4 << 20)
#define EVENTS_BYTES 4096
/* Between two looks at events. What the action causes here is outside of its
 * limits, so it has to have some: so many bytes of events in so many
 * milliseconds, which cost some hundredths of a processor. What comes faster
 * fills the kernel's queue, and what is lost there comes with the result. */
#define EVENTS_PAUSE_MS 5

struct watched {
	const struct run_command_output *output;
	const char *name; /* in its directory */
	int directory;    /* of inotify */
	bool reported;
};

struct early_outputs {
	struct early_outputs_options options;
	int notify; /* inotify */
	int stop;   /* eventfd, readable: end */
	pthread_t thread;
	struct watched items[EARLY_OUTPUTS_FILES_MAX];
	size_t count;
	/* The thread's. */
	size_t reported; /* of count */
	struct arena arena;
	Reapi__OutputFile *files[EARLY_OUTPUTS_FILES_MAX];
	Workerapi__EarlyOutputs message;
};

/* --- an output ------------------------------------------------------------ */

/* 1 and *file, 0 when it is to come with the result, -1. */
static int
upload(struct early_outputs *early, const struct run_command_output *output,
    Reapi__OutputFile **file, struct error *err)
{
	const struct early_outputs_options *options = &early->options;
	struct outputs outputs = {.arena = &early->arena,
	    .command = options->command,
	    .input_root = options->input_root,
	    .function = options->function,
	    .max_file_size = options->max_file_size};
	int rc = outputs_read_file(
	    &outputs, output, EARLY_OUTPUTS_FILE_MAX, file, err);

	if (rc > 0 && options->upload(options->cookie, &outputs, err) < 0)
		rc = -1;
	outputs_clear(&outputs);
	return rc;
}

static void
report(struct early_outputs *early, Reapi__OutputFile *file)
{
	Workerapi__EarlyOutputs *message = &early->message;

	message->files[message->n_files++] = file;
	if (workerapi__early_outputs__get_packed_size(message) >
	    EARLY_OUTPUTS_BYTES_MAX)
		message->n_files--;
	else
		early->options.report(early->options.cookie, message);
}

static void
take(struct early_outputs *early, struct watched *item)
{
	Reapi__OutputFile *file = NULL;
	char place[LOG_VALUE_MAX];
	struct error err;
	int rc = upload(early, item->output, &file, &err);

	item->reported = true;
	early->reported++;
	if (rc > 0)
		report(early, file);
	else if (rc < 0)
		log_warn("early_output_failed", "path=\"%s\" error=\"%s\"",
		    log_value(str_from(item->output->place), place),
		    log_text(err.text));
}

/* --- events --------------------------------------------------------------- */

static void
take_event(struct early_outputs *early, const struct inotify_event *event)
{
	for (size_t i = 0; i < early->count; i++) {
		struct watched *item = &early->items[i];

		if (!item->reported && event->wd == item->directory &&
		    event->len > 0 && strcmp(event->name, item->name) == 0)
			take(early, item);
	}
}

static bool
is_stopped(const struct early_outputs *early, int within_ms)
{
	struct pollfd polled = {.fd = early->stop, .events = POLLIN};

	return poll(&polled, 1, within_ms) == 1;
}

static void
take_events(struct early_outputs *early)
{
	_Alignas(struct inotify_event) char events[EVENTS_BYTES];
	ssize_t len = read(early->notify, events, sizeof(events));

	/* An upload may take long. */
	for (char *at = events;
	     len > 0 && at < events + len && !is_stopped(early, 0);) {
		const struct inotify_event *event =
		    (const struct inotify_event *)(void *)at;

		take_event(early, event);
		at += sizeof(*event) + event->len;
	}
}

static void *
early_outputs_main(void *cookie)
{
	struct early_outputs *early = cookie;
	struct pollfd polled[2] = {
	    {.fd = early->notify, .events = POLLIN},
	    {.fd = early->stop, .events = POLLIN},
	};

	while (early->reported < early->count) {
		if (poll(polled, 2, -1) == -1 && errno != EINTR)
			return NULL;
		if (polled[1].revents != 0)
			return NULL;
		if (polled[0].revents == 0)
			continue;
		take_events(early);
		if (is_stopped(early, EVENTS_PAUSE_MS))
			return NULL;
	}
	/* So that nothing is kept of what else happens there. */
	file_close(&early->notify);
	return NULL;
}

/* --- the beginning and the end -------------------------------------------- */

static bool
is_wanted(struct str wanted, struct str path)
{
	for (size_t i = 0; i < EARLY_OUTPUTS_ENDS_MAX && wanted.len > 0; i++) {
		struct str end = str_cut(&wanted, ',');

		if (end.len > 0 && path.len >= end.len &&
		    memcmp(path.data + path.len - end.len, end.data, end.len) ==
			0)
			return true;
	}
	return false;
}

static int
watch(struct early_outputs *early, const struct run_command_output *output,
    struct error *err)
{
	const char *slash = strrchr(output->place, '/');
	struct watched *item = &early->items[early->count];
	int fd =
	    outputs_open_parent(early->options.input_root, output->place, err);
	char *path;
	int rc = 0;

	if (fd < 0)
		return -1;
	path = xasprintf("/proc/self/fd/%d", fd);
	*item = (struct watched){.output = output,
	    .name = slash != NULL ? slash + 1 : output->place,
	    .directory = inotify_add_watch(early->notify, path,
		IN_MOVED_TO | IN_CLOSE_WRITE | IN_ONLYDIR)};
	if (item->directory == -1)
		rc = error_set_errno(
		    err, errno, "watch the directory of %s", output->place);
	else
		early->count++;
	free(path);
	file_close(&fd);
	return rc;
}

static int
watch_all(struct early_outputs *early, struct error *err)
{
	const struct run_command *command = early->options.command;

	for (size_t i = 0; i < command->output_count &&
			   early->count < EARLY_OUTPUTS_FILES_MAX;
	     i++) {
		const struct run_command_output *output = &command->outputs[i];

		if (output->kind != RUN_COMMAND_OUTPUT_DIRECTORY &&
		    is_wanted(early->options.wanted, output->path) &&
		    watch(early, output, err) < 0)
			return -1;
	}
	return 0;
}

static void
early_outputs_free(struct early_outputs *early)
{
	file_close(&early->notify);
	file_close(&early->stop);
	arena_clear(&early->arena);
	free(early);
}

static struct early_outputs *
early_outputs_new(
    const struct early_outputs_options *options, struct error *err)
{
	struct early_outputs *early = xcalloc(1, sizeof(*early));

	early->options = *options;
	arena_init(&early->arena, ARENA_MAX);
	workerapi__early_outputs__init(&early->message);
	early->message.files = early->files;
	early->stop = eventfd(0, EFD_CLOEXEC);
	early->notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (early->stop != -1 && early->notify != -1)
		return early;
	error_set_errno(err, errno, "watch for early outputs");
	early_outputs_free(early);
	return NULL;
}

struct early_outputs *
early_outputs_start(const struct early_outputs_options *options)
{
	struct early_outputs *early;
	struct error err;

	if (options->wanted.len == 0)
		return NULL;
	early = early_outputs_new(options, &err);
	if (early == NULL || watch_all(early, &err) < 0) {
		log_warn("early_outputs_failed", "error=\"%s\"", err.text);
		if (early != NULL)
			early_outputs_free(early);
		return NULL;
	}
	if (early->count == 0) {
		early_outputs_free(early);
		return NULL;
	}
	thread_start(&early->thread, early_outputs_main, early);
	return early;
}

void
early_outputs_stop(struct early_outputs *early)
{
	const uint64_t one = 1;

	if (early == NULL)
		return;
	/* A counter that is at 0 takes it. */
	(void)!write(early->stop, &one, sizeof(one));
	pthread_join(early->thread, NULL);
	early_outputs_free(early);
}
