/* SPDX-License-Identifier: Apache-2.0 */
/* Pipes drained into bounded buffers. */
#include "worker/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

#define PIPE_BYTES ((size_t)1 << 20)
#define CHUNK ((size_t)64 << 10)
#define NOTE_MAX 128

int
capture_open(struct capture *capture, size_t limit, pthread_mutex_t *guard,
    struct error *err)
{
	int fds[2];

	*capture =
	    (struct capture){.read_fd = -1, .write_fd = -1, .guard = guard};
	buffer_init(&capture->content, limit + NOTE_MAX);
	if (pipe2(fds, O_CLOEXEC) == -1)
		return error_set_errno(err, errno, "make a pipe");
	capture->read_fd = fds[0];
	capture->write_fd = fds[1];
	capture->limit = limit;
	if (fcntl(capture->read_fd, F_SETFL, O_NONBLOCK) == -1)
		return error_set_errno(err, errno, "set up a pipe");
	/* Fewer wake-ups; a refusal (pipe-user-pages-soft) does no harm. */
	(void)fcntl(capture->read_fd, F_SETPIPE_SZ, (int)PIPE_BYTES);
	return 0;
}

static void
lock_guard(struct capture *capture)
{
	if (capture->guard != NULL)
		pthread_mutex_lock(capture->guard);
}

static void
unlock_guard(struct capture *capture)
{
	if (capture->guard != NULL)
		pthread_mutex_unlock(capture->guard);
}

/* Reads behind the content, where nobody looks; only moving and lengthening it
 * needs the guard. */
static ssize_t
read_content(struct capture *capture, size_t room)
{
	ssize_t len;
	char *place;

	lock_guard(capture);
	place = buffer_reserve(&capture->content, room);
	unlock_guard(capture);
	len = read(capture->read_fd, place, room);
	if (len <= 0)
		return len;
	lock_guard(capture);
	capture->content.len += (size_t)len;
	unlock_guard(capture);
	return len;
}

/* Bytes read, 0 at the end or when nothing is there. */
static size_t
read_some(struct capture *capture)
{
	size_t room = capture->limit - capture->content.len;
	char scrap[4096];
	ssize_t len;

	if (room == 0) {
		len = read(capture->read_fd, scrap, sizeof(scrap));
		if (len > 0)
			capture->dropped += (uint64_t)len;
	} else {
		len = read_content(capture, room < CHUNK ? room : CHUNK);
	}
	if (len == 0 || (len == -1 && errno != EAGAIN && errno != EINTR))
		file_close(&capture->read_fd);
	return len > 0 ? (size_t)len : 0;
}

void
capture_drain(struct capture *capture)
{
	size_t left = PIPE_BYTES;
	size_t len;

	/* Several writers can fill the pipe for as long as it is read. */
	do {
		len = capture->read_fd != -1 ? read_some(capture) : 0;
		left -= len < left ? len : left;
	} while (len > 0 && left > 0);
}

void
capture_finish(struct capture *capture)
{
	capture_drain(capture);
	file_close(&capture->read_fd);
	lock_guard(capture);
	/* The buffer has NOTE_MAX bytes of room for it. */
	if (capture->dropped > 0 &&
	    buffer_printf(&capture->content,
		"\n[toolroot: cut here, %" PRIu64
		" bytes more were dropped; the limit is %zu]\n",
		capture->dropped, capture->limit) < 0)
		capture->content.len = capture->limit;
	unlock_guard(capture);
}

void
capture_close(struct capture *capture)
{
	if (capture->content.limit == 0)
		return;
	file_close(&capture->read_fd);
	file_close(&capture->write_fd);
	buffer_clear(&capture->content);
}
