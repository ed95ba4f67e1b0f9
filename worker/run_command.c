/* SPDX-License-Identifier: Apache-2.0 */
/* Checks and conversions of a Command. No state. */
#include "worker/run_command.h"

#include <limits.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "cas/directory.h"
#include "protos/arena_allocator.h"

static int
out_of_memory(struct error *err)
{
	return error_set(
	    err, ERROR_RESOURCE_EXHAUSTED, "the action's command is too large");
}

static int
invalid_path(struct str path, const char *why, struct error *err)
{
	char printable[DIRECTORY_PRINTABLE_MAX];

	return error_set(err, ERROR_INVALID_ARGUMENT, "path \"%s\" %s",
	    directory_printable(path, printable), why);
}

/* Appends the names of path to the plain path of *len bytes in out. */
static int
walk_path(char *out, size_t *len, struct str path, struct error *err)
{
	struct str rest = path;

	while (rest.len > 0) {
		struct str name = str_cut(&rest, '/');

		if (name.len == 0 || str_equal(name, STR(".")))
			continue;
		if (str_equal(name, STR(".."))) {
			if (*len == 0)
				return invalid_path(
				    path, "leads out of the input root", err);
			while (*len > 0 && out[--*len] != '/')
				;
			continue;
		}
		if (name.len > DIRECTORY_NAME_MAX)
			return invalid_path(
			    path, "has a name of more than 255 bytes", err);
		if (*len > 0)
			out[(*len)++] = '/';
		memcpy(out + *len, name.data, name.len);
		*len += name.len;
	}
	return 0;
}

const char *
run_command_resolve(
    struct arena *arena, struct str base, struct str path, struct error *err)
{
	size_t len = 0;
	char *out;

	if (path.len + base.len + 2 > PATH_MAX) {
		invalid_path(path, "is too long", err);
		return NULL;
	}
	if (path.len > 0 && path.data[0] == '/') {
		invalid_path(path, "must be relative", err);
		return NULL;
	}
	if (path.len > 0 && path.data[path.len - 1] == '/') {
		invalid_path(path, "must not end in \"/\"", err);
		return NULL;
	}
	if (memchr(path.data, '\0', path.len) != NULL) {
		invalid_path(path, "holds a NUL", err);
		return NULL;
	}
	out = arena_alloc(arena, base.len + path.len + 2);
	if (out == NULL) {
		out_of_memory(err);
		return NULL;
	}
	if (walk_path(out, &len, base, err) < 0 ||
	    walk_path(out, &len, path, err) < 0)
		return NULL;
	out[len] = '\0';
	return out;
}

static const char *
copy_text(struct arena *arena, ProtobufCBinaryData data, const char *what,
    struct error *err)
{
	struct str text = directory_str(data);
	const char *copy;

	if (memchr(text.data, '\0', text.len) != NULL) {
		error_set(
		    err, ERROR_INVALID_ARGUMENT, "%s holds a NUL byte", what);
		return NULL;
	}
	copy = arena_copy(arena, text);
	if (copy == NULL)
		out_of_memory(err);
	return copy;
}

static int
decode_arguments(struct run_command *command, struct arena *arena,
    const Reapi__Command *message, struct error *err)
{
	size_t count = message->n_arguments;

	if (count == 0 || message->arguments[0].len == 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the command has no arguments: the first names the "
		    "program");
	command->arguments =
	    arena_zalloc(arena, count + 1, sizeof(*command->arguments));
	if (command->arguments == NULL)
		return out_of_memory(err);
	for (size_t i = 0; i < count; i++) {
		command->arguments[i] =
		    copy_text(arena, message->arguments[i], "an argument", err);
		if (command->arguments[i] == NULL)
			return -1;
	}
	command->argument_count = count;
	return 0;
}

static const char *
decode_variable(struct arena *arena,
    const Reapi__Command__EnvironmentVariable *variable, struct error *err)
{
	struct str name = directory_str(variable->name);
	struct str value = directory_str(variable->value);
	const char *text;

	if (name.len == 0 || memchr(name.data, '=', name.len) != NULL ||
	    memchr(name.data, '\0', name.len) != NULL ||
	    memchr(value.data, '\0', value.len) != NULL) {
		char printable[DIRECTORY_PRINTABLE_MAX];

		error_set(err, ERROR_INVALID_ARGUMENT,
		    "environment variable \"%s\" has an empty name, a \"=\" "
		    "in it or a NUL byte",
		    directory_printable(name, printable));
		return NULL;
	}
	text = arena_printf(arena, "%.*s=%.*s", STR_ARG(name), STR_ARG(value));
	if (text == NULL)
		out_of_memory(err);
	return text;
}

static int
decode_environment(struct run_command *command, struct arena *arena,
    const Reapi__Command *message, struct error *err)
{
	const char *default_path = command->search_path;
	size_t count = message->n_environment_variables;
	bool found = false;

	command->environment =
	    arena_zalloc(arena, count + 2, sizeof(*command->environment));
	if (command->environment == NULL)
		return out_of_memory(err);
	for (size_t i = 0; i < count; i++) {
		const char *text = decode_variable(
		    arena, message->environment_variables[i], err);

		if (text == NULL)
			return -1;
		command->environment[i] = text;
		if (strncmp(text, "PATH=", 5) == 0) {
			command->search_path = text + 5;
			found = true;
		}
	}
	if (!found) {
		const char *text = arena_printf(arena, "PATH=%s", default_path);

		if (text == NULL)
			return out_of_memory(err);
		command->environment[count++] = text;
	}
	command->environment_count = count;
	return 0;
}

static int
add_outputs(struct run_command *command, struct arena *arena,
    const ProtobufCBinaryData *paths, size_t count,
    enum run_command_output_kind kind, struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		struct run_command_output *output =
		    &command->outputs[command->output_count];

		output->path = directory_str(paths[i]);
		output->kind = kind;
		if (output->path.len == 0 && kind == RUN_COMMAND_OUTPUT_FILE)
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "an output file has an empty path");
		output->place = run_command_resolve(arena,
		    str_from(command->working_directory), output->path, err);
		if (output->place == NULL)
			return -1;
		command->output_count++;
	}
	return 0;
}

/* output_paths, where given, make the older fields void. */
static int
decode_outputs(struct run_command *command, struct arena *arena,
    const Reapi__Command *message, struct error *err)
{
	size_t files = message->n_output_files;
	size_t directories = message->n_output_directories;
	size_t paths = message->n_output_paths;
	int rc;

	command->outputs =
	    arena_zalloc(arena, paths > 0 ? paths : files + directories + 1,
		sizeof(*command->outputs));
	if (command->outputs == NULL)
		return out_of_memory(err);
	if (paths > 0) {
		rc = add_outputs(command, arena, message->output_paths, paths,
		    RUN_COMMAND_OUTPUT_ANY, err);
	} else {
		rc = add_outputs(command, arena, message->output_files, files,
		    RUN_COMMAND_OUTPUT_FILE, err);
		if (rc == 0)
			rc = add_outputs(command, arena,
			    message->output_directories, directories,
			    RUN_COMMAND_OUTPUT_DIRECTORY, err);
	}
	if (rc < 0)
		error_prefix(err, "an output");
	return rc;
}

static int
decode_format(struct run_command *command, const Reapi__Command *message,
    struct error *err)
{
	for (size_t i = 0; i < message->n_output_node_properties; i++) {
		struct str name =
		    directory_str(message->output_node_properties[i]);
		char printable[DIRECTORY_PRINTABLE_MAX];

		if (str_equal(name, STR("unix_mode")))
			command->want_mode = true;
		else if (str_equal(name, STR("mtime")))
			command->want_mtime = true;
		else
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "output node property \"%s\" is not known; known "
			    "are mtime and unix_mode",
			    directory_printable(name, printable));
	}
	switch (message->output_directory_format) {
	case REAPI__COMMAND__OUTPUT_DIRECTORY_FORMAT__DIRECTORY_ONLY:
		command->want_directories = true;
		break;
	case REAPI__COMMAND__OUTPUT_DIRECTORY_FORMAT__TREE_AND_DIRECTORY:
		command->want_directories = true;
		command->want_tree = true;
		break;
	default: /* what is not known counts as TREE_ONLY */
		command->want_tree = true;
	}
	return 0;
}

static int
decode_working_directory(struct run_command *command, struct arena *arena,
    const Reapi__Command *message, struct error *err)
{
	command->working_directory = run_command_resolve(
	    arena, STR(""), directory_str(message->working_directory), err);
	if (command->working_directory == NULL) {
		error_prefix(err, "the working directory");
		return -1;
	}
	return 0;
}

int
run_command_decode(struct run_command *command, struct arena *arena,
    struct str bytes, const char *default_path, struct error *err)
{
	Reapi__Command *message =
	    protos_unpack(arena, &reapi__command__descriptor, bytes, err);

	memset(command, 0, sizeof(*command));
	command->search_path =
	    default_path != NULL ? default_path : RUN_COMMAND_DEFAULT_PATH;
	if (message == NULL ||
	    decode_arguments(command, arena, message, err) < 0 ||
	    decode_environment(command, arena, message, err) < 0 ||
	    decode_working_directory(command, arena, message, err) < 0 ||
	    decode_outputs(command, arena, message, err) < 0)
		return -1;
	command->message = message;
	return decode_format(command, message, err);
}

struct str
run_command_property(const Reapi__Platform *platform, struct str name)
{
	if (platform == NULL)
		return (struct str){NULL, 0};
	for (size_t i = 0; i < platform->n_properties; i++)
		if (str_equal(
			directory_str(platform->properties[i]->name), name))
			return directory_str(platform->properties[i]->value);
	return (struct str){NULL, 0};
}
