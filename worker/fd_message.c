/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams with SCM_RIGHTS. No state, any thread. */
#include "worker/fd_message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

/* Room for the ancillary data, aligned as the kernel wants it. */
union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(sizeof(int) * FD_MESSAGE_FDS_MAX)];
};

int
fd_message_pair(int sockets[static 2], struct error *err)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) ==
	    -1)
		return error_set_errno(err, errno, "make a socket pair");
	return 0;
}

int
fd_message_send(int socket, const struct fd_message *message, struct error *err)
{
	union control control;
	struct iovec part = {message->data, message->len};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t sent;

	if (message->fd_count > 0) {
		size_t len = sizeof(int) * message->fd_count;
		struct cmsghdr *rights;

		memset(&control, 0, sizeof(control));
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(len);
		rights = CMSG_FIRSTHDR(&header);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(len);
		memcpy(CMSG_DATA(rights), message->fds, len);
	}
	do {
		sent = sendmsg(socket, &header, MSG_NOSIGNAL);
	} while (sent == -1 && errno == EINTR);
	if (sent == -1 && (errno == EPIPE || errno == ECONNRESET))
		return error_set(
		    err, ERROR_UNAVAILABLE, "the sandbox process is gone");
	if (sent == -1)
		return error_set_errno(err, errno, "send to a sandbox process");
	return 0;
}

static void
take_descriptors(struct fd_message *message, struct msghdr *header)
{
	struct cmsghdr *rights = CMSG_FIRSTHDR(header);

	message->fd_count = 0;
	if (rights == NULL || rights->cmsg_level != SOL_SOCKET ||
	    rights->cmsg_type != SCM_RIGHTS)
		return;
	message->fd_count = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(
	    message->fds, CMSG_DATA(rights), message->fd_count * sizeof(int));
}

int
fd_message_receive(int socket, struct fd_message *message, struct error *err)
{
	union control control;
	struct iovec part = {message->data, message->len};
	struct msghdr header = {.msg_iov = &part,
	    .msg_iovlen = 1,
	    .msg_control = &control,
	    .msg_controllen = sizeof(control)};
	ssize_t received;

	message->fd_count = 0;
	do {
		received = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
	} while (received == -1 && errno == EINTR);
	if (received == 0 || (received == -1 && errno == ECONNRESET))
		return 0;
	if (received == -1)
		return error_set_errno(
		    err, errno, "receive from a sandbox process");
	take_descriptors(message, &header);
	if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
		fd_message_close(message);
		return error_set(err, ERROR_INTERNAL,
		    "a message from a sandbox process was cut: out of file "
		    "descriptors?");
	}
	message->len = (size_t)received;
	return 1;
}

void
fd_message_close(struct fd_message *message)
{
	for (size_t i = 0; i < message->fd_count; i++)
		file_close(&message->fds[i]);
	message->fd_count = 0;
}
