/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages with file descriptors between the worker, the spawner and the
 * sandboxes' first processes, over SOCK_SEQPACKET sockets: one message is one
 * datagram, so nothing has to be framed. Both ends are ours and of one build;
 * messages are structs as they lie in memory. Calls block.
 */
#ifndef TOOLROOT_WORKER_FD_MESSAGE_H
#define TOOLROOT_WORKER_FD_MESSAGE_H

#include <stddef.h>

struct error;

/* The kernel passes at most 253 in one message. */
#define FD_MESSAGE_FDS_MAX 200

struct fd_message {
	void *data; /* borrowed: what to send, or where to receive */
	size_t len; /* sending: bytes; receiving: room, then bytes */
	int fds[FD_MESSAGE_FDS_MAX];
	size_t fd_count;
};

/* A connected pair, close-on-exec. */
int fd_message_pair(int sockets[static 2], struct error *err);
/* The descriptors are duplicated; the sender's stay open. UNAVAILABLE when the
 * other end is gone. */
int fd_message_send(
    int socket, const struct fd_message *message, struct error *err);
/* 1, 0 when the other end is gone, -1. Received descriptors are the caller's,
 * close-on-exec. */
int fd_message_receive(
    int socket, struct fd_message *message, struct error *err);
/* Closes the descriptors a message came with. */
void fd_message_close(struct fd_message *message);

#endif
