/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of running actions share: one spawner for the program (it has
 * to start before any thread), a store and a file cache in a fresh directory
 * for each test, an input tree under construction, and a run that keeps the
 * result. Outputs go into the same store. The host's programs are used, by
 * --host-root.
 */
#ifndef TOOLROOT_TESTS_UNIT_WORKER_RUN_FIXTURE_H
#define TOOLROOT_TESTS_UNIT_WORKER_RUN_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/digest_list.h"
#include "cas/digest_message.h"
#include "cas/directory.h"
#include "cas/merkle_builder.h"
#include "cas/store.h"
#include "worker/file_cache.h"
#include "worker/outputs.h"
#include "worker/run_action.h"
#include "worker/spawner.h"
#include "worker/subtrees.h"
#include "worker/tree_cache.h"

#define FIXTURE_FUNCTION DIGEST_SHA256
#define FIXTURE_LIST_MAX 16

static struct spawner *fixture_spawner;
static struct action_limits fixture_limits;

struct fixture {
	char path[64];
	char cache_path[80];
	char trees_path[80];
	struct store *store;
	struct file_cache *files;
	struct subtrees *subtrees;
	struct tree_cache *trees;
	struct merkle_builder *tree;
	struct digest root; /* used instead of tree when root_given */
	bool root_given;
	Reapi__Command command;
	ProtobufCBinaryData arguments[FIXTURE_LIST_MAX];
	ProtobufCBinaryData lists[4][FIXTURE_LIST_MAX];
	Reapi__Command__EnvironmentVariable variables[FIXTURE_LIST_MAX];
	Reapi__Command__EnvironmentVariable *variable_list[FIXTURE_LIST_MAX];
	Reapi__Platform platform;
	Reapi__Platform__Property properties[FIXTURE_LIST_MAX];
	Reapi__Platform__Property *property_list[FIXTURE_LIST_MAX];
	struct arena arena;
	struct run_action run;
	struct digest_list missing;
	Reapi__ActionResult *result;
	struct error error;
	int rc;
};

static inline void
fixture_put(struct fixture *fixture, struct str content, struct digest *digest)
{
	struct error err;

	digest_compute(FIXTURE_FUNCTION, content.data, content.len, digest);
	if (store_put_bytes(fixture->store, digest, content, &err) < 0)
		fail_msg("store_put_bytes: %s", err.text);
}

static inline void
fixture_add_to(struct fixture *fixture, struct merkle_builder *tree,
    const char *path, struct str content, bool executable)
{
	struct merkle_file file = {.executable = executable};
	struct error err;

	fixture_put(fixture, content, &file.digest);
	if (merkle_builder_add_file(tree, str_from(path), &file, &err) < 0)
		fail_msg("add %s: %s", path, err.text);
}

static inline void
fixture_add_file(struct fixture *fixture, const char *path, struct str content,
    bool executable)
{
	fixture_add_to(fixture, fixture->tree, path, content, executable);
}

static inline void
fixture_add_text(struct fixture *fixture, const char *path, const char *text)
{
	fixture_add_file(fixture, path, str_from(text), false);
}

static inline ProtobufCBinaryData
fixture_bytes(const char *text)
{
	return (ProtobufCBinaryData){
	    .len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

static inline void
fixture_argument(struct fixture *fixture, const char *text)
{
	fixture->command.arguments = fixture->arguments;
	fixture->arguments[fixture->command.n_arguments++] =
	    fixture_bytes(text);
}

static inline void
fixture_script(struct fixture *fixture, const char *script)
{
	fixture_argument(fixture, "sh");
	fixture_argument(fixture, "-c");
	fixture_argument(fixture, script);
}

static inline void
fixture_output(struct fixture *fixture, const char *path)
{
	fixture->command.output_paths = fixture->lists[0];
	fixture->lists[0][fixture->command.n_output_paths++] =
	    fixture_bytes(path);
}

static inline void
fixture_output_file(struct fixture *fixture, const char *path)
{
	fixture->command.output_files = fixture->lists[1];
	fixture->lists[1][fixture->command.n_output_files++] =
	    fixture_bytes(path);
}

static inline void
fixture_output_directory(struct fixture *fixture, const char *path)
{
	fixture->command.output_directories = fixture->lists[2];
	fixture->lists[2][fixture->command.n_output_directories++] =
	    fixture_bytes(path);
}

static inline void
fixture_node_property(struct fixture *fixture, const char *name)
{
	fixture->command.output_node_properties = fixture->lists[3];
	fixture->lists[3][fixture->command.n_output_node_properties++] =
	    fixture_bytes(name);
}

static inline void
fixture_variable(struct fixture *fixture, const char *name, const char *value)
{
	size_t i = fixture->command.n_environment_variables++;

	reapi__command__environment_variable__init(&fixture->variables[i]);
	fixture->variables[i].name = fixture_bytes(name);
	fixture->variables[i].value = fixture_bytes(value);
	fixture->variable_list[i] = &fixture->variables[i];
	fixture->command.environment_variables = fixture->variable_list;
}

static inline void
fixture_property(struct fixture *fixture, const char *name, const char *value)
{
	size_t i = fixture->platform.n_properties++;

	reapi__platform__property__init(&fixture->properties[i]);
	fixture->properties[i].name = fixture_bytes(name);
	fixture->properties[i].value = fixture_bytes(value);
	fixture->property_list[i] = &fixture->properties[i];
	fixture->platform.properties = fixture->property_list;
}

/* The upload of the tests: into the test's own store. */
static inline int
fixture_upload(void *cookie, const struct outputs *outputs, struct error *err)
{
	struct fixture *fixture = cookie;

	for (size_t i = 0; i < outputs->blob_count; i++) {
		const struct output_blob *blob = &outputs->blobs[i];
		struct str content = blob->content;
		char *data = NULL;
		int fd = -1;
		int rc = 0;

		if (content.data == NULL) {
			fd = outputs_open(outputs->input_root, blob->path, err);
			if (fd < 0)
				return -1;
			data = xmalloc((size_t)blob->digest.size + 1);
			rc = file_pread(
			    fd, data, (size_t)blob->digest.size, 0, err);
			content = (struct str){data, (size_t)blob->digest.size};
		}
		if (rc == 0)
			rc = store_put_bytes(
			    fixture->store, &blob->digest, content, err);
		free(data);
		file_close(&fd);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static inline void
fixture_put_directories(
    struct fixture *fixture, struct merkle_builder *tree, struct digest *root)
{
	const struct merkle_directory *list;
	struct error err;
	size_t count;

	if (merkle_builder_finish(tree, &err) < 0)
		fail_msg("finish: %s", err.text);
	list = merkle_builder_directories(tree, &count);
	for (size_t i = 0; i < count; i++)
		if (store_put_bytes(fixture->store, &list[i].digest,
			list[i].bytes, &err) < 0)
			fail_msg("store_put_bytes: %s", err.text);
	*root = *merkle_builder_root(tree);
}

static inline void
fixture_put_command(struct fixture *fixture, struct digest *digest)
{
	size_t size = reapi__command__get_packed_size(&fixture->command);
	uint8_t *packed = xmalloc(size + 1);

	reapi__command__pack(&fixture->command, packed);
	fixture_put(fixture, (struct str){(const char *)packed, size}, digest);
	free(packed);
}

/* Runs what was set up; rc, error and result tell how it went. */
static inline void
fixture_run(struct fixture *fixture)
{
	Reapi__Action action = REAPI__ACTION__INIT;
	Reapi__Digest command_message = REAPI__DIGEST__INIT;
	Reapi__Digest root_message = REAPI__DIGEST__INIT;
	char command_text[DIGEST_TEXT_MAX];
	char root_text[DIGEST_TEXT_MAX];
	struct digest command;

	if (!fixture->root_given)
		fixture_put_directories(fixture, fixture->tree, &fixture->root);
	fixture_put_command(fixture, &command);
	digest_to_message(&command, command_text, &command_message);
	digest_to_message(&fixture->root, root_text, &root_message);
	action.command_digest = &command_message;
	action.input_root_digest = &root_message;
	if (fixture->platform.n_properties > 0)
		action.platform = &fixture->platform;
	fixture->run.action = &action;
	fixture->rc =
	    run_action(&fixture->run, &fixture->result, &fixture->error);
	fixture->run.action = NULL;
}

static inline void
fixture_run_well(struct fixture *fixture)
{
	fixture_run(fixture);
	if (fixture->rc < 0)
		fail_msg("run_action: %s: %s",
		    error_code_name(fixture->error.code), fixture->error.text);
}

/* The blob's content; the caller frees it. */
static inline char *
fixture_read(struct fixture *fixture, const Reapi__Digest *message)
{
	struct buffer content;
	struct digest digest;
	struct error err;

	buffer_init(&content, (size_t)64 << 20);
	assert_non_null(message);
	if (digest_from_message(FIXTURE_FUNCTION, message, &digest, &err) < 0)
		fail_msg("%s", err.text);
	if (store_read(fixture->store, &digest, &content, &err) != 1)
		fail_msg("blob of the result is not in the store");
	return content.data != NULL ? content.data : xstrdup("");
}

static inline void
fixture_assert_blob(
    struct fixture *fixture, const Reapi__Digest *message, const char *expected)
{
	char *content = fixture_read(fixture, message);

	assert_string_equal(content, expected);
	free(content);
}

/* Standard output of the run. */
static inline void
fixture_assert_stdout(struct fixture *fixture, const char *expected)
{
	if (expected[0] == '\0')
		assert_null(fixture->result->stdout_digest);
	else
		fixture_assert_blob(
		    fixture, fixture->result->stdout_digest, expected);
}

static inline void
fixture_open_trees(struct fixture *fixture, uint64_t max_bytes)
{
	const struct tree_cache_options options = {.path = fixture->trees_path,
	    .max_bytes = max_bytes,
	    .staging = spawner_staging(fixture_spawner),
	    .uid = geteuid(),
	    .gid = getegid()};
	struct error err;

	fixture->trees = tree_cache_open(&options, &err);
	if (fixture->trees == NULL)
		fail_msg("tree_cache_open: %s", err.text);
	fixture->run.trees = fixture->trees;
}

/* Only with images. */
static inline void
fixture_open_subtrees(struct fixture *fixture)
{
	char path[96];
	struct error err;

	if (!staging_has_images(spawner_staging(fixture_spawner)))
		return;
	snprintf(path, sizeof(path), "%s/subtrees", fixture->path);
	fixture->subtrees = subtrees_open(
	    path, spawner_staging(fixture_spawner), (uint64_t)1 << 30, &err);
	if (fixture->subtrees == NULL)
		fail_msg("subtrees_open: %s", err.text);
}

static inline int
fixture_setup(void **state)
{
	struct fixture *fixture = xcalloc(1, sizeof(*fixture));
	struct store_options options = {.path = fixture->path,
	    .max_size = (uint64_t)1 << 30,
	    .segment_size = 1 << 20};
	struct error err;

	snprintf(fixture->path, sizeof(fixture->path), "%s",
	    "/tmp/toolroot-run-XXXXXX");
	if (mkdtemp(fixture->path) == NULL)
		return -1;
	snprintf(fixture->cache_path, sizeof(fixture->cache_path), "%s/files",
	    fixture->path);
	snprintf(fixture->trees_path, sizeof(fixture->trees_path), "%s/trees",
	    fixture->path);
	fixture->store = store_open(&options, &err);
	if (fixture->store == NULL)
		fail_msg("store_open: %s", err.text);
	fixture->files =
	    file_cache_open(fixture->cache_path, (uint64_t)1 << 30, &err);
	if (fixture->files == NULL)
		fail_msg("file_cache_open: %s", err.text);
	fixture_open_trees(fixture, (uint64_t)1 << 30);
	fixture_open_subtrees(fixture);
	fixture->tree = merkle_builder_new(FIXTURE_FUNCTION);
	reapi__platform__init(&fixture->platform);
	reapi__command__init(&fixture->command);
	arena_init(&fixture->arena, (size_t)64 << 20);
	digest_list_init(&fixture->missing, 1000);
	fixture->run = (struct run_action){.spawner = fixture_spawner,
	    .store = fixture->store,
	    .files = fixture->files,
	    .subtrees = fixture->subtrees,
	    .trees = fixture->trees,
	    .worker_name = "tester",
	    .stream_limit = 1 << 20,
	    .function = FIXTURE_FUNCTION,
	    .timeout_ms = 20000,
	    .cancel_fd = -1,
	    .arena = &fixture->arena,
	    .missing = &fixture->missing,
	    .upload = fixture_upload,
	    .cookie = fixture};
	*state = fixture;
	return 0;
}

static inline int
fixture_teardown(void **state)
{
	struct fixture *fixture = *state;
	struct error err;

	merkle_builder_free(fixture->tree);
	file_cache_close(fixture->files);
	tree_cache_close(fixture->trees);
	subtrees_close(fixture->subtrees);
	store_close(fixture->store);
	digest_list_clear(&fixture->missing);
	arena_clear(&fixture->arena);
	if (file_remove_tree(fixture->path, &err) < 0)
		fprintf(stderr, "%s\n", err.text);
	free(fixture);
	return 0;
}

/* STAGING_AUTO: the best one. */
static enum staging fixture_staging;
static struct error fixture_refused; /* why no spawner could be started */
/* The spawner's; other tests run beside this one. */
static char fixture_cache[] = "/tmp/toolroot-cache-XXXXXX";

/* Before any thread. False, with a line that says why, where this host allows
 * no sandbox. */
static inline bool
fixture_start_spawner(const char *unfenced_scratch)
{
	struct spawner_options options = {.slots = 1,
	    .host_root = true,
	    .unfenced = unfenced_scratch != NULL,
	    .scratch_path = unfenced_scratch,
	    .scratch_bytes = (uint64_t)256 << 20,
	    .scratch_files = 20000,
	    .limits = fixture_limits,
	    .cache = fixture_cache};

	options.staging = fixture_staging;
	if (mkdtemp(fixture_cache) == NULL)
		return false;
	fixture_spawner = spawner_start(&options, &fixture_refused);
	if (fixture_spawner == NULL)
		fprintf(stderr, "no sandbox on this host: %s\n",
		    fixture_refused.text);
	return fixture_spawner != NULL;
}

static inline void
fixture_stop_spawner(void)
{
	struct error err;

	spawner_stop(fixture_spawner);
	if (file_remove_tree(fixture_cache, &err) < 0)
		fprintf(stderr, "%s\n", err.text);
}

/* The exit status of a process of its own. Images that this host has not, be it
 * for its kernel or for want of root, are left out. */
static inline int
fixture_run_staging(int (*run)(void))
{
	int status;

	if (staging_has_images(fixture_staging) && geteuid() != 0)
		return 0;
	printf("# staging: %s\n", staging_name(fixture_staging));
	if (!fixture_start_spawner(NULL)) {
		(void)rmdir(fixture_cache);
		return !staging_has_images(fixture_staging) ||
		       fixture_refused.code != ERROR_FAILED_PRECONDITION;
	}
	status = run();
	fixture_stop_spawner();
	return status != 0;
}

/* Runs the tests for each way of staging; returns the exit status. */
static inline int
fixture_run_stagings(int (*run)(void))
{
	static const enum staging stagings[] = {
	    STAGING_EROFS, STAGING_EROFS_PATH, STAGING_TMPFS};
	int failed = 0;
	int status;
	pid_t pid;

	for (size_t i = 0; i < sizeof(stagings) / sizeof(*stagings); i++) {
		fixture_staging = stagings[i];
		pid = fork();
		if (pid == 0) {
			status = fixture_run_staging(run);
			fflush(NULL);
			_exit(status);
		}
		if (pid == -1 || waitpid(pid, &status, 0) != pid || status != 0)
			failed = 1;
	}
	return failed;
}

#endif
