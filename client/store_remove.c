/* SPDX-License-Identifier: Apache-2.0 */
/* `toolroot store rm`: action results by where they came from. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <toolroot/admin/v1/admin.pb-c.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/printable.h"
#include "cas/admin.h"
#include "cas/digest_message.h"
#include "client/admin_command.h"
#include "client/admin_json.h"
#include "client/client_options.h"
#include "client/command.h"
#include "client/store_commands.h"
#include "protos/binary.h"

struct remove_options {
	struct client_options client;
	char *store;
	bool run;
	bool json;
	char *only_instance;
	char *target;
	char *writer;
	char *worker;
	char *toolchain;
	char *since;
	char *until;
	uint64_t list;
};

#define FIELD(name) offsetof(struct remove_options, name)

static const struct setting remove_table[] = {
    {"run", SETTING_FLAG, FIELD(run), "", "no",
	"Do it. Without it: only tell what would go."},
    {"target", SETTING_TEXT, FIELD(target), "PATTERN", NULL,
	"Of this target: \"//app:*\", or \"//app/...\" for all in and below "
	"//app."},
    {"writer", SETTING_TEXT, FIELD(writer), "PATTERN", NULL,
	"Handed in by this one: the name of a certificate, or an address as\n"
	"in ipv4:10.0.0.7. Workers hand in what they ran."},
    {"worker", SETTING_TEXT, FIELD(worker), "PATTERN", NULL,
	"Run by the worker of this name."},
    {"toolchain", SETTING_TEXT, FIELD(toolchain), "NAME|HASH/SIZE", NULL,
	"Run with this toolchain: its name now, or its digest."},
    {"since", SETTING_TEXT, FIELD(since), "TIME", NULL,
	"Written at this time or later: 2026-11-26T10:00:00Z, or 2h for two\n"
	"hours ago."},
    {"until", SETTING_TEXT, FIELD(until), "TIME", NULL,
	"Written before this time."},
    {"only-instance", SETTING_TEXT, FIELD(only_instance), "NAME", NULL,
	"Of this instance; \"\" is the empty one."},
    {"list", SETTING_COUNT, FIELD(list), "N", "20",
	"Print so many of them, at most 10000."},
    {"json", SETTING_FLAG, FIELD(json), "", "no", "Print JSON."},
    ADMIN_STORE_ROW(struct remove_options, store),
    CLIENT_OPTIONS_TABLE(struct remove_options),
};

static const struct settings remove_settings = {
    .command = "store rm",
    .section = "client",
    .synopsis = "[options] [ACTION-HASH/SIZE ...]",
    .about = "Removes action results, so that their actions run again: those "
	     "that all of the\noptions name. In patterns \"*\" and \"?\" stand "
	     "for any characters. The blobs of\nthe results stay; they are "
	     "what their digests say, and age.",
    .table = remove_table,
    .count = sizeof(remove_table) / sizeof(remove_table[0]),
    .epilogue = "Examples:\n"
		"  toolroot store rm --worker builder-7 --since 2h\n"
		"  toolroot store rm --worker builder-7 --since 2h --run\n"
		"  toolroot store rm --target //app/... --writer 'ci-*' --run",
};

/* --- asking --------------------------------------------------------------- */

/* A point in time, or how long ago it was. */
static int
parse_time(const char *name, const char *text, uint64_t *ns, struct error *err)
{
	struct tm parts = {.tm_isdst = 0};
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &parts);
	struct error ignored;
	int64_t ago;

	if (end != NULL && *end == '\0') {
		*ns = (uint64_t)timegm(&parts) * 1000000000;
		return 0;
	}
	if (setting_parse_duration(str_from(text), &ago, &ignored) == 0 &&
	    ago <= clock_wall_ns() / 1000000) {
		*ns = (uint64_t)(clock_wall_ns() - ago * 1000000);
		return 0;
	}
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "--%s \"%s\" is neither a time like 2026-11-26T10:00:00Z nor how "
	    "long ago it was, like 2h or 3d",
	    name, text);
}

static char *
or_empty(char *text)
{
	static char empty[] = "";

	return text != NULL ? text : empty;
}

/* The digests of the command line; allocated, as what they borrow. */
struct remove_actions {
	Reapi__Digest *messages;
	Reapi__Digest **list;
	char (*texts)[DIGEST_TEXT_MAX];
};

static int
fill_actions(const struct remove_options *options, char **arguments,
    struct remove_actions *actions, Adminapi__RemoveResultsRequest *request,
    struct error *err)
{
	enum digest_function function;
	size_t count = 0;

	if (client_options_function(&options->client, &function, err) < 0)
		return -1;
	while (arguments[count] != NULL)
		count++;
	actions->messages = xcalloc(count + 1, sizeof(*actions->messages));
	actions->list = xcalloc(count + 1, sizeof(*actions->list));
	actions->texts = xcalloc(count + 1, sizeof(*actions->texts));
	for (size_t i = 0; i < count; i++) {
		struct digest digest;

		if (digest_parse_text(
			function, str_from(arguments[i]), &digest, err) < 0)
			return -1;
		digest_to_message(
		    &digest, actions->texts[i], &actions->messages[i]);
		actions->list[i] = &actions->messages[i];
	}
	request->actions = actions->list;
	request->n_actions = count;
	request->digest_function = (Reapi__DigestFunction__Value)function;
	return 0;
}

static int
fill_request(const struct remove_options *options,
    Adminapi__RemoveResultsRequest *request, struct error *err)
{
	request->run = options->run;
	request->target = or_empty(options->target);
	request->writer = or_empty(options->writer);
	request->worker = or_empty(options->worker);
	request->toolchain = or_empty(options->toolchain);
	request->list =
	    options->list < UINT32_MAX ? (uint32_t)options->list : UINT32_MAX;
	if (options->since != NULL &&
	    parse_time("since", options->since, &request->from_ns, err) < 0)
		return -1;
	if (options->until != NULL &&
	    parse_time("until", options->until, &request->until_ns, err) < 0)
		return -1;
	if (options->only_instance == NULL)
		return 0;
	request->one_instance = true;
	request->instance_name = (ProtobufCBinaryData){
	    strlen(options->only_instance), (uint8_t *)options->only_instance};
	return 0;
}

/* --- telling -------------------------------------------------------------- */

static void
print_result(const Adminapi__StoredResult *result)
{
	char *target = printable_line(binary_str(result->target));
	char *worker = printable_line(binary_str(result->worker));
	char *writer = printable_line(binary_str(result->writer));
	char date[ADMIN_TIME_MAX];

	printf("%.*s/%" PRId64 "  %s  target=%s worker=%s writer=%s\n",
	    (int)result->action->hash.len,
	    (const char *)result->action->hash.data, result->action->size_bytes,
	    admin_format_time(result->written->seconds, date), target, worker,
	    writer);
	free(target);
	free(worker);
	free(writer);
}

static void
print_text(bool run, const Adminapi__RemoveResultsResponse *response)
{
	char size[ADMIN_SIZE_MAX];

	for (size_t i = 0; i < response->n_listed; i++)
		print_result(response->listed[i]);
	if (response->matched > response->n_listed)
		printf("... %" PRIu64 " more (--list)\n",
		    response->matched - response->n_listed);
	printf("%" PRIu64 " of %" PRIu64 " action results %s, %s\n",
	    run ? response->removed : response->matched, response->results,
	    run ? "were removed" : "would be removed",
	    admin_format_size(response->bytes, size));
	if (response->unknown > 0)
		printf("%" PRIu64 " were written before it was kept where they "
		       "came from: only digest,\ninstance and time find them\n",
		    response->unknown);
	if (!run)
		printf("Nothing was changed; --run does it.\n");
}

static json_t *
json_result(const Adminapi__StoredResult *result)
{
	char date[ADMIN_TIME_MAX];
	json_t *toolchains = json_array();

	for (size_t i = 0; i < result->n_toolchains; i++)
		json_array_append_new(
		    toolchains, json_string(result->toolchains[i]));
	return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o}",
	    "instance", admin_json_bytes(result->instance_name), "action",
	    admin_json_digest(result->action), "written",
	    admin_format_time(result->written->seconds, date), "writer",
	    admin_json_bytes(result->writer), "worker",
	    admin_json_bytes(result->worker), "target",
	    admin_json_bytes(result->target), "mnemonic",
	    admin_json_bytes(result->mnemonic), "invocation",
	    admin_json_bytes(result->invocation), "toolchains", toolchains);
}

static int
print_json(bool run, const Adminapi__RemoveResultsResponse *response,
    struct error *err)
{
	json_t *listed = json_array();

	for (size_t i = 0; i < response->n_listed; i++)
		json_array_append_new(listed, json_result(response->listed[i]));
	return admin_json_print(
	    json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:o}", "run", run,
		"action_results", (json_int_t)response->results, "matched",
		(json_int_t)response->matched, "removed",
		(json_int_t)response->removed, "bytes",
		(json_int_t)response->bytes, "unknown",
		(json_int_t)response->unknown, "listed", listed),
	    err);
}

static int
remove_run(void *cookie, char **arguments, int *status, struct error *err)
{
	const struct remove_options *options = cookie;
	const struct admin_place place = {
	    .client = &options->client, .store = options->store};
	Adminapi__RemoveResultsRequest request =
	    ADMINAPI__REMOVE_RESULTS_REQUEST__INIT;
	struct remove_actions actions = {NULL, NULL, NULL};
	struct admin_answer answer;
	int rc = -1;

	(void)status;
	if (fill_actions(options, arguments, &actions, &request, err) < 0 ||
	    fill_request(options, &request, err) < 0)
		goto out;
	rc = admin_call(
	    &place, ADMIN_PATH("RemoveResults"), &request.base, &answer, err);
	if (rc == 0 && options->json)
		rc = print_json(options->run, answer.message, err);
	else if (rc == 0)
		print_text(options->run, answer.message);
	admin_answer_clear(&answer);
out:
	free(actions.messages);
	free(actions.list);
	free(actions.texts);
	return rc;
}

int
store_commands_remove(char **argv)
{
	struct remove_options options = {.run = false};
	const struct command command = {.settings = &remove_settings,
	    .options = &options,
	    .more = true,
	    .run = remove_run};

	return command_run(&command, argv);
}
