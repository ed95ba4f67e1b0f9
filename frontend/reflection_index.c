/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading: one pass over each file's descriptor, names put together from
 * package and nesting. Answering: the request is scanned and the response
 * written field by field, since it mostly consists of bytes that we hold.
 */
#include "frontend/reflection_index.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/map.h"
#include "base/memory.h"
#include "protos/wire.h"

/* The set is compiled in, so these are bounds on ourselves. */
#define FILES_MAX 256
#define EXTENSIONS_MAX 64
#define INDEX_MEMORY ((size_t)64 << 20)
#define RESPONSE_LIMIT ((size_t)4 << 20)

struct proto_file {
	struct str name;
	struct str content; /* encoded FileDescriptorProto */
};

struct extension {
	struct str extendee; /* full name, without the leading dot */
	uint64_t number;
	struct proto_file *file;
};

struct service_name {
	struct str name;
	struct service_name *next;
};

struct reflection_index {
	struct arena arena; /* names, files, extensions */
	struct proto_file files[FILES_MAX];
	size_t file_count;
	struct map by_name;   /* file name -> struct proto_file */
	struct map by_symbol; /* full name -> struct proto_file */
	struct map types;     /* full name of a message -> its file */
	struct extension extensions[EXTENSIONS_MAX];
	size_t extension_count;
	struct service_name *services; /* newest first */
};

/* --- reading descriptors -------------------------------------------------- */

/* The fields of descriptor.proto that declare or contain names. A kind says
 * how the fields of its message are to be read. */
enum kind { KIND_FILE, KIND_MESSAGE, KIND_ENUM, KIND_SERVICE, KIND_LEAF };

struct member {
	enum kind parent;
	uint32_t number; /* of the field in the parent */
	enum kind kind;
	bool extension;
};

static const struct member members[] = {
    {KIND_FILE, 4, KIND_MESSAGE, false}, {KIND_FILE, 5, KIND_ENUM, false},
    {KIND_FILE, 6, KIND_SERVICE, false}, {KIND_FILE, 7, KIND_LEAF, true},
    {KIND_MESSAGE, 2, KIND_LEAF, false}, /* fields */
    {KIND_MESSAGE, 3, KIND_MESSAGE, false}, {KIND_MESSAGE, 4, KIND_ENUM, false},
    {KIND_MESSAGE, 6, KIND_LEAF, true},
    {KIND_MESSAGE, 8, KIND_LEAF, false}, /* oneofs */
    {KIND_ENUM, 2, KIND_LEAF, false},    /* values */
    {KIND_SERVICE, 2, KIND_LEAF, false}, /* methods */
};

static const struct member *
member_find(enum kind parent, const struct wire_field *field)
{
	if (field->type != WIRE_BYTES)
		return NULL;
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		if (members[i].parent == parent &&
		    members[i].number == field->number)
			return &members[i];
	}
	return NULL;
}

/* The bytes field of this number, empty when absent; last one wins, as in
 * protobuf. */
static struct str
field_bytes(struct str message, uint32_t number)
{
	struct wire_field field;
	struct str found = STR("");

	while (wire_next(&message, &field) == 1) {
		if (field.number == number && field.type == WIRE_BYTES)
			found = field.bytes;
	}
	return found;
}

static uint64_t
field_number(struct str message, uint32_t number)
{
	struct wire_field field;
	uint64_t found = 0;

	while (wire_next(&message, &field) == 1) {
		if (field.number == number && field.type == WIRE_VARINT)
			found = field.value;
	}
	return found;
}

static struct str
full_name(struct reflection_index *index, struct str scope, struct str name)
{
	char *text = arena_printf(&index->arena, "%.*s%s%.*s", STR_ARG(scope),
	    scope.len > 0 ? "." : "", STR_ARG(name));

	return text != NULL ? str_from(text) : STR("");
}

static int
add_extension(
    struct reflection_index *index, struct proto_file *file, struct str content)
{
	struct str extendee = field_bytes(content, 2);

	if (index->extension_count == EXTENSIONS_MAX)
		return -1;
	if (str_starts_with(extendee, STR(".")))
		extendee = (struct str){extendee.data + 1, extendee.len - 1};
	index->extensions[index->extension_count++] =
	    (struct extension){extendee, field_number(content, 3), file};
	return 0;
}

static int read_members(struct reflection_index *index, struct proto_file *file,
    enum kind kind, struct str content, struct str scope);

/* Names what content declares and goes on with what is inside it. */
static int
read_declaration(struct reflection_index *index, struct proto_file *file,
    const struct member *member, struct str content, struct str scope)
{
	struct str name = full_name(index, scope, field_bytes(content, 1));

	if (name.len == 0)
		return -1;
	map_put(&index->by_symbol, name, file);
	if (member->extension && add_extension(index, file, content) < 0)
		return -1;
	if (member->kind == KIND_MESSAGE)
		map_put(&index->types, name, file);
	/* The values of an enum are siblings of it, not children. */
	return read_members(index, file, member->kind, content,
	    member->kind == KIND_ENUM ? scope : name);
}

static int
read_members(struct reflection_index *index, struct proto_file *file,
    enum kind kind, struct str content, struct str scope)
{
	struct wire_field field;
	int more;

	while ((more = wire_next(&content, &field)) == 1) {
		const struct member *member = member_find(kind, &field);

		if (member != NULL && read_declaration(index, file, member,
					  field.bytes, scope) < 0)
			return -1;
	}
	return more;
}

static int
read_file(struct reflection_index *index, struct str content)
{
	struct proto_file *file;

	if (index->file_count == FILES_MAX)
		return -1;
	file = &index->files[index->file_count++];
	*file = (struct proto_file){field_bytes(content, 1), content};
	map_put(&index->by_name, file->name, file);
	return read_members(
	    index, file, KIND_FILE, content, field_bytes(content, 2));
}

static int
read_set(struct reflection_index *index, struct str set)
{
	struct wire_field field;
	int more;

	while ((more = wire_next(&set, &field)) == 1) {
		if (field.number == 1 && field.type == WIRE_BYTES &&
		    read_file(index, field.bytes) < 0)
			return -1;
	}
	return more;
}

struct reflection_index *
reflection_index_new(struct str set, struct error *err)
{
	struct reflection_index *index = xcalloc(1, sizeof(*index));

	arena_init(&index->arena, INDEX_MEMORY);
	map_init(&index->by_name);
	map_init(&index->by_symbol);
	map_init(&index->types);
	if (read_set(index, set) < 0) {
		error_set(err, ERROR_INTERNAL,
		    "the descriptor set is malformed, or has more than %d "
		    "files or %d extensions",
		    FILES_MAX, EXTENSIONS_MAX);
		reflection_index_free(index);
		return NULL;
	}
	return index;
}

void
reflection_index_free(struct reflection_index *index)
{
	if (index == NULL)
		return;
	map_clear(&index->by_name);
	map_clear(&index->by_symbol);
	map_clear(&index->types);
	arena_clear(&index->arena);
	free(index);
}

void
reflection_index_add_service(struct reflection_index *index, struct str name)
{
	struct service_name **end = &index->services;
	struct service_name *added;

	for (; *end != NULL; end = &(*end)->next) {
		if (str_equal((*end)->name, name))
			return;
	}
	added = arena_zalloc(&index->arena, 1, sizeof(*added));
	if (added == NULL)
		return;
	added->name = full_name(index, STR(""), name);
	*end = added;
}

/* --- answering ------------------------------------------------------------ */

/* Fields of ServerReflectionRequest and, from the other side, of the
 * response. */
enum {
	REQUEST_HOST = 1,
	REQUEST_FILE = 3,
	REQUEST_SYMBOL = 4,
	REQUEST_EXTENSION = 5,
	REQUEST_EXTENSION_NUMBERS = 6,
	REQUEST_SERVICES = 7,
	RESPONSE_HOST = 1,
	RESPONSE_REQUEST = 2,
	RESPONSE_FILES = 4,
	RESPONSE_EXTENSION_NUMBERS = 5,
	RESPONSE_SERVICES = 6,
	RESPONSE_ERROR = 7,
};

static int
put_bytes(struct buffer *out, uint32_t number, struct str bytes)
{
	uint8_t header[2 * WIRE_VARINT_MAX];
	size_t len = wire_put_bytes_header(header, number, bytes.len);

	if (buffer_append(out, header, len) < 0)
		return -1;
	return buffer_append(out, bytes.data, bytes.len);
}

static int
put_number(struct buffer *out, uint32_t number, uint64_t value)
{
	uint8_t field[2 * WIRE_VARINT_MAX];

	return buffer_append(
	    out, field, wire_put_varint_field(field, number, value));
}

static int
answer_error(
    struct buffer *out, enum error_code code, const char *what, struct str name)
{
	struct buffer inner;
	char text[256];
	int length, rc = -1;

	length = snprintf(text, sizeof(text), "%s%.*s", what,
	    name.len < 160 ? (int)name.len : 160, name.data);
	buffer_init(&inner, RESPONSE_LIMIT);
	if (length >= 0 && put_number(&inner, 1, code) == 0 &&
	    put_bytes(&inner, 2, str_from(text)) == 0)
		rc = put_bytes(out, RESPONSE_ERROR, buffer_str(&inner));
	buffer_clear(&inner);
	return rc;
}

/* The files that those marked import, marked too. */
static void
mark_imports(const struct reflection_index *index, bool *marked)
{
	/* Imports stand before their importers in the set. */
	for (size_t i = index->file_count; i-- > 0;) {
		struct str content = index->files[i].content;
		struct wire_field field;

		while (marked[i] && wire_next(&content, &field) == 1) {
			const struct proto_file *import;

			if (field.number != 3 || field.type != WIRE_BYTES)
				continue;
			import = map_get(&index->by_name, field.bytes);
			if (import != NULL)
				marked[import - index->files] = true;
		}
	}
}

/* The file first, as clients expect, then all that it needs. */
static int
answer_file(const struct reflection_index *index, const struct proto_file *file,
    struct str asked, struct buffer *out)
{
	bool marked[FILES_MAX] = {false};
	struct buffer inner;
	int rc;

	if (file == NULL)
		return answer_error(out, ERROR_NOT_FOUND,
		    "this server has no file or symbol ", asked);
	marked[file - index->files] = true;
	mark_imports(index, marked);
	buffer_init(&inner, RESPONSE_LIMIT);
	rc = put_bytes(&inner, 1, file->content);
	for (size_t i = 0; i < index->file_count && rc == 0; i++) {
		if (marked[i] && &index->files[i] != file)
			rc = put_bytes(&inner, 1, index->files[i].content);
	}
	if (rc == 0)
		rc = put_bytes(out, RESPONSE_FILES, buffer_str(&inner));
	buffer_clear(&inner);
	return rc;
}

static int
answer_extension(const struct reflection_index *index, struct str question,
    struct buffer *out)
{
	struct str type = field_bytes(question, 1);
	uint64_t number = field_number(question, 2);

	for (size_t i = 0; i < index->extension_count; i++) {
		const struct extension *extension = &index->extensions[i];

		if (extension->number == number &&
		    str_equal(extension->extendee, type))
			return answer_file(index, extension->file, type, out);
	}
	return answer_error(out, ERROR_NOT_FOUND,
	    "this server has no such extension of ", type);
}

static int
answer_extension_numbers(
    const struct reflection_index *index, struct str type, struct buffer *out)
{
	struct buffer inner;
	int rc;

	if (map_get(&index->types, type) == NULL)
		return answer_error(out, ERROR_NOT_FOUND,
		    "this server has no message type ", type);
	buffer_init(&inner, RESPONSE_LIMIT);
	rc = put_bytes(&inner, 1, type);
	for (size_t i = 0; i < index->extension_count && rc == 0; i++) {
		if (str_equal(index->extensions[i].extendee, type))
			rc = put_number(&inner, 2, index->extensions[i].number);
	}
	if (rc == 0)
		rc = put_bytes(
		    out, RESPONSE_EXTENSION_NUMBERS, buffer_str(&inner));
	buffer_clear(&inner);
	return rc;
}

static int
answer_services(const struct reflection_index *index, struct buffer *out)
{
	struct buffer inner, one;
	int rc = 0;

	buffer_init(&inner, RESPONSE_LIMIT);
	buffer_init(&one, RESPONSE_LIMIT);
	for (const struct service_name *service = index->services;
	     service != NULL && rc == 0; service = service->next) {
		buffer_reset(&one);
		rc = put_bytes(&one, 1, service->name);
		if (rc == 0)
			rc = put_bytes(&inner, 1, buffer_str(&one));
	}
	if (rc == 0)
		rc = put_bytes(out, RESPONSE_SERVICES, buffer_str(&inner));
	buffer_clear(&one);
	buffer_clear(&inner);
	return rc;
}

static int
answer_question(const struct reflection_index *index,
    const struct wire_field *question, struct buffer *out)
{
	struct str text = question->bytes;

	switch (question->number) {
	case REQUEST_FILE:
		return answer_file(
		    index, map_get(&index->by_name, text), text, out);
	case REQUEST_SYMBOL:
		return answer_file(
		    index, map_get(&index->by_symbol, text), text, out);
	case REQUEST_EXTENSION:
		return answer_extension(index, text, out);
	case REQUEST_EXTENSION_NUMBERS:
		return answer_extension_numbers(index, text, out);
	case REQUEST_SERVICES:
		return answer_services(index, out);
	default:
		return answer_error(out, ERROR_INVALID_ARGUMENT,
		    "the request asks no question that this server knows",
		    STR(""));
	}
}

int
reflection_index_answer(const struct reflection_index *index,
    struct str request, struct buffer *response, struct error *err)
{
	struct str rest = request, host = STR("");
	struct wire_field field, question = {.bytes = STR("")};
	int more;

	while ((more = wire_next(&rest, &field)) == 1) {
		if (field.type != WIRE_BYTES)
			continue;
		if (field.number == REQUEST_HOST)
			host = field.bytes;
		else if (field.number >= REQUEST_FILE &&
			 field.number <= REQUEST_SERVICES)
			question = field;
	}
	if (more < 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the message is no ServerReflectionRequest");
	if (put_bytes(response, RESPONSE_HOST, host) < 0 ||
	    put_bytes(response, RESPONSE_REQUEST, request) < 0 ||
	    answer_question(index, &question, response) < 0)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the answer to the reflection request is larger than "
		    "%zu bytes",
		    response->limit);
	return 0;
}
