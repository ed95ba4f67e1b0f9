/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `toolroot toolchain add`: capture, hash, upload what the server lacks, name.
 * Run again after an interruption, it sends only what is still missing.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/digest_message.h"
#include "cas/directory.h"
#include "cas/merkle_builder.h"
#include "cas/toolchain_root.h"
#include "client/capture_archive.h"
#include "client/capture_cc.h"
#include "client/capture_commands.h"
#include "client/capture_directory.h"
#include "client/capture_hash.h"
#include "client/capture_host.h"
#include "client/capture_notes.h"
#include "client/capture_oci.h"
#include "client/capture_programs.h"
#include "client/capture_rust.h"
#include "client/capture_spool.h"
#include "client/capture_tree.h"
#include "client/command.h"
#include "client/toolchain_commands.h"
#include "client/toolchain_progress.h"
#include "client/toolchain_upload.h"

struct add_options {
	struct client_options client;
	char *rust;
	char *cc;
	bool commands;
	bool minimal;
	struct setting_list libraries;
	struct setting_list also;
	char *directory;
	char *archive;
	char *oci;
	uint64_t max_entries;
	uint64_t max_bytes;
	bool json;
	bool dry_run;
};

#define FIELD(name) offsetof(struct add_options, name)

static const struct setting table[] = {
    {"rust", SETTING_TEXT, FIELD(rust), "[TOOLCHAIN]", NULL,
	"A Rust compiler of this machine: a rustup toolchain, a sysroot, the\n"
	"path of a rustc; alone: the rustc in PATH. It comes to /tc."},
    {"cc", SETTING_TEXT, FIELD(cc), "[COMPILER]", NULL,
	"A C and C++ compiler of this machine: gcc, clang or a path; alone:\n"
	"gcc. With the shell and the usual commands. May stand beside --rust."},
    {"commands", SETTING_FLAG, FIELD(commands), "", "no",
	"The shell and the usual commands of this machine, as --cc has\n"
	"them; alone: for rules whose compilers are inputs."},
    {"minimal", SETTING_FLAG, FIELD(minimal), "", "no",
	"With --cc: no shell, no commands, no sanitizer libraries."},
    {"library", SETTING_LIST, FIELD(libraries), "NAME", NULL,
	"With --cc: a library to link with, as after -l; may be repeated."},
    {"also", SETTING_LIST, FIELD(also), "PATH", NULL,
	"With --cc, --rust or --commands: another file, program or directory,\n"
	"with what it needs to run; may be repeated."},
    {"dir", SETTING_TEXT, FIELD(directory), "DIR", NULL,
	"A directory, as it is."},
    {"archive", SETTING_TEXT, FIELD(archive), "FILE", NULL,
	"A tar (with any usual compression) or zip."},
    {"oci", SETTING_TEXT, FIELD(oci), "DIR|TAR", NULL,
	"An OCI image layout, or what `docker save` wrote."},
    {"max-entries", SETTING_COUNT, FIELD(max_entries), "N", "1000000",
	"Refuse more files, directories and links than this."},
    {"max-bytes", SETTING_SIZE, FIELD(max_bytes), "SIZE", "32G",
	"Refuse more bytes of files than this."},
    {"dry-run", SETTING_FLAG, FIELD(dry_run), "", "no",
	"Say what the digest would be; ask and tell no server."},
    {"json", SETTING_FLAG, FIELD(json), "", "no", "Print JSON."},
    CLIENT_OPTIONS_TABLE(struct add_options),
};

static const struct settings add_settings = {
    .command = "toolchain add",
    .section = "client",
    .synopsis = "NAME (--rust | --cc | --commands | --dir DIR | --archive "
		"FILE | --oci IMAGE) [options]",
    .about =
	"Captures a toolchain into the store under a name, uploads what is\n"
	"missing there, and prints the digest and how to use it.",
    .table = table,
    .count = sizeof(table) / sizeof(table[0]),
    .epilogue =
	"Examples:\n"
	"  toolroot toolchain add gcc --cc\n"
	"  toolroot toolchain add nightly --rust nightly --cc gcc\n"
	"  toolroot toolchain add sh --commands --also /usr/bin/python3\n"
	"  toolroot toolchain add sdk --archive sdk.tar.zst",
};

/* The work at hand, from the first file to the name. */
struct adding {
	const struct add_options *options;
	const char *name;
	struct capture_tree *tree;
	struct capture_spool *spool; /* NULL unless needed */
	struct capture_notes notes;
	struct capture_programs programs;
	struct toolchain_progress *progress;
	struct merkle_builder *builder;
	struct toolchain_upload_stats stats;
	char *source;    /* the option that chose it */
	bool rust_moved; /* there is a part at /tc */
	struct digest part;
	char part_text[DIGEST_TEXT_MAX];
	char root_text[DIGEST_TEXT_MAX];
};

/* --- capturing ------------------------------------------------------------ */

/* An option that stands alone has an empty value. */
static const char *
value_or_null(const char *value)
{
	return value != NULL && *value != '\0' ? value : NULL;
}

static int
add_also(struct adding *adding, struct capture_host *host, struct error *err)
{
	const struct setting_list *also = &adding->options->also;

	for (size_t i = 0; i < also->count; i++) {
		const char *path = also->items[i];
		int rc;

		if (path[0] != '/')
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "--also %s: the path must be absolute", path);
		if (toolchain_root_hides(str_from(path)))
			capture_notes_add(host->notes,
			    "no action sees %s, for each has a /dev, /proc "
			    "and /tmp of its own: capture it from elsewhere",
			    path);
		rc = capture_host_add_content(host, path, NULL, err);
		if (rc == 0)
			rc = capture_host_add(host, path, NULL, err);
		if (rc == 0)
			return error_set(err, ERROR_NOT_FOUND,
			    "--also %s: there is no such file", path);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int
capture_from_host(struct adding *adding, struct error *err)
{
	const struct add_options *options = adding->options;
	const struct capture_cc_options cc = {
	    .compiler = value_or_null(options->cc),
	    .scope = options->minimal ? CAPTURE_CC_MINIMAL : CAPTURE_CC_WHOLE,
	    .libraries = options->libraries.items,
	    .library_count = options->libraries.count,
	};
	struct capture_host host;
	int rc = 0;

	capture_host_init(&host, adding->tree, &adding->notes, "");
	if (options->cc != NULL)
		rc = capture_cc(&host, &cc, &adding->programs, err);
	if (rc == 0 && options->rust != NULL)
		rc = capture_rust(&host, value_or_null(options->rust),
		    &adding->programs, &adding->rust_moved, err);
	if (rc == 0 && options->commands)
		rc = capture_commands(&host, err);
	if (rc == 0)
		rc = add_also(adding, &host, err);
	if (rc == 0)
		rc = capture_host_close(&host, err);
	capture_host_clear(&host);
	return rc;
}

static int
capture_packed(struct adding *adding, struct error *err)
{
	const struct add_options *options = adding->options;
	struct capture_archive_options archive = {
	    .path = options->archive, .tree = adding->tree};
	struct capture_oci_options oci = {
	    .path = options->oci,
	    .tree = adding->tree,
	    .notes = &adding->notes,
	};

	adding->spool =
	    capture_spool_new(capture_tree_function(adding->tree), err);
	if (adding->spool == NULL)
		return -1;
	archive.spool = oci.spool = adding->spool;
	return options->archive != NULL ? capture_archive(&archive, err)
					: capture_oci(&oci, err);
}

static int
capture(struct adding *adding, struct error *err)
{
	const struct add_options *options = adding->options;
	const struct capture_directory_options directory = {
	    .path = options->directory, .notes = &adding->notes};

	if (options->directory != NULL)
		return capture_directory(adding->tree, &directory, err);
	if (options->archive != NULL || options->oci != NULL)
		return capture_packed(adding, err);
	return capture_from_host(adding, err);
}

/* --- building ------------------------------------------------------------- */

/* The digest of the directory of that name in the root. */
static int
find_part(struct adding *adding, const char *name, struct error *err)
{
	size_t count;
	const struct merkle_directory *root =
	    merkle_builder_directories(adding->builder, &count);
	const Reapi__Directory *directory;
	struct arena arena;
	int rc = -1;

	arena_init(&arena, directory_memory(root->bytes.len));
	directory =
	    directory_decode(&arena, root->bytes, root->digest.function, err);
	for (size_t i = 0; directory != NULL && i < directory->n_directories;
	     i++) {
		const Reapi__DirectoryNode *node = directory->directories[i];

		if (str_equal(directory_str(node->name), str_from(name)))
			rc = digest_from_message(root->digest.function,
			    node->digest, &adding->part, err);
	}
	if (directory != NULL && rc < 0)
		error_set(err, ERROR_INTERNAL, "the root has no /%s", name);
	arena_clear(&arena);
	return rc;
}

static int
build(struct adding *adding, struct error *err)
{
	struct capture_totals totals;

	capture_tree_totals(adding->tree, &totals);
	if (totals.files == 0)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "there is no file in it: nothing to name");
	if (capture_hash(adding->tree,
		toolchain_progress_phase(adding->progress, "hashing", 0),
		err) < 0)
		return -1;
	adding->builder =
	    merkle_builder_new(capture_tree_function(adding->tree));
	if (capture_tree_build(adding->tree, adding->builder, err) < 0)
		return -1;
	digest_format(merkle_builder_root(adding->builder), adding->root_text);
	if (adding->rust_moved &&
	    find_part(adding, CAPTURE_RUST_SYSROOT, err) < 0)
		return -1;
	return 0;
}

/* --- what the server is told ---------------------------------------------- */

struct description {
	Toolchainapi__Toolchain toolchain;
	Reapi__Digest root;
	char root_hash[DIGEST_TEXT_MAX];
	Toolchainapi__Program programs[CAPTURE_PROGRAMS_MAX];
	Toolchainapi__Program *program_list[CAPTURE_PROGRAMS_MAX];
	Toolchainapi__Part part;
	Toolchainapi__Part *part_list[1];
	Reapi__Digest part_root;
	char part_hash[DIGEST_TEXT_MAX];
};

static void
describe_part(const struct adding *adding, struct description *description)
{
	static char mount_point[] = "/" CAPTURE_RUST_SYSROOT;

	toolchainapi__part__init(&description->part);
	reapi__digest__init(&description->part_root);
	digest_to_message(
	    &adding->part, description->part_hash, &description->part_root);
	description->part.mount_point = mount_point;
	description->part.root_digest = &description->part_root;
	description->part_list[0] = &description->part;
	description->toolchain.parts = description->part_list;
	description->toolchain.n_parts = 1;
}

static void
describe(const struct adding *adding, struct description *description)
{
	const struct digest *root = merkle_builder_root(adding->builder);
	Toolchainapi__Toolchain *toolchain = &description->toolchain;
	struct capture_totals totals;

	capture_tree_totals(adding->tree, &totals);
	toolchainapi__toolchain__init(toolchain);
	reapi__digest__init(&description->root);
	digest_to_message(root, description->root_hash, &description->root);
	toolchain->name.data = (uint8_t *)(uintptr_t)adding->name;
	toolchain->name.len = strlen(adding->name);
	toolchain->root_digest = &description->root;
	toolchain->digest_function =
	    (Reapi__DigestFunction__Value)root->function;
	toolchain->files = totals.files;
	toolchain->directories = totals.directories;
	toolchain->symlinks = totals.symlinks;
	toolchain->bytes = totals.bytes;
	toolchain->source = adding->source;
	for (size_t i = 0; i < adding->programs.count; i++) {
		toolchainapi__program__init(&description->programs[i]);
		description->programs[i].path = adding->programs.items[i].path;
		description->programs[i].version =
		    adding->programs.items[i].version;
		description->program_list[i] = &description->programs[i];
	}
	toolchain->programs = description->program_list;
	toolchain->n_programs = adding->programs.count;
	if (adding->rust_moved)
		describe_part(adding, description);
}

/* --- printing ------------------------------------------------------------- */

static void
print_json(const struct adding *adding, const struct description *description,
    const Toolchainapi__PutResponse *response)
{
	json_t *json = toolchain_commands_json(
	    &description->toolchain, merkle_builder_root(adding->builder));
	json_t *notes = json_array();

	for (size_t i = 0; i < adding->notes.count; i++)
		json_array_append_new(
		    notes, json_string(adding->notes.lines[i]));
	json_object_set_new(json, "notes", notes);
	if (response != NULL) {
		json_object_set_new(json, "blobs",
		    json_integer((json_int_t)adding->stats.blobs));
		json_object_set_new(json, "blob_bytes",
		    json_integer((json_int_t)adding->stats.bytes));
		json_object_set_new(json, "present_blobs",
		    json_integer((json_int_t)adding->stats.present_blobs));
		json_object_set_new(json, "present_bytes",
		    json_integer((json_int_t)adding->stats.present_bytes));
		json_object_set_new(json, "replaced",
		    json_boolean(response->previous_root_digest != NULL));
	}
	toolchain_commands_print_json(json);
}

static void
print_replaced(
    const struct adding *adding, const Toolchainapi__PutResponse *response)
{
	const struct digest *root = merkle_builder_root(adding->builder);
	char text[DIGEST_TEXT_MAX];
	struct digest previous;
	struct error ignored;

	if (response->previous_root_digest == NULL ||
	    digest_from_message(root->function, response->previous_root_digest,
		&previous, &ignored) < 0)
		return;
	if (digest_equal(&previous, root))
		printf("  unchanged: it was this toolchain before\n");
	else
		printf("  replaces  %s\n", digest_format(&previous, text));
}

static void
print_text(const struct adding *adding, const struct description *description,
    const Toolchainapi__PutResponse *response)
{
	const Toolchainapi__Toolchain *toolchain = &description->toolchain;
	const struct toolchain_upload_stats *stats = &adding->stats;
	char sizes[4][TOOLCHAIN_SIZE_MAX];

	printf("toolchain %s\n  root      %s\n  files     %llu, in %llu "
	       "directories, with %llu symbolic links\n  size      %s",
	    adding->name, adding->root_text,
	    (unsigned long long)toolchain->files,
	    (unsigned long long)toolchain->directories,
	    (unsigned long long)toolchain->symlinks,
	    toolchain_progress_size(toolchain->bytes, sizes[0]));
	printf(" (%s once each)\n",
	    toolchain_progress_size(
		capture_tree_unique_bytes(adding->tree), sizes[1]));
	if (response != NULL) {
		printf("  uploaded  %s in %llu blobs; %s in %llu were there "
		       "already\n",
		    toolchain_progress_size(
			stats->bytes - stats->present_bytes, sizes[2]),
		    (unsigned long long)(stats->blobs - stats->present_blobs),
		    toolchain_progress_size(stats->present_bytes, sizes[3]),
		    (unsigned long long)stats->present_blobs);
		print_replaced(adding, response);
	}
	toolchain_commands_print_use(
	    toolchain, merkle_builder_root(adding->builder));
}

static void
print_notes(const struct capture_notes *notes)
{
	for (size_t i = 0; i < notes->count; i++)
		fprintf(stderr, "note: %s\n", notes->lines[i]);
	if (notes->dropped > 0)
		fprintf(stderr, "note: and %zu more\n", notes->dropped);
}

/* --- the whole ------------------------------------------------------------ */

static int
send_and_name(struct adding *adding, struct toolchain_server *server,
    struct description *description, Toolchainapi__PutResponse **response,
    struct error *err)
{
	const struct toolchain_upload upload = {server->cas, adding->tree,
	    adding->builder, adding->spool, adding->progress};

	if (toolchain_upload(&upload, &adding->stats, err) < 0)
		return -1;
	*response = toolchain_service_put(
	    &server->service, &description->toolchain, err);
	return *response != NULL ? 0 : -1;
}

static int
finish(struct adding *adding, struct error *err)
{
	const struct add_options *options = adding->options;
	Toolchainapi__PutResponse *response = NULL;
	struct toolchain_server server = {.cas = NULL};
	struct description description;
	int rc = 0;

	describe(adding, &description);
	if (!options->dry_run) {
		rc = toolchain_commands_open(
		    &server, &options->client, true, err);
		if (rc == 0)
			rc = send_and_name(
			    adding, &server, &description, &response, err);
	}
	toolchain_progress_stop(adding->progress);
	adding->progress = NULL;
	if (rc == 0) {
		print_notes(&adding->notes);
		if (options->json)
			print_json(adding, &description, response);
		else
			print_text(adding, &description, response);
	}
	toolchain_commands_close(&server);
	return rc;
}

static void
adding_clear(struct adding *adding)
{
	toolchain_progress_stop(adding->progress);
	merkle_builder_free(adding->builder);
	capture_spool_free(adding->spool);
	capture_tree_free(adding->tree);
	capture_notes_clear(&adding->notes);
	capture_programs_clear(&adding->programs);
	free(adding->source);
}

static char *
host_source(const struct add_options *options)
{
	struct buffer text;
	int rc = 0;

	buffer_init(&text, SIZE_MAX);
	if (options->cc != NULL)
		rc |= buffer_printf(&text, " --cc %s", options->cc);
	if (options->commands)
		rc |= buffer_printf(&text, " --commands");
	if (options->minimal)
		rc |= buffer_printf(&text, " --minimal");
	for (size_t i = 0; i < options->libraries.count; i++)
		rc |= buffer_printf(
		    &text, " --library %s", options->libraries.items[i]);
	if (options->rust != NULL)
		rc |= buffer_printf(&text, " --rust %s", options->rust);
	for (size_t i = 0; i < options->also.count; i++)
		rc |=
		    buffer_printf(&text, " --also %s", options->also.items[i]);
	if (rc != 0)
		abort(); /* there is no limit */
	/* The blank of the first, and of an option that stands alone. */
	if (text.data[text.len - 1] == ' ')
		text.data[text.len - 1] = '\0';
	memmove(text.data, text.data + 1, text.len);
	return text.data;
}

/* What is captured, told shortly; and that it is one thing. NULL on error. */
static char *
choose_source(const struct add_options *options, struct error *err)
{
	const struct {
		const char *name;
		const char *value;
	} packed[] = {{"--dir", options->directory},
	    {"--archive", options->archive}, {"--oci", options->oci}};
	bool host =
	    options->rust != NULL || options->cc != NULL || options->commands;
	size_t chosen = host ? 1 : 0;
	char *source = NULL;

	for (size_t i = 0; i < sizeof(packed) / sizeof(packed[0]); i++) {
		if (packed[i].value == NULL)
			continue;
		if (++chosen == 1)
			source =
			    xasprintf("%s %s", packed[i].name, packed[i].value);
	}
	if (chosen == 1 && source == NULL)
		return host_source(options);
	if (chosen == 1 && options->also.count == 0 &&
	    options->libraries.count == 0)
		return source;
	error_set(err, ERROR_INVALID_ARGUMENT,
	    chosen == 1 ? "--also and --library go with --cc, --rust and "
			  "--commands only"
			: "name one source: --rust, --cc and --commands "
			  "(together or alone), --dir, --archive or --oci");
	free(source);
	return NULL;
}

static int
add_check(const void *cookie, struct error *err)
{
	char *source = choose_source(cookie, err);
	int rc = source != NULL ? 0 : -1;

	free(source);
	return rc;
}

static int
add_run(void *cookie, char **names, int *status, struct error *err)
{
	const struct add_options *options = cookie;
	const struct capture_limits limits = {
	    options->max_entries, options->max_bytes};
	struct adding adding = {.options = options, .name = names[0]};
	enum digest_function function;
	int rc = -1;

	(void)status;
	adding.source = choose_source(options, err);
	if (adding.source == NULL ||
	    client_options_function(&options->client, &function, err) < 0)
		goto out;
	capture_programs_clean(adding.source);
	adding.tree = capture_tree_new(function, &limits);
	adding.progress = toolchain_progress_start(true);
	rc = capture(&adding, err);
	if (rc == 0)
		rc = build(&adding, err);
	if (rc == 0)
		rc = finish(&adding, err);
out:
	adding_clear(&adding);
	return rc;
}

/* --rust and --cc may stand alone; the table wants a value. Returns a copy of
 * argv, whose elements are borrowed; the caller frees it. */
static char **
with_values(char **argv)
{
	static char rust[] = "--rust=", cc[] = "--cc=";
	size_t count = 0;
	char **copy;

	while (argv[count] != NULL)
		count++;
	copy = xcalloc(count + 1, sizeof(*copy));
	for (size_t i = 0; i < count; i++) {
		bool alone = argv[i + 1] == NULL || argv[i + 1][0] == '-';

		copy[i] = argv[i];
		if (alone && strcmp(argv[i], "--rust") == 0)
			copy[i] = rust;
		else if (alone && strcmp(argv[i], "--cc") == 0)
			copy[i] = cc;
	}
	return copy;
}

int
toolchain_commands_add(char **argv)
{
	struct add_options options = {.json = false};
	const struct command command = {.settings = &add_settings,
	    .options = &options,
	    .arguments = 1,
	    .rpc = true,
	    .reads = true,
	    .check = add_check,
	    .run = add_run};
	char **copy = with_values(argv);
	int status = command_run(&command, copy);

	free(copy);
	return status;
}
