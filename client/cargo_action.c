/* SPDX-License-Identifier: Apache-2.0 */
/* Fills protobuf-c structures that borrow everything, and packs them. */
#include "client/cargo_action.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cas/digest_message.h"
#include "client/cargo_strings.h"
#include "protos/early_outputs.h"

static ProtobufCBinaryData
binary(const char *text, size_t length)
{
	return (ProtobufCBinaryData){length, (uint8_t *)(uintptr_t)text};
}

static struct str
pack(const ProtobufCMessage *message)
{
	size_t length = protobuf_c_message_get_packed_size(message);
	uint8_t *data = xmalloc(length + 1);

	protobuf_c_message_pack(message, data);
	return (struct str){(char *)data, length};
}

/* Relative to where it runs, as the specification wants; the caller frees. */
static char *
relative(const char *directory, const char *path)
{
	char *text = xstrdup(path + 1);

	for (const char *at = directory + 1; at != NULL && *at != '\0';) {
		char *longer = xasprintf("../%s", text);

		free(text);
		text = longer;
		at = strchr(at, '/');
		at = at != NULL ? at + 1 : NULL;
	}
	return text;
}

static void
set_arguments(Reapi__Command *command, const struct cargo_strings *list)
{
	command->n_arguments = list->count;
	command->arguments = xcalloc(list->count, sizeof(*command->arguments));
	for (size_t i = 0; i < list->count; i++)
		command->arguments[i] =
		    binary(list->items[i], strlen(list->items[i]));
}

static void
set_environment(Reapi__Command *command, const struct cargo_strings *list)
{
	Reapi__Command__EnvironmentVariable *variables =
	    xcalloc(list->count, sizeof(*variables));

	command->n_environment_variables = list->count;
	command->environment_variables =
	    xcalloc(list->count, sizeof(*command->environment_variables));
	for (size_t i = 0; i < list->count; i++) {
		const char *item = list->items[i];
		size_t length = strcspn(item, "=");

		reapi__command__environment_variable__init(&variables[i]);
		variables[i].name = binary(item, length);
		variables[i].value =
		    binary(item + length + 1, strlen(item + length + 1));
		command->environment_variables[i] = &variables[i];
	}
}

static void
set_outputs(Reapi__Command *command, const struct cargo_action_parts *parts,
    struct cargo_strings *paths)
{
	size_t root = strlen(parts->input_root);

	for (size_t i = 0; i < parts->outputs->count; i++) {
		char *path = xasprintf(
		    "%s/%s", parts->out_dir, parts->outputs->items[i]);

		cargo_strings_take(
		    paths, relative(parts->directory + root, path + root));
		free(path);
	}
	command->n_output_paths = paths->count;
	command->output_paths =
	    xcalloc(paths->count, sizeof(*command->output_paths));
	for (size_t i = 0; i < paths->count; i++)
		command->output_paths[i] =
		    binary(paths->items[i], strlen(paths->items[i]));
}

static void
make_command(
    struct cargo_action *action, const struct cargo_action_parts *parts)
{
	Reapi__Command command = REAPI__COMMAND__INIT;
	const char *directory;

	set_arguments(&command, parts->arguments);
	set_environment(&command, parts->environment);
	set_outputs(&command, parts, &action->outputs);
	directory = parts->directory + strlen(parts->input_root) + 1;
	command.working_directory = binary(directory, strlen(directory));
	action->command = pack(&command.base);
	free(command.arguments);
	if (command.n_environment_variables > 0)
		free(command.environment_variables[0]);
	free(command.environment_variables);
	free(command.output_paths);
}

#define PROPERTIES_MAX 3

struct platform {
	Reapi__Platform message;
	Reapi__Platform__Property properties[PROPERTIES_MAX];
	Reapi__Platform__Property *list[PROPERTIES_MAX];
	char root_text[DIGEST_TEXT_MAX];
};

static void
add_property(struct platform *platform, const char *name, const char *value)
{
	size_t i = platform->message.n_properties++;

	reapi__platform__property__init(&platform->properties[i]);
	platform->properties[i].name = binary(name, strlen(name));
	platform->properties[i].value = binary(value, strlen(value));
	platform->list[i] = &platform->properties[i];
}

/* In the order of their names. */
static void
make_platform(struct platform *platform, const struct cargo_action_parts *parts)
{
	reapi__platform__init(&platform->message);
	platform->message.properties = platform->list;
	add_property(platform, "InputRootAbsolutePath",
	    parts->input_root[0] != '\0' ? parts->input_root : "/");
	if (parts->early)
		add_property(platform, EARLY_OUTPUTS_PROPERTY, ".d,.rmeta");
	if (parts->toolchain != NULL) {
		digest_format(parts->toolchain, platform->root_text);
		add_property(platform, "toolchain-root", platform->root_text);
	}
}

void
cargo_action_make(
    struct cargo_action *action, const struct cargo_action_parts *parts)
{
	Reapi__Action message = REAPI__ACTION__INIT;
	Reapi__Digest command = REAPI__DIGEST__INIT, root = REAPI__DIGEST__INIT;
	char texts[2][DIGEST_TEXT_MAX];
	struct platform platform = {.root_text = ""};

	make_command(action, parts);
	make_platform(&platform, parts);
	digest_compute(parts->root.function, action->command.data,
	    action->command.len, &action->command_digest);
	digest_to_message(&action->command_digest, texts[0], &command);
	digest_to_message(&parts->root, texts[1], &root);
	message.command_digest = &command;
	message.input_root_digest = &root;
	message.platform = &platform.message;
	action->action = pack(&message.base);
	digest_compute(parts->root.function, action->action.data,
	    action->action.len, &action->digest);
}

void
cargo_action_clear(struct cargo_action *action)
{
	free((char *)(uintptr_t)action->command.data);
	free((char *)(uintptr_t)action->action.data);
	cargo_strings_clear(&action->outputs);
	*action = (struct cargo_action){.command = {NULL, 0}};
}
