/* SPDX-License-Identifier: Apache-2.0 */
/* Asks for misses, then for each what differs, and prints it. */
#include "client/explain_command.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <toolroot/explain/v1/explain.pb-c.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/printable.h"
#include "base/standard_output.h"
#include "cas/digest_message.h"
#include "client/cas_client.h"
#include "client/client_options.h"
#include "client/text_diff.h"
#include "protos/binary.h"
#include "rpc/channel.h"
#include "rpc/message.h"
#include "rpc/runtime.h"

#define EXIT_USAGE 2
#define SERVICE "/toolroot.explain.v1.Explanations/"
#define ANSWER_MEMORY (256u << 20)
#define TIMEOUT_MS 120000
#define RETRIES 5
#define CATCH_UP_MS 20000
#define CATCH_UP_PAUSE_US 50000
/* Larger files are told by their digests. */
#define DIFF_FILE_MAX (64u << 10)
#define DIFF_OUTPUT_MAX (16u << 10)
/* Hexadecimal characters from which on an argument is an action. */
#define HASH_MIN 40

struct explain_options {
	struct client_options client;
	char *against;
	uint64_t limit;
	uint64_t changes;
	bool diff;
	bool json;
};

#define FIELD(name) offsetof(struct explain_options, name)

static const struct setting table[] = {
    {"against", SETTING_TEXT, FIELD(against), "ACTION", NULL,
	"Compare with this action (HASH/SIZE) rather than with the nearest\n"
	"earlier one; the other then needs its size too."},
    {"limit", SETTING_COUNT, FIELD(limit), "N", "20",
	"Most misses to explain."},
    {"changes", SETTING_COUNT, FIELD(changes), "N", "20",
	"Most changes to print of each."},
    {"diff", SETTING_FLAG, FIELD(diff), "YES|NO", "yes",
	"Show the difference of text files up to 64 KiB."},
    {"json", SETTING_FLAG, FIELD(json), "", "no", "Print JSON."},
    CLIENT_OPTIONS_TABLE(struct explain_options),
};

static const struct settings explain_settings = {
    .command = "explain",
    .section = "client",
    .synopsis = "[ACTION|TARGET|INVOCATION] [options]",
    .about = "Tells why actions were not in the cache: what differs from the "
	     "nearest earlier\naction of the same target and outputs. Of the "
	     "last build, unless an action digest,\na target or an invocation "
	     "id is given.",
    .table = table,
    .count = sizeof(table) / sizeof(table[0]),
    .epilogue = "Examples:\n"
		"  toolroot explain                     # the last build\n"
		"  toolroot explain //app:server\n"
		"  toolroot explain 9f3c...e1 --json",
};

struct explaining {
	const struct explain_options *options;
	struct rpc_channel *channel;
	struct cas_client *cas; /* NULL until a file is read */
	enum digest_function cas_function;
	struct arena arena; /* of answers */
	json_t *list;       /* NULL: print */
};

/* --- asking --------------------------------------------------------------- */

static ProtobufCBinaryData
binary(const char *text)
{
	return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static void *
call(struct explaining *explaining, const char *path,
    const ProtobufCMessage *request,
    const ProtobufCMessageDescriptor *descriptor, struct error *err)
{
	const struct rpc_call_options options = {
	    .timeout_ms = TIMEOUT_MS, .retries = RETRIES};
	struct rpc_message *message = rpc_message_pack(request);
	struct rpc_message *response = NULL;
	void *unpacked = NULL;

	if (rpc_channel_call(explaining->channel, path, message, &options,
		&response, err) == 0)
		unpacked = rpc_message_unpack(
		    response, descriptor, &explaining->arena, err);
	else if (err->code == ERROR_UNIMPLEMENTED)
		error_prefix(err, "the server explains nothing");
	else
		client_options_unreachable(
		    explaining->options->client.server, err);
	rpc_message_free(message);
	rpc_message_free(response);
	return unpacked;
}

static const Explainapi__ExplainResponse *
ask_action(struct explaining *explaining, const char *action, struct error *err)
{
	const struct explain_options *options = explaining->options;
	Explainapi__ExplainRequest request = EXPLAINAPI__EXPLAIN_REQUEST__INIT;

	request.instance_name = binary(options->client.instance);
	request.action = binary(action);
	request.limit =
	    options->changes < 1000 ? (int32_t)options->changes : 1000;
	if (options->against != NULL)
		request.against = binary(options->against);
	return call(explaining, SERVICE "Explain", &request.base,
	    &explainapi__explain_response__descriptor, err);
}

static const Explainapi__ListMissesResponse *
ask_list(struct explaining *explaining, const char *of, uint64_t limit,
    struct error *err)
{
	const struct explain_options *options = explaining->options;
	Explainapi__ListMissesRequest request =
	    EXPLAINAPI__LIST_MISSES_REQUEST__INIT;

	request.instance_name = binary(options->client.instance);
	request.of = binary(of);
	request.limit = limit < 1000 ? (int32_t)limit : 1000;
	return call(explaining, SERVICE "ListMisses", &request.base,
	    &explainapi__list_misses_response__descriptor, err);
}

/* The server looks at misses some time after they happen, and hurries when
 * somebody asks: waits until it has looked at all that it knows of now. */
static int
catch_up(struct explaining *explaining, struct error *err)
{
	int64_t until = clock_monotonic_ms() + CATCH_UP_MS;
	const Explainapi__ListMissesResponse *list =
	    ask_list(explaining, "", 1, err);
	uint64_t noted = list != NULL ? list->noted : 0;

	while (list != NULL && list->explained < noted &&
	       clock_monotonic_ms() < until) {
		usleep(CATCH_UP_PAUSE_US);
		list = ask_list(explaining, "", 1, err);
	}
	if (list != NULL && list->explained < noted)
		fprintf(stderr,
		    "toolroot explain: the server is busy: %llu of what it "
		    "noted are not looked at yet; ask again for the rest\n",
		    (unsigned long long)(noted - list->explained));
	return list != NULL ? 0 : -1;
}

/* --- files ---------------------------------------------------------------- */

/* Connects for the first file. NULL: then there is no difference to show. */
static struct cas_client *
cas_of(struct explaining *explaining, enum digest_function function)
{
	struct cas_client_options options = {
	    .channel = explaining->channel,
	    .instance = explaining->options->client.instance,
	    .function = function,
	};
	struct error ignored;

	if (explaining->cas == NULL) {
		explaining->cas = cas_client_open(&options, &ignored);
		explaining->cas_function = function;
	}
	return explaining->cas_function == function ? explaining->cas : NULL;
}

static bool
read_text(struct explaining *explaining, enum digest_function function,
    const Reapi__Digest *message, struct buffer *content)
{
	const struct cas_transfer transfer = {.metadata = NULL};
	struct cas_client *cas;
	struct digest digest;
	struct error ignored;

	if (message->size_bytes > (int64_t)DIFF_FILE_MAX ||
	    digest_from_message(function, message, &digest, &ignored) < 0)
		return false;
	cas = cas_of(explaining, function);
	return cas != NULL &&
	       cas_client_read(cas, &transfer, &digest, content, &ignored) >
		   0 &&
	       text_diff_is_text(buffer_str(content));
}

static bool
is_file(const Explainapi__Change *change)
{
	return change->before_digest != NULL && change->after_digest != NULL &&
	       strcmp(change->before, "directory") != 0 &&
	       strcmp(change->after, "directory") != 0;
}

/* Into out, which stays empty when there is nothing to show: what is absent
 * or no text is told by the digests alone. */
static void
diff_files(struct explaining *explaining, const Explainapi__Miss *miss,
    const Explainapi__Change *change, struct buffer *out)
{
	enum digest_function function =
	    (enum digest_function)miss->digest_function;
	struct buffer before, after;

	buffer_init(&before, DIFF_FILE_MAX);
	buffer_init(&after, DIFF_FILE_MAX);
	if (explaining->options->diff && is_file(change) &&
	    read_text(explaining, function, change->before_digest, &before) &&
	    read_text(explaining, function, change->after_digest, &after) &&
	    text_diff_unified(buffer_str(&before), buffer_str(&after), out) < 0)
		buffer_reset(out);
	buffer_clear(&before);
	buffer_clear(&after);
}

/* --- printing ------------------------------------------------------------- */

/* What others sent goes to a terminal. Each line of it after the indent. */
static void
print_lines(const char *indent, struct str text)
{
	char *copy = xstrndup(text.data, text.len);
	struct str rest = {copy, text.len};

	printable_make(copy, text.len, PRINTABLE_LINES);
	while (rest.len > 0) {
		size_t left = rest.len;
		struct str line = str_cut(&rest, '\n');

		printf("%s%.*s%s", indent, STR_ARG(line),
		    line.len < left ? "\n" : "");
	}
	free(copy);
}

/* No text of others begins a line of its own: it could pass for one of ours. */
static void
print_word(struct str text)
{
	char *line = printable_line(text);

	fputs(line, stdout);
	free(line);
}

static void
print_line(const char *indent, const char *text)
{
	fputs(indent, stdout);
	print_word(str_from(text));
	putchar('\n');
}

static void
format_digest(
    const Reapi__Digest *digest, struct str *text, char *space, size_t size)
{
	int len = digest == NULL ? 0
				 : snprintf(space, size, "%.*s/%lld",
				       (int)digest->hash.len,
				       (const char *)digest->hash.data,
				       (long long)digest->size_bytes);

	*text = (struct str){
	    space, len > 0 && (size_t)len < size ? (size_t)len : 0};
}

/* "  before  file 9f.../12". */
static void
print_side(const char *label, const char *text, const Reapi__Digest *digest)
{
	char space[DIGEST_TEXT_MAX];
	struct str digest_text;

	format_digest(digest, &digest_text, space, sizeof(space));
	printf("      %s  ", label);
	print_word(str_from(text));
	if (digest_text.len > 0) {
		putchar(' ');
		print_word(digest_text);
	}
	putchar('\n');
}

static void
print_change(struct explaining *explaining, const Explainapi__Miss *miss,
    const Explainapi__Change *change)
{
	const char *how = "changed";
	struct buffer diff;

	if (change->added)
		how = "added";
	else if (change->removed)
		how = "removed";
	printf("    %s ", how);
	/* "argument 3" says what it is. */
	if (strncmp(change->name, change->kind, strlen(change->kind)) != 0) {
		print_word(str_from(change->kind));
		putchar(' ');
	}
	print_line("", change->name);
	if (!change->added)
		print_side("before", change->before, change->before_digest);
	if (!change->removed)
		print_side("after ", change->after, change->after_digest);
	buffer_init(&diff, DIFF_OUTPUT_MAX);
	diff_files(explaining, miss, change, &diff);
	print_lines("        ", buffer_str(&diff));
	buffer_clear(&diff);
}

static const char *
advice(const char *cause)
{
	if (strcmp(cause, "first-seen") == 0)
		return "nothing like it is remembered";
	if (strcmp(cause, "evicted") == 0)
		return "the same action had a result; it, or a blob of it, is "
		       "gone from the store";
	if (strcmp(cause, "uncached") == 0)
		return "the same action ran before, but no result was kept: "
		       "it failed, or must not be cached";
	return NULL;
}

static void
print_miss(const Explainapi__Miss *miss)
{
	char space[DIGEST_TEXT_MAX];
	struct str digest;

	print_word(binary_str(miss->target));
	if (miss->mnemonic.len > 0) {
		fputs(miss->target.len > 0 ? " " : "", stdout);
		print_word(binary_str(miss->mnemonic));
	}
	fputs(miss->target.len + miss->mnemonic.len > 0 ? ": " : "", stdout);
	print_line("", miss->cause);
	format_digest(miss->action_digest, &digest, space, sizeof(space));
	printf("  action    ");
	print_word(digest);
	putchar('\n');
	if (miss->previous_action_digest == NULL)
		return;
	format_digest(
	    miss->previous_action_digest, &digest, space, sizeof(space));
	printf("  previous  ");
	print_word(digest);
	putchar('\n');
}

static void
print_explanation(
    struct explaining *explaining, const Explainapi__ExplainResponse *response)
{
	const char *hint = advice(response->miss->cause);

	print_miss(response->miss);
	if (hint != NULL)
		printf("    %s\n", hint);
	/* What was found at the time, where nothing can be compared now. */
	if ((hint != NULL || response->n_changes == 0) &&
	    response->miss->summary.len > 0) {
		printf("    ");
		print_word(binary_str(response->miss->summary));
		putchar('\n');
	}
	for (size_t i = 0; i < response->n_changes; i++)
		print_change(explaining, response->miss, response->changes[i]);
	if (response->total_changes > response->n_changes)
		printf("    and %llu more (--changes)\n",
		    (unsigned long long)(response->total_changes -
					 response->n_changes));
	if (*response->note != '\0')
		print_line("    incomplete: ", response->note);
	putchar('\n');
}

/* --- JSON ----------------------------------------------------------------- */

/* What is no UTF-8, and so can be no text of JSON, is replaced. */
static json_t *
text_json(struct str text)
{
	json_t *json =
	    json_stringn(text.data != NULL ? text.data : "", text.len);
	char *copy;

	if (json != NULL)
		return json;
	copy = xstrndup(text.data, text.len);
	printable_make(copy, text.len, PRINTABLE_LINES);
	json = json_stringn(copy, text.len);
	free(copy);
	return json;
}

static void
put_digest(json_t *object, const char *key, const Reapi__Digest *digest)
{
	char space[DIGEST_TEXT_MAX];
	struct str text;

	format_digest(digest, &text, space, sizeof(space));
	if (text.len > 0)
		json_object_set_new(object, key, text_json(text));
}

static json_t *
change_json(struct explaining *explaining, const Explainapi__Miss *miss,
    const Explainapi__Change *change)
{
	json_t *json = json_object();
	struct buffer diff;

	json_object_set_new(json, "kind", text_json(str_from(change->kind)));
	json_object_set_new(json, "name", text_json(str_from(change->name)));
	if (!change->added)
		json_object_set_new(
		    json, "before", text_json(str_from(change->before)));
	if (!change->removed)
		json_object_set_new(
		    json, "after", text_json(str_from(change->after)));
	put_digest(json, "before_digest", change->before_digest);
	put_digest(json, "after_digest", change->after_digest);
	buffer_init(&diff, DIFF_OUTPUT_MAX);
	diff_files(explaining, miss, change, &diff);
	if (diff.len > 0)
		json_object_set_new(json, "diff", text_json(buffer_str(&diff)));
	buffer_clear(&diff);
	return json;
}

static void
put_text(json_t *object, const char *key, ProtobufCBinaryData text)
{
	json_object_set_new(object, key, text_json(binary_str(text)));
}

static json_t *
explanation_json(
    struct explaining *explaining, const Explainapi__ExplainResponse *response)
{
	const Explainapi__Miss *miss = response->miss;
	json_t *json = json_object();
	json_t *changes = json_array();

	json_object_set_new(json, "cause", text_json(str_from(miss->cause)));
	put_text(json, "target", miss->target);
	put_text(json, "mnemonic", miss->mnemonic);
	put_text(json, "invocation_id", miss->invocation_id);
	put_text(json, "summary", miss->summary);
	put_digest(json, "action_digest", miss->action_digest);
	put_digest(
	    json, "previous_action_digest", miss->previous_action_digest);
	if (miss->time != NULL)
		json_object_set_new(
		    json, "time_seconds", json_integer(miss->time->seconds));
	for (size_t i = 0; i < response->n_changes; i++)
		json_array_append_new(changes,
		    change_json(explaining, miss, response->changes[i]));
	json_object_set_new(json, "changes", changes);
	json_object_set_new(json, "total_changes",
	    json_integer((json_int_t)response->total_changes));
	json_object_set_new(json, "note", text_json(str_from(response->note)));
	return json;
}

/* --- running -------------------------------------------------------------- */

static int
explain_one(
    struct explaining *explaining, const char *action, struct error *err)
{
	const Explainapi__ExplainResponse *response =
	    ask_action(explaining, action, err);

	if (response == NULL)
		return -1;
	if (response->miss == NULL)
		return error_set(
		    err, ERROR_INTERNAL, "the server's answer names no action");
	if (explaining->list != NULL)
		json_array_append_new(
		    explaining->list, explanation_json(explaining, response));
	else
		print_explanation(explaining, response);
	return 0;
}

static const char *
instance_looked_at(const struct explain_options *options)
{
	return options->client.instance[0] != '\0' ? options->client.instance
						   : "the default instance";
}

static int
explain_listed(struct explaining *explaining, const char *of, struct error *err)
{
	const Explainapi__ListMissesResponse *list =
	    ask_list(explaining, of, explaining->options->limit, err);

	if (list == NULL)
		return -1;
	if (list->n_misses == 0 && explaining->list == NULL) {
		fputs("No misses are remembered", stdout);
		if (list->of.len > 0)
			printf(" of ");
		print_word(binary_str(list->of));
		printf(".\nOnly ");
		print_word(str_from(instance_looked_at(explaining->options)));
		puts(" was looked at; --instance NAME names another.");
	}
	for (size_t i = 0; i < list->n_misses; i++) {
		char space[DIGEST_TEXT_MAX];
		struct str digest;

		format_digest(list->misses[i]->action_digest, &digest, space,
		    sizeof(space));
		/* One that was forgotten meanwhile is left out. */
		if (explain_one(explaining, space, err) < 0 &&
		    err->code != ERROR_NOT_FOUND)
			return -1;
	}
	return 0;
}

/* Who names no instance may not know that there are some. */
static void
tell_instance(const struct explain_options *options, struct error *err)
{
	char *text = xstrdup(err->text);

	error_set(err, ERROR_NOT_FOUND,
	    "%s; only %s was looked at; --instance NAME names another", text,
	    instance_looked_at(options));
	free(text);
}

static bool
is_hash(const char *text)
{
	size_t len = 0;

	while (isxdigit((unsigned char)text[len]))
		len++;
	return len >= HASH_MIN && (text[len] == '\0' || text[len] == '/');
}

static int
explain(
    const struct explain_options *options, const char *what, struct error *err)
{
	struct explaining explaining = {.options = options};
	int rc = -1;

	arena_init(&explaining.arena, ANSWER_MEMORY);
	explaining.channel = client_options_channel(&options->client, err);
	if (explaining.channel == NULL)
		goto out;
	if (options->json)
		explaining.list = json_array();
	if (options->against == NULL && catch_up(&explaining, err) < 0)
		goto out;
	rc = is_hash(what) ? explain_one(&explaining, what, err)
			   : explain_listed(&explaining, what, err);
	if (rc < 0 && err->code == ERROR_NOT_FOUND && options->against == NULL)
		tell_instance(options, err);
	if (rc == 0 && explaining.list != NULL) {
		json_dumpf(explaining.list, stdout,
		    JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_ENSURE_ASCII);
		putchar('\n');
	}
out:
	json_decref(explaining.list);
	cas_client_close(explaining.cas);
	if (explaining.channel != NULL)
		rpc_channel_close(explaining.channel);
	arena_clear(&explaining.arena);
	return rc;
}

int
explain_action(
    const struct client_options *client, const char *action, struct error *err)
{
	const struct explain_options options = {
	    .client = *client, .changes = 20, .diff = true};

	return explain(&options, action, err);
}

static int
run(const struct explain_options *options,
    const struct setting_arguments *arguments)
{
	const char *what = arguments->count > 0 ? arguments->items[0] : "";
	struct error err;
	int rc;

	if (arguments->count > 1) {
		fprintf(stderr,
		    "toolroot explain: unexpected argument \"%s\"; see "
		    "toolroot explain --help\n",
		    arguments->items[1]);
		return EXIT_USAGE;
	}
	if (options->against != NULL && !is_hash(what)) {
		fprintf(stderr,
		    "toolroot explain: --against needs an action to compare, "
		    "as HASH/SIZE\n");
		return EXIT_USAGE;
	}
	rpc_init();
	rc = explain(options, what, &err);
	rpc_shutdown();
	if (rc < 0) {
		fprintf(stderr, "toolroot explain: %s\n", err.text);
		return EXIT_FAILURE;
	}
	if (standard_output_finish("explain") < 0)
		return EXIT_FAILURE;
	return EXIT_SUCCESS;
}

int
explain_command(char **argv)
{
	struct explain_options options = {.json = false};
	struct setting_arguments arguments;
	struct error err;
	int status = EXIT_USAGE;
	int rc =
	    settings_read(&explain_settings, argv, &options, &arguments, &err);

	if (rc > 0) {
		settings_help(&explain_settings);
		status = EXIT_SUCCESS;
	} else if (rc < 0) {
		fprintf(stderr, "toolroot explain: %s\n", err.text);
	} else {
		status = run(&options, &arguments);
	}
	free(arguments.items);
	settings_clear(&explain_settings, &options);
	return status;
}
