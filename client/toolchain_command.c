/* SPDX-License-Identifier: Apache-2.0 */
/* Picks the subcommand; and what the subcommands share. */
#include "client/toolchain_command.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/printable.h"
#include "cas/digest_message.h"
#include "client/cas_client.h"
#include "client/subcommands.h"
#include "client/toolchain_commands.h"
#include "rpc/channel.h"

#define ANSWER_MEMORY (256u << 20)

static const struct subcommand subcommands[] = {
    {"add", toolchain_commands_add, "capture a toolchain and give it a name"},
    {"list", toolchain_commands_list, "the names that the server has"},
    {"show", toolchain_commands_show, "what is in one, and how to use it"},
    {"diff", toolchain_commands_diff, "which files differ between two"},
    {"rm", toolchain_commands_rm, "forget a name"},
};

int
toolchain_command(char **argv)
{
	const struct subcommands set = {.command = "toolchain",
	    .about = "A toolchain is an input root in the store. Its digest "
		     "is part of every action\nthat uses it: another "
		     "toolchain, other actions.\n\n",
	    .table = subcommands,
	    .count = sizeof(subcommands) / sizeof(subcommands[0])};

	return subcommands_run(&set, argv);
}

/* --- a server ------------------------------------------------------------- */

int
toolchain_commands_open(struct toolchain_server *server,
    const struct client_options *options, bool cas, struct error *err)
{
	struct toolchain_service *service = &server->service;

	service->address = options->server;
	service->instance = options->instance;
	service->arena = &server->arena;
	arena_init(&server->arena, ANSWER_MEMORY);
	service->channel = client_options_channel(options, err);
	if (service->channel == NULL)
		return -1;
	if (!cas)
		return 0;
	server->cas = client_options_cas(options, service->channel, err);
	return server->cas != NULL ? 0 : -1;
}

void
toolchain_commands_close(struct toolchain_server *server)
{
	cas_client_close(server->cas);
	if (server->service.channel != NULL)
		rpc_channel_close(server->service.channel);
	arena_clear(&server->arena);
}

Toolchainapi__Toolchain *
toolchain_commands_get(struct toolchain_server *server, const char *name,
    struct digest *root, struct error *err)
{
	Toolchainapi__Toolchain *toolchain =
	    toolchain_service_get(&server->service, name, err);

	if (toolchain == NULL ||
	    toolchain_service_root(toolchain, root, err) < 0)
		return NULL;
	return toolchain;
}

/* --- printing ------------------------------------------------------------- */

void
toolchain_commands_clean(char *text)
{
	printable_make(text, strlen(text), PRINTABLE_LINE);
}

void
toolchain_commands_print_text(const char *indent, const char *text)
{
	struct str rest = str_from(text);

	while (rest.len > 0) {
		struct str line = str_cut(&rest, '\n');
		char *shown = xstrndup(line.data, line.len);

		toolchain_commands_clean(shown);
		printf("%s%s\n", indent, shown);
		free(shown);
	}
}

/* Its digest as text; false for a part that cannot be mounted. */
static bool
part_property(const Toolchainapi__Part *part, enum digest_function function,
    char text[static DIGEST_TEXT_MAX])
{
	struct digest digest;
	struct error ignored;

	if (part->mount_point[0] != '/' ||
	    strpbrk(part->mount_point, " =\n\r\t\033") != NULL ||
	    digest_from_message(
		function, part->root_digest, &digest, &ignored) < 0)
		return false;
	digest_format(&digest, text);
	return true;
}

void
toolchain_commands_print_use(
    const Toolchainapi__Toolchain *toolchain, const struct digest *root)
{
	char text[DIGEST_TEXT_MAX];

	digest_format(root, text);
	printf("\nBazel: put into .bazelrc\n\n"
	       "  build --remote_default_exec_properties=toolchain-root=%s\n\n"
	       "or into a platform()\n\n"
	       "  exec_properties = {\"toolchain-root\": \"%s\"},\n",
	    text, text);
	for (size_t i = 0; i < toolchain->n_parts; i++) {
		const Toolchainapi__Part *part = toolchain->parts[i];

		if (!part_property(part, root->function, text))
			continue;
		printf("\nIts %s alone, beside another toolchain at /:\n\n"
		       "  build --remote_default_exec_properties="
		       "toolchain-root:%s=%s\n",
		    part->mount_point, part->mount_point, text);
	}
}

static json_t *
programs_json(const Toolchainapi__Toolchain *toolchain)
{
	json_t *list = json_array();

	for (size_t i = 0; i < toolchain->n_programs; i++)
		json_array_append_new(
		    list, json_pack("{s:s, s:s}", "path",
			      toolchain->programs[i]->path, "version",
			      toolchain->programs[i]->version));
	return list;
}

static json_t *
parts_json(
    const Toolchainapi__Toolchain *toolchain, enum digest_function function)
{
	json_t *list = json_array();

	for (size_t i = 0; i < toolchain->n_parts; i++) {
		const Toolchainapi__Part *part = toolchain->parts[i];
		char text[DIGEST_TEXT_MAX];
		char *property;

		if (!part_property(part, function, text))
			continue;
		property =
		    xasprintf("toolchain-root:%s=%s", part->mount_point, text);
		json_array_append_new(
		    list, json_pack("{s:s, s:s, s:s}", "mount_point",
			      part->mount_point, "root_digest", text,
			      "property", property));
		free(property);
	}
	return list;
}

json_t *
toolchain_commands_json(
    const Toolchainapi__Toolchain *toolchain, const struct digest *root)
{
	char text[DIGEST_TEXT_MAX];
	char *property =
	    xasprintf("toolchain-root=%s", digest_format(root, text));
	char *line =
	    xasprintf("build --remote_default_exec_properties=%s", property);
	json_t *json = json_pack("{s:s%, s:s, s:s, s:I, s:I, s:I, s:I, s:s, "
				 "s:o, s:o, s:s, s:s}",
	    "name", (const char *)toolchain->name.data, toolchain->name.len,
	    "root_digest", text, "digest_function",
	    digest_function_name(root->function), "files",
	    (json_int_t)toolchain->files, "directories",
	    (json_int_t)toolchain->directories, "symlinks",
	    (json_int_t)toolchain->symlinks, "bytes",
	    (json_int_t)toolchain->bytes, "source", toolchain->source,
	    "programs", programs_json(toolchain), "parts",
	    parts_json(toolchain, root->function), "property", property,
	    "bazelrc", line);

	if (json != NULL && toolchain->created != NULL)
		json_object_set_new(json, "created_seconds",
		    json_integer(toolchain->created->seconds));
	free(property);
	free(line);
	return json;
}

void
toolchain_commands_print_json(json_t *json)
{
	/* NULL: some text of the server was no UTF-8. */
	if (json == NULL ||
	    json_dumpf(json, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) != 0)
		fputs("null", stdout);
	putchar('\n');
	json_decref(json);
}
