/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading an index that may be damaged: LMDB trusts its pages, and a bad one
 * may make it crash. So a child reads, and what it reads comes through a pipe:
 * for each entry the lengths of key and value (4 bytes each) and both, then an
 * entry without a key as the end. Whatever the child does, the parent keeps
 * what came whole before.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/little_endian.h"
#include "cas/repair_internal.h"
#include "cas/store_internal.h"

#define WALK_BATCH 1024
#define KEY_MAX 511
/* As for values of action results. */
#define VALUE_MAX ((size_t)256 << 20)
#define PIECE ((size_t)1 << 20)

/* --- the child ------------------------------------------------------------ */

struct sending {
	int pipe;
	struct buffer pending;
};

static int
send_pending(struct sending *sending, struct error *err)
{
	int rc = file_write(
	    sending->pipe, sending->pending.data, sending->pending.len, err);

	buffer_reset(&sending->pending);
	return rc;
}

static int
send_entry(void *cookie, struct str key, struct str value, struct error *err)
{
	struct sending *sending = cookie;
	uint8_t lengths[8];

	little_endian_put32(lengths, (uint32_t)key.len);
	little_endian_put32(lengths + 4, (uint32_t)value.len);
	if (buffer_append(&sending->pending, lengths, sizeof(lengths)) < 0 ||
	    buffer_append(&sending->pending, key.data, key.len) < 0 ||
	    buffer_append(&sending->pending, value.data, value.len) < 0)
		return error_set(
		    err, ERROR_DATA_LOSS, "an entry is impossibly large");
	if (sending->pending.len < PIECE)
		return 0;
	return send_pending(sending, err);
}

static int
send_table(struct sending *sending, const char *path, enum index_table table,
    struct error *err)
{
	struct index_position position = {.length = 0};
	struct store_index *index = index_open(path, true, err);
	MDB_txn *txn;
	int rc = 1;

	if (index == NULL || index_read_begin(index, &txn, err) < 0)
		return -1;
	while (rc == 1)
		rc = index_walk(index, txn, table, &position, WALK_BATCH,
		    send_entry, sending, err);
	/* What came before the damage is good. */
	if (rc == 0)
		rc = send_entry(sending, STR(""), STR(""), err);
	if (send_pending(sending, err) < 0)
		return -1;
	return rc;
}

static void __attribute__((noreturn)) child(const int ends[2],
    struct store *store, const char *path, enum index_table table)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
	const struct rlimit no_core = {0, 0};
	struct sending sending = {.pipe = ends[1]};
	struct error ignored;
	int null;

	/* The lock is the parent's: it must not outlive it here. */
	file_close(&store->lock_file);
	/* The pipe must break for this end when the parent stops. */
	(void)close(ends[0]);
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	/* A crash here is foreseen: the process ends, without a core, and
	 * whatever handlers its parent had. */
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		(void)signal(fatal[i], SIG_DFL);
	(void)setrlimit(RLIMIT_CORE, &no_core);
	if (null != -1)
		(void)dup2(null, STDERR_FILENO);
	buffer_init(&sending.pending, VALUE_MAX + PIECE);
	_exit(send_table(&sending, path, table, &ignored) == 0 ? 0 : 1);
}

/* --- the parent ----------------------------------------------------------- */

/* 1, 0 at the end of what comes. */
static int
receive(int fd, void *data, size_t len)
{
	uint8_t *at = data;

	while (len > 0) {
		ssize_t got = read(fd, at, len);

		if (got == -1 && errno == EINTR)
			continue;
		if (got <= 0)
			return 0;
		at += got;
		len -= (size_t)got;
	}
	return 1;
}

/* The order of LMDB's keys. */
static bool
ascends(struct str before, struct str key)
{
	size_t common = before.len < key.len ? before.len : key.len;
	int order = common == 0 ? 0 : memcmp(before.data, key.data, common);

	return order < 0 || (order == 0 && before.len < key.len);
}

/* 1 the end entry came, 0 the end of what comes, -1. */
static int
receive_entries(struct repair *repair, int fd, repair_visit_fn *visit,
    struct buffer *value, struct error *err)
{
	char keys[2][KEY_MAX];
	struct str before = {keys[1], 0};
	uint8_t lengths[8];

	while (receive(fd, lengths, sizeof(lengths)) == 1) {
		size_t key_length = little_endian_get32(lengths);
		size_t value_length = little_endian_get32(lengths + 4);
		char *key = before.data == keys[0] ? keys[1] : keys[0];
		char *room;

		if (key_length == 0)
			return 1;
		buffer_reset(value);
		room = buffer_reserve(value, value_length);
		if (key_length > KEY_MAX || room == NULL ||
		    receive(fd, key, key_length) != 1 ||
		    receive(fd, room, value_length) != 1)
			return 0;
		/* Damaged pages may lead in a circle, without an end. */
		if (!ascends(before, (struct str){key, key_length}))
			return 0;
		before = (struct str){key, key_length};
		value->len = value_length;
		if (visit(repair, before, buffer_str(value), err) < 0)
			return -1;
	}
	return 0;
}

int
repair_salvage(struct repair *repair, enum index_table table,
    repair_visit_fn *visit, struct error *err)
{
	char *path = xasprintf("%s/index", repair->store->path);
	struct buffer value;
	int ends[2], rc, status = 0;
	pid_t pid;

	buffer_init(&value, VALUE_MAX);
	if (pipe2(ends, O_CLOEXEC) == -1) {
		free(path);
		return error_set_errno(err, errno, "make a pipe");
	}
	(void)fflush(NULL);
	pid = fork();
	if (pid == 0)
		child(ends, repair->store, path, table);
	file_close(&ends[1]);
	if (pid == -1)
		rc = error_set_errno(err, errno, "start a process");
	else
		rc = receive_entries(repair, ends[0], visit, &value, err);
	file_close(&ends[0]);
	if (pid != -1 && rc != 1)
		(void)kill(pid, SIGKILL);
	while (pid != -1 && waitpid(pid, &status, 0) == -1 && errno == EINTR)
		continue;
	buffer_clear(&value);
	free(path);
	return rc == 1 && status != 0 ? 0 : rc;
}
