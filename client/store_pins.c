/* SPDX-License-Identifier: Apache-2.0 */
/* `toolroot store pins`, `pin` and `unpin`. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <toolroot/admin/v1/admin.pb-c.h>

#include "base/error.h"
#include "cas/admin.h"
#include "cas/digest_message.h"
#include "client/admin_command.h"
#include "client/admin_json.h"
#include "client/client_options.h"
#include "client/command.h"
#include "client/store_commands.h"

struct pin_options {
	struct client_options client;
	char *store;
	bool blob;
	bool json;
};

static const struct setting client_table[] = {
    ADMIN_STORE_ROW(struct pin_options, store),
    CLIENT_OPTIONS_TABLE(struct pin_options),
};

static const struct setting pins_table[] = {
    {"json", SETTING_FLAG, offsetof(struct pin_options, json), "", "no",
	"Print JSON."},
    ADMIN_STORE_ROW(struct pin_options, store),
    CLIENT_OPTIONS_TABLE(struct pin_options),
};

static const struct setting pin_table[] = {
    {"blob", SETTING_FLAG, offsetof(struct pin_options, blob), "", "no",
	"Keep this blob alone. Without it: the Directory with this digest and\n"
	"all below it."},
    ADMIN_STORE_ROW(struct pin_options, store),
    CLIENT_OPTIONS_TABLE(struct pin_options),
};

static ProtobufCBinaryData
binary(char *text)
{
	return (ProtobufCBinaryData){strlen(text), (uint8_t *)text};
}

static int
call(const struct pin_options *options, const char *path,
    const ProtobufCMessage *request, struct admin_answer *answer,
    struct error *err)
{
	const struct admin_place place = {
	    .client = &options->client, .store = options->store};

	return admin_call(&place, path, request, answer, err);
}

static int
run(const struct settings *settings, size_t arguments,
    int (*function)(
	void *options, char **arguments, int *status, struct error *err),
    char **argv)
{
	struct pin_options options = {.blob = false};
	const struct command command = {.settings = settings,
	    .options = &options,
	    .arguments = arguments,
	    .run = function};

	return command_run(&command, argv);
}

/* --- pins ----------------------------------------------------------------- */

static const struct settings pins_settings = {
    .command = "store pins",
    .section = "client",
    .synopsis = "[options]",
    .about = "Prints the pins: digests that a collection does not touch. "
	     "Toolchains with a\nname stay as well: toolroot toolchain list.",
    .table = pins_table,
    .count = sizeof(pins_table) / sizeof(pins_table[0]),
};

static const char *
kind_of(const Adminapi__Pin *pin)
{
	return pin->kind == ADMINAPI__PIN__KIND__TREE ? "tree" : "blob";
}

static void
print_pin(const Adminapi__Pin *pin)
{
	char date[ADMIN_TIME_MAX];

	printf("%-24.*s %s  %s  %.*s/%" PRId64 "\n", (int)pin->name.len,
	    (const char *)pin->name.data, kind_of(pin),
	    admin_format_time(
		pin->created != NULL ? pin->created->seconds : 0, date),
	    pin->digest != NULL ? (int)pin->digest->hash.len : 0,
	    pin->digest != NULL ? (const char *)pin->digest->hash.data : "",
	    pin->digest != NULL ? pin->digest->size_bytes : 0);
}

/* {"pins": [...]} */
static int
print_json(const Adminapi__ListPinsResponse *response, struct error *err)
{
	json_t *list = json_array();

	for (size_t i = 0; i < response->n_pins; i++) {
		const Adminapi__Pin *pin = response->pins[i];

		json_array_append_new(list,
		    json_pack("{s:o, s:s, s:o, s:s, s:I}", "name",
			admin_json_bytes(pin->name), "kind", kind_of(pin),
			"digest",
			pin->digest != NULL ? admin_json_digest(pin->digest)
					    : json_null(),
			"digest_function",
			digest_function_name(
			    (enum digest_function)pin->digest_function),
			"created_seconds",
			(json_int_t)(pin->created != NULL
					 ? pin->created->seconds
					 : 0)));
	}
	return admin_json_print(json_pack("{s:o}", "pins", list), err);
}

static int
pins_run(void *cookie, char **arguments, int *status, struct error *err)
{
	const struct pin_options *options = cookie;
	const Adminapi__ListPinsRequest request =
	    ADMINAPI__LIST_PINS_REQUEST__INIT;
	const Adminapi__ListPinsResponse *response;
	struct admin_answer answer;
	int rc =
	    call(options, ADMIN_PATH("ListPins"), &request.base, &answer, err);

	(void)arguments;
	(void)status;
	response = answer.message;
	if (rc == 0 && options->json)
		rc = print_json(response, err);
	else
		for (size_t i = 0; rc == 0 && i < response->n_pins; i++)
			print_pin(response->pins[i]);
	admin_answer_clear(&answer);
	return rc;
}

int
store_commands_pins(char **argv)
{
	return run(&pins_settings, 0, pins_run, argv);
}

/* --- pin ------------------------------------------------------------------ */

static const struct settings pin_settings = {
    .command = "store pin",
    .section = "client",
    .synopsis = "[options] NAME HASH/SIZE",
    .about = "Keeps what the digest names until it is unpinned. All of it must "
	     "be in the\nstore. Replaces an earlier pin of that name.",
    .table = pin_table,
    .count = sizeof(pin_table) / sizeof(pin_table[0]),
};

static int
pin_run(void *cookie, char **arguments, int *status, struct error *err)
{
	const struct pin_options *options = cookie;
	Adminapi__SetPinRequest request = ADMINAPI__SET_PIN_REQUEST__INIT;
	Adminapi__Pin pin = ADMINAPI__PIN__INIT;
	struct admin_answer answer;
	enum digest_function function;
	char text[DIGEST_TEXT_MAX];
	struct digest digest;
	Reapi__Digest message;
	int rc;

	(void)status;
	if (client_options_function(&options->client, &function, err) < 0 ||
	    digest_parse_text(function, str_from(arguments[1]), &digest, err) <
		0)
		return -1;
	digest_to_message(&digest, text, &message);
	pin.name = binary(arguments[0]);
	pin.kind = options->blob ? ADMINAPI__PIN__KIND__BLOB
				 : ADMINAPI__PIN__KIND__TREE;
	pin.digest = &message;
	pin.digest_function = (Reapi__DigestFunction__Value)function;
	request.pin = &pin;
	rc = call(options, ADMIN_PATH("SetPin"), &request.base, &answer, err);
	admin_answer_clear(&answer);
	return rc;
}

int
store_commands_pin(char **argv)
{
	return run(&pin_settings, 2, pin_run, argv);
}

/* --- unpin ---------------------------------------------------------------- */

static const struct settings unpin_settings = {
    .command = "store unpin",
    .section = "client",
    .synopsis = "[options] NAME",
    .about = "Removes a pin; what it kept ages like all else.",
    .table = client_table,
    .count = sizeof(client_table) / sizeof(client_table[0]),
};

static int
unpin_run(void *options, char **arguments, int *status, struct error *err)
{
	Adminapi__RemovePinRequest request = ADMINAPI__REMOVE_PIN_REQUEST__INIT;
	struct admin_answer answer;
	int rc;

	(void)status;
	request.name = binary(arguments[0]);
	rc =
	    call(options, ADMIN_PATH("RemovePin"), &request.base, &answer, err);
	admin_answer_clear(&answer);
	return rc;
}

int
store_commands_unpin(char **argv)
{
	return run(&unpin_settings, 1, unpin_run, argv);
}
