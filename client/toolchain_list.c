/* SPDX-License-Identifier: Apache-2.0 */
/* `toolroot toolchain list` and `rm`. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/error.h"
#include "client/command.h"
#include "client/toolchain_commands.h"
#include "client/toolchain_progress.h"

struct list_options {
	struct client_options client;
	bool json;
};

static const struct setting list_table[] = {
    {"json", SETTING_FLAG, offsetof(struct list_options, json), "", "no",
	"Print JSON."},
    CLIENT_OPTIONS_TABLE(struct list_options),
};

static const struct settings list_settings = {
    .command = "toolchain list",
    .section = "client",
    .synopsis = "[options]",
    .about = "Prints the toolchains that the server has names for.",
    .table = list_table,
    .count = sizeof(list_table) / sizeof(list_table[0]),
};

static void
print_line(const Toolchainapi__Toolchain *toolchain, const struct digest *root)
{
	char text[DIGEST_TEXT_MAX], size[TOOLCHAIN_SIZE_MAX];
	char date[32] = "-";
	struct tm parts;
	time_t seconds = toolchain->created != NULL
			     ? (time_t)toolchain->created->seconds
			     : 0;

	if (seconds > 0 && gmtime_r(&seconds, &parts) != NULL)
		(void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%MZ", &parts);
	printf("%-20.*s %10s %8llu files  %s  %s\n", (int)toolchain->name.len,
	    (const char *)toolchain->name.data,
	    toolchain_progress_size(toolchain->bytes, size),
	    (unsigned long long)toolchain->files, date,
	    digest_format(root, text));
}

static int
take_page(
    const Toolchainapi__ListResponse *page, json_t *list, struct error *err)
{
	for (size_t i = 0; i < page->n_toolchains; i++) {
		const Toolchainapi__Toolchain *toolchain = page->toolchains[i];
		struct digest root;

		if (toolchain_service_root(toolchain, &root, err) < 0)
			return -1;
		if (list != NULL)
			json_array_append_new(
			    list, toolchain_commands_json(toolchain, &root));
		else
			print_line(toolchain, &root);
	}
	return 0;
}

static int
take_pages(struct toolchain_server *server, json_t *list, struct error *err)
{
	ProtobufCBinaryData token = {0, NULL};
	const Toolchainapi__ListResponse *page;

	do {
		page = toolchain_service_list(&server->service, token, err);
		if (page == NULL || take_page(page, list, err) < 0)
			return -1;
		token = page->next_page_token;
	} while (token.len > 0);
	return 0;
}

static int
list_run(void *cookie, char **names, int *status, struct error *err)
{
	const struct list_options *options = cookie;
	struct toolchain_server server = {.cas = NULL};
	json_t *list = options->json ? json_array() : NULL;
	int rc = toolchain_commands_open(&server, &options->client, false, err);

	(void)status;
	(void)names;
	if (rc == 0)
		rc = take_pages(&server, list, err);
	if (list != NULL && rc == 0)
		toolchain_commands_print_json(list);
	else
		json_decref(list);
	toolchain_commands_close(&server);
	return rc;
}

int
toolchain_commands_list(char **argv)
{
	struct list_options options = {.json = false};
	const struct command command = {.settings = &list_settings,
	    .options = &options,
	    .rpc = true,
	    .run = list_run};

	return command_run(&command, argv);
}

/* --- rm ------------------------------------------------------------------- */

struct rm_options {
	struct client_options client;
};

static const struct setting rm_table[] = {
    CLIENT_OPTIONS_TABLE(struct rm_options),
};

static const struct settings rm_settings = {
    .command = "toolchain rm",
    .section = "client",
    .synopsis = "NAME [options]",
    .about = "Forgets a name. The files stay as long as something else needs "
	     "them or\nthe store has room; actions name digests, so their "
	     "results stay too.",
    .table = rm_table,
    .count = sizeof(rm_table) / sizeof(rm_table[0]),
};

static int
rm_run(void *cookie, char **names, int *status, struct error *err)
{
	const struct rm_options *options = cookie;
	struct toolchain_server server = {.cas = NULL};
	int rc = toolchain_commands_open(&server, &options->client, false, err);

	(void)status;
	if (rc == 0)
		rc = toolchain_service_delete(&server.service, names[0], err);
	toolchain_commands_close(&server);
	return rc;
}

int
toolchain_commands_rm(char **argv)
{
	struct rm_options options = {.client.server = NULL};
	const struct command command = {.settings = &rm_settings,
	    .options = &options,
	    .arguments = 1,
	    .rpc = true,
	    .run = rm_run};

	return command_run(&command, argv);
}
