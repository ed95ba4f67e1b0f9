/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers are in the machine's order: both ends are one program. */
#include "client/cargo_message.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"

#define MAGIC "TRC3"
#define CALL_MAX (64u << 20)
#define ANSWER_MAX (128u << 20)

struct call_header {
	char magic[4];
	uint32_t length;
	uint32_t arguments;
	uint32_t environment;
};

struct answer_header {
	uint32_t kind;
	int32_t status;
	uint32_t output;
	uint32_t errors;
	uint32_t place; /* bytes of its strings; 0: none */
	uint32_t arguments;
	uint32_t environment;
	uint32_t paths;
};

/* --- bytes ---------------------------------------------------------------- */

static int
send_all(int fd, const void *data, size_t len, struct error *err)
{
	const char *at = data;

	while (len > 0) {
		ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);

		if (sent == -1 && errno == EINTR)
			continue;
		if (sent == -1)
			return error_set_errno(err, errno, "cargo socket");
		at += sent;
		len -= (size_t)sent;
	}
	return 0;
}

static int
receive_all(int fd, void *data, size_t len, struct error *err)
{
	char *at = data;

	while (len > 0) {
		ssize_t got = read(fd, at, len);

		if (got == -1 && errno == EINTR)
			continue;
		if (got == -1)
			return error_set_errno(err, errno, "cargo socket");
		if (got == 0)
			return error_set(err, ERROR_UNAVAILABLE,
			    "cargo socket: the other end is gone");
		at += got;
		len -= (size_t)got;
	}
	return 0;
}

static int
receive_buffer(int fd, struct buffer *buffer, size_t len, struct error *err)
{
	char *room;

	if (len == 0)
		return 0;
	room = buffer_reserve(buffer, len);
	if (room == NULL)
		return error_set(
		    err, ERROR_RESOURCE_EXHAUSTED, "cargo socket: too long");
	if (receive_all(fd, room, len, err) < 0)
		return -1;
	buffer->len += len;
	return 0;
}

/* --- calls ---------------------------------------------------------------- */

static int
add_strings(struct buffer *out, const struct cargo_strings *list)
{
	int rc = 0;

	for (size_t i = 0; i < list->count && rc == 0; i++)
		rc = buffer_append(
		    out, list->items[i], strlen(list->items[i]) + 1);
	return rc;
}

int
cargo_message_send_call(
    int fd, const struct cargo_message_call *call, struct error *err)
{
	struct call_header header = {
	    .arguments = (uint32_t)call->arguments.count,
	    .environment = (uint32_t)call->environment.count,
	};
	struct buffer out;
	int rc;

	memcpy(header.magic, MAGIC, sizeof(header.magic));
	buffer_init(&out, CALL_MAX);
	if (buffer_append(&out, call->directory, strlen(call->directory) + 1) <
		0 ||
	    add_strings(&out, &call->arguments) < 0 ||
	    add_strings(&out, &call->environment) < 0) {
		rc = error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "cargo socket: the call is too long");
	} else {
		header.length = (uint32_t)out.len;
		rc = send_all(fd, &header, sizeof(header), err);
		if (rc == 0)
			rc = send_all(fd, out.data, out.len, err);
	}
	buffer_clear(&out);
	return rc;
}

static int
take_strings(struct str *rest, size_t count, struct cargo_strings *list)
{
	while (count-- > 0) {
		struct str item;

		if (rest->len == 0)
			return -1;
		item = str_cut(rest, '\0');
		cargo_strings_take(list, xstrndup(item.data, item.len));
	}
	return 0;
}

static int
decode_call(const struct call_header *header, const struct buffer *content,
    struct cargo_message_call *call, struct error *err)
{
	struct str rest = buffer_str(content);
	struct str directory;

	if (rest.len > 0 && rest.data[rest.len - 1] == '\0') {
		directory = str_cut(&rest, '\0');
		call->directory = xstrndup(directory.data, directory.len);
		if (header->arguments > 0 &&
		    take_strings(&rest, header->arguments, &call->arguments) ==
			0 &&
		    take_strings(
			&rest, header->environment, &call->environment) == 0)
			return 0;
	}
	return error_set(
	    err, ERROR_INVALID_ARGUMENT, "cargo socket: a malformed call");
}

int
cargo_message_receive_call(
    int fd, struct cargo_message_call *call, struct error *err)
{
	struct call_header header;
	struct buffer content;
	int rc;

	*call = (struct cargo_message_call){.caller = fd};
	if (receive_all(fd, &header, sizeof(header), err) < 0)
		return -1;
	if (memcmp(header.magic, MAGIC, sizeof(header.magic)) != 0 ||
	    header.length > CALL_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "cargo socket: the shim is of another version");
	buffer_init(&content, CALL_MAX);
	rc = receive_buffer(fd, &content, header.length, err);
	if (rc == 0)
		rc = decode_call(&header, &content, call, err);
	buffer_clear(&content);
	return rc;
}

bool
cargo_message_is_awaited(const struct cargo_message_call *call)
{
	struct pollfd polled = {.fd = call->caller, .events = POLLRDHUP};

	return poll(&polled, 1, 0) == 0;
}

void
cargo_message_call_clear(struct cargo_message_call *call)
{
	free(call->directory);
	call->directory = NULL;
	cargo_strings_clear(&call->arguments);
	cargo_strings_clear(&call->environment);
}

/* --- answers -------------------------------------------------------------- */

void
cargo_message_answer_init(struct cargo_message_answer *answer)
{
	*answer = (struct cargo_message_answer){.kind = CARGO_MESSAGE_LOCAL};
	buffer_init(&answer->output, ANSWER_MAX);
	buffer_init(&answer->errors, ANSWER_MAX);
}

static void
clear_place(struct cargo_message_place *place)
{
	free(place->directory);
	free(place->dep_info);
	free(place->metadata);
	cargo_strings_clear(&place->arguments);
	cargo_strings_clear(&place->environment);
	cargo_strings_clear(&place->paths);
}

void
cargo_message_answer_clear(struct cargo_message_answer *answer)
{
	buffer_clear(&answer->output);
	buffer_clear(&answer->errors);
	clear_place(&answer->place);
}

static bool
has_place(enum cargo_message_kind kind)
{
	return kind == CARGO_MESSAGE_PLACE || kind == CARGO_MESSAGE_EARLY;
}

static int
encode_place(const struct cargo_message_place *place, struct buffer *out)
{
	if (buffer_append(out, place->directory, strlen(place->directory) + 1) <
		0 ||
	    buffer_append(out, place->dep_info, strlen(place->dep_info) + 1) <
		0 ||
	    buffer_append(out, place->metadata, strlen(place->metadata) + 1) <
		0 ||
	    add_strings(out, &place->arguments) < 0 ||
	    add_strings(out, &place->environment) < 0)
		return -1;
	return add_strings(out, &place->paths);
}

static int
decode_place(const struct answer_header *header, const struct buffer *content,
    struct cargo_message_place *place, struct error *err)
{
	struct str rest = buffer_str(content);
	struct str text;

	if (rest.len > 0 && rest.data[rest.len - 1] == '\0') {
		text = str_cut(&rest, '\0');
		place->directory = xstrndup(text.data, text.len);
		text = str_cut(&rest, '\0');
		place->dep_info = xstrndup(text.data, text.len);
		text = str_cut(&rest, '\0');
		place->metadata = xstrndup(text.data, text.len);
		if (header->arguments > 0 && header->paths % 2 == 0 &&
		    take_strings(&rest, header->arguments, &place->arguments) ==
			0 &&
		    take_strings(
			&rest, header->environment, &place->environment) == 0 &&
		    take_strings(&rest, header->paths, &place->paths) == 0)
			return 0;
	}
	return error_set(
	    err, ERROR_INVALID_ARGUMENT, "cargo socket: a malformed answer");
}

int
cargo_message_send_answer(
    int fd, const struct cargo_message_answer *answer, struct error *err)
{
	const struct cargo_message_place *place = &answer->place;
	struct answer_header header = {(uint32_t)answer->kind, answer->status,
	    (uint32_t)answer->output.len, (uint32_t)answer->errors.len, 0,
	    (uint32_t)place->arguments.count,
	    (uint32_t)place->environment.count, (uint32_t)place->paths.count};
	struct buffer text;
	int rc = 0;

	buffer_init(&text, CALL_MAX);
	if (has_place(answer->kind) && encode_place(place, &text) < 0)
		rc = error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "cargo socket: the answer is too long");
	header.place = (uint32_t)text.len;
	if (rc == 0)
		rc = send_all(fd, &header, sizeof(header), err);
	if (rc == 0)
		rc = send_all(fd, answer->output.data, answer->output.len, err);
	if (rc == 0)
		rc = send_all(fd, answer->errors.data, answer->errors.len, err);
	if (rc == 0)
		rc = send_all(fd, text.data, text.len, err);
	buffer_clear(&text);
	return rc;
}

static bool
is_known(uint32_t kind)
{
	return kind == CARGO_MESSAGE_DONE || kind == CARGO_MESSAGE_LOCAL ||
	       kind == CARGO_MESSAGE_PLACE || kind == CARGO_MESSAGE_EARLY;
}

int
cargo_message_receive_answer(
    int fd, struct cargo_message_answer *answer, struct error *err)
{
	struct answer_header header;
	struct buffer text;
	int rc;

	if (receive_all(fd, &header, sizeof(header), err) < 0)
		return -1;
	if (!is_known(header.kind))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "cargo socket: the front is of another version");
	answer->kind = (enum cargo_message_kind)header.kind;
	answer->status = header.status;
	buffer_init(&text, CALL_MAX);
	rc = receive_buffer(fd, &answer->output, header.output, err);
	if (rc == 0)
		rc = receive_buffer(fd, &answer->errors, header.errors, err);
	if (rc == 0)
		rc = receive_buffer(fd, &text, header.place, err);
	if (rc == 0 && has_place(answer->kind))
		rc = decode_place(&header, &text, &answer->place, err);
	buffer_clear(&text);
	return rc;
}

int
cargo_message_send_reply(int fd, bool told, struct error *err)
{
	const char byte = told ? 'y' : 'n';

	return send_all(fd, &byte, 1, err);
}

int
cargo_message_receive_reply(int fd, bool *told, struct error *err)
{
	char byte = 'n';
	int rc = receive_all(fd, &byte, 1, err);

	*told = rc == 0 && byte == 'y';
	return rc;
}
