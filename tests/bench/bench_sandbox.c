/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sandbox costs over bare vfork+exec: /bin/true with a number of small
 * inputs, staged, run and collected from a local store, rounds of both
 * interleaved; then with toolchain trees of 99 and 52,000 files at "/", which
 * must not matter but for the first use. Prints medians and 90th percentiles
 * in microseconds, and what it takes to check that a tree is whole.
 *
 *	bench_sandbox [ROUNDS]      (as root or not: both tiers)
 */
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/closure.h"
#include "cas/digest_list.h"
#include "cas/digest_message.h"
#include "cas/merkle_builder.h"
#include "cas/store.h"
#include "worker/file_cache.h"
#include "worker/outputs.h"
#include "worker/run_action.h"
#include "worker/spawner.h"
#include "worker/tree_cache.h"

#define ROUNDS 300
#define BODY_BYTES 2000
/* Of the files of a toolchain tree, so many differ. */
#define BODIES 500
#define FILES_PER_DIRECTORY 36

struct bench {
	enum staging staging;
	struct spawner *spawner;
	struct store *store;
	struct file_cache *files;
	struct tree_cache *trees;
	char path[64];
	struct digest command;
	struct digest root;
	struct digest toolchain; /* size 0: none */
};

static void
check(int rc, const struct error *err)
{
	if (rc == 0)
		return;
	fprintf(stderr, "bench_sandbox: %s\n", err->text);
	exit(1);
}

static void
put(struct bench *bench, struct str content, struct digest *digest)
{
	struct error err;

	digest_compute(DIGEST_SHA256, content.data, content.len, digest);
	check(store_put_bytes(bench->store, digest, content, &err), &err);
}

static void
open_all(struct bench *bench)
{
	struct spawner_options spawner = {.slots = 1,
	    .host_root = true,
	    .scratch_bytes = (uint64_t)1 << 30,
	    .scratch_files = 100000,
	    .staging = bench->staging,
	    .cache = bench->path};
	struct store_options store = {
	    .path = bench->path, .max_size = (uint64_t)1 << 30};
	char files[80];
	char trees[80];
	struct error err;

	strcpy(bench->path, "/tmp/toolroot-bench-XXXXXX");
	if (mkdtemp(bench->path) == NULL)
		exit(1);
	bench->spawner = spawner_start(&spawner, &err);
	check(bench->spawner != NULL ? 0 : -1, &err);
	bench->store = store_open(&store, &err);
	check(bench->store != NULL ? 0 : -1, &err);
	snprintf(files, sizeof(files), "%s/files", bench->path);
	bench->files = file_cache_open(files, (uint64_t)1 << 30, &err);
	check(bench->files != NULL ? 0 : -1, &err);
	snprintf(trees, sizeof(trees), "%s/trees", bench->path);
	bench->trees = tree_cache_open(
	    trees, (uint64_t)1 << 32, spawner_staging(bench->spawner), &err);
	check(bench->trees != NULL ? 0 : -1, &err);
}

/* Takes the tree. */
static void
put_directories(
    struct bench *bench, struct merkle_builder *tree, struct digest *root)
{
	const struct merkle_directory *list;
	struct error err;
	size_t count;

	check(merkle_builder_finish(tree, &err), &err);
	list = merkle_builder_directories(tree, &count);
	for (size_t i = 0; i < count; i++)
		put(bench, list[i].bytes, root);
	*root = *merkle_builder_root(tree);
	merkle_builder_free(tree);
}

struct program {
	struct bench *bench;
	struct merkle_builder *tree;
	size_t files;
};

static void
add_host_file(struct program *program, const char *path)
{
	struct merkle_file file = {.executable = true};
	struct buffer content;
	struct error err;

	buffer_init(&content, (size_t)64 << 20);
	check(file_read_all(path, &content, &err), &err);
	put(program->bench, buffer_str(&content), &file.digest);
	check(merkle_builder_add_file(
		  program->tree, str_from(path + 1), &file, &err),
	    &err);
	program->files++;
	buffer_clear(&content);
}

/* The C library and the loader of this program: what /bin/true needs. */
static int
add_library(struct dl_phdr_info *info, size_t size, void *cookie)
{
	const char *name = info->dlpi_name;

	(void)size;
	if (strstr(name, "/libc.so") != NULL || strstr(name, "/ld-") != NULL)
		add_host_file(cookie, name);
	return 0;
}

/* A root file system of count files with /bin/true among them. */
static void
put_toolchain(struct bench *bench, size_t count)
{
	struct program program = {bench, merkle_builder_new(DIGEST_SHA256), 0};
	struct digest bodies[BODIES];
	char body[BODY_BYTES];
	char path[64];
	struct error err;

	add_host_file(&program, "/bin/true");
	dl_iterate_phdr(add_library, &program);
	memset(body, 't', sizeof(body));
	for (size_t i = 0; i < BODIES; i++) {
		memcpy(body, &i, sizeof(i));
		put(bench, (struct str){body, sizeof(body)}, &bodies[i]);
	}
	for (size_t i = program.files; i < count; i++) {
		struct merkle_file file = {.digest = bodies[i % BODIES]};

		snprintf(path, sizeof(path), "usr/d%zu/file%zu",
		    i / FILES_PER_DIRECTORY, i);
		check(merkle_builder_add_file(
			  program.tree, str_from(path), &file, &err),
		    &err);
	}
	put_directories(bench, program.tree, &bench->toolchain);
}

/* count files of different content in directories of 20. */
static void
put_tree(struct bench *bench, size_t count)
{
	struct merkle_builder *tree = merkle_builder_new(DIGEST_SHA256);
	char body[BODY_BYTES];
	char path[64];
	struct error err;

	for (size_t i = 0; i < count; i++) {
		struct merkle_file file = {.executable = false};
		int len = snprintf(body, sizeof(body), "/* file %zu */", i);

		memset(body + len, 'x', sizeof(body) - (size_t)len);
		put(bench, (struct str){body, sizeof(body)}, &file.digest);
		snprintf(path, sizeof(path), "src/d%zu/file%zu.c", i / 20, i);
		check(
		    merkle_builder_add_file(tree, str_from(path), &file, &err),
		    &err);
	}
	put_directories(bench, tree, &bench->root);
}

static void
put_command(struct bench *bench)
{
	Reapi__Command command = REAPI__COMMAND__INIT;
	ProtobufCBinaryData arguments[] = {
	    {.len = 9, .data = (uint8_t *)(uintptr_t) "/bin/true"}};
	uint8_t packed[64];
	size_t len;

	command.arguments = arguments;
	command.n_arguments = 1;
	len = reapi__command__pack(&command, packed);
	put(bench, (struct str){(const char *)packed, len}, &bench->command);
}

static int
upload(void *cookie, const struct outputs *outputs, struct error *err)
{
	(void)cookie;
	(void)outputs;
	(void)err;
	return 0;
}

static ProtobufCBinaryData
bytes_of(const char *text)
{
	return (ProtobufCBinaryData){
	    .len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

static void
run_sandboxed(struct bench *bench)
{
	Reapi__Action action = REAPI__ACTION__INIT;
	Reapi__Digest command = REAPI__DIGEST__INIT;
	Reapi__Digest root = REAPI__DIGEST__INIT;
	Reapi__ActionResult *result;
	Reapi__Platform platform = REAPI__PLATFORM__INIT;
	Reapi__Platform__Property property = REAPI__PLATFORM__PROPERTY__INIT;
	Reapi__Platform__Property *properties[] = {&property};
	char command_text[DIGEST_TEXT_MAX];
	char root_text[DIGEST_TEXT_MAX];
	char toolchain_text[DIGEST_TEXT_MAX];
	struct arena arena;
	struct run_action run = {.spawner = bench->spawner,
	    .store = bench->store,
	    .files = bench->files,
	    .trees = bench->trees,
	    .worker_name = "bench",
	    .stream_limit = 1 << 20,
	    .action = &action,
	    .function = DIGEST_SHA256,
	    .timeout_ms = 60000,
	    .cancel_fd = -1,
	    .arena = &arena,
	    .upload = upload};
	struct error err;

	arena_init(&arena, (size_t)64 << 20);
	digest_to_message(&bench->command, command_text, &command);
	digest_to_message(&bench->root, root_text, &root);
	action.command_digest = &command;
	action.input_root_digest = &root;
	digest_format(&bench->toolchain, toolchain_text);
	property.name = bytes_of("toolchain-root");
	property.value = bytes_of(toolchain_text);
	platform.properties = properties;
	platform.n_properties = 1;
	if (bench->toolchain.size > 0)
		action.platform = &platform;
	check(run_action(&run, &result, &err), &err);
	arena_clear(&arena);
}

static void
run_bare(void)
{
	char *arguments[] = {(char *)(uintptr_t) "/bin/true", NULL};
	char *environment[] = {NULL};
	pid_t pid = vfork();

	if (pid == 0) {
		execve(arguments[0], arguments, environment);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

static int
compare(const void *left, const void *right)
{
	const int64_t *a = left;
	const int64_t *b = right;

	return *a < *b ? -1 : *a > *b;
}

static void
measure(struct bench *bench, size_t inputs, size_t rounds)
{
	int64_t *bare = xcalloc(rounds, sizeof(*bare));
	int64_t *boxed = xcalloc(rounds, sizeof(*boxed));
	int64_t start;

	put_tree(bench, inputs);
	run_sandboxed(bench);
	for (size_t i = 0; i < rounds; i++) {
		start = clock_monotonic_ns();
		run_bare();
		bare[i] = clock_monotonic_ns() - start;
		start = clock_monotonic_ns();
		run_sandboxed(bench);
		boxed[i] = clock_monotonic_ns() - start;
		/* As between real actions: the next sandbox gets ready. */
		usleep(3000);
	}
	qsort(bare, rounds, sizeof(*bare), compare);
	qsort(boxed, rounds, sizeof(*boxed), compare);
	printf("%6zu inputs: bare %5lld us (p90 %5lld), sandboxed %6lld us "
	       "(p90 %6lld), over bare %6lld us\n",
	    inputs, (long long)bare[rounds / 2] / 1000,
	    (long long)bare[rounds * 9 / 10] / 1000,
	    (long long)boxed[rounds / 2] / 1000,
	    (long long)boxed[rounds * 9 / 10] / 1000,
	    (long long)(boxed[rounds / 2] - bare[rounds / 2]) / 1000);
	free(bare);
	free(boxed);
}

static int
read_store(void *cookie, const struct digest *digest, struct buffer *content,
    struct error *err)
{
	return store_read(cookie, digest, content, err);
}

/* What a server does for a tree that an action names. */
static void
check_tree(const struct bench *bench)
{
	const struct closure_source source = {
	    read_store, bench->store, DIGEST_SHA256};
	struct digest_list directories;
	struct digest_list files;
	struct digest_list missing;
	struct closure closure = {
	    &files, &directories, &missing, CLOSURE_ENTRIES_MAX};
	struct error err;
	bool *absent;

	digest_list_init(&files, CLOSURE_DIGESTS_MAX);
	digest_list_init(&directories, CLOSURE_DIRECTORIES_MAX);
	digest_list_init(&missing, 1);
	check(closure_of_directory(&source, &bench->toolchain, &closure, &err),
	    &err);
	absent = xcalloc(files.count + 1, sizeof(*absent));
	check(store_find_missing(
		  bench->store, files.items, files.count, absent, &err),
	    &err);
	free(absent);
	digest_list_clear(&files);
	digest_list_clear(&directories);
	digest_list_clear(&missing);
}

static void
measure_toolchain(struct bench *bench, size_t files, size_t rounds)
{
	int64_t start;
	int64_t checked;

	put_toolchain(bench, files);
	put_tree(bench, 0);
	start = clock_monotonic_ns();
	check_tree(bench);
	checked = clock_monotonic_ns();
	run_sandboxed(bench);
	printf("toolchain of %zu files: check %lld us, first use %lld us\n",
	    files, (long long)(checked - start) / 1000,
	    (long long)(clock_monotonic_ns() - checked) / 1000);
	measure(bench, 200, rounds);
}

int
main(int argc, char **argv)
{
	size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : ROUNDS;
	struct bench bench = {.spawner = NULL};
	struct error err;

	if (argc > 2 && !staging_parse(argv[2], &bench.staging))
		return 2;
	open_all(&bench);
	printf("sandbox tier: %s, %zu rounds\n",
	    sandbox_tier_name(spawner_tier(bench.spawner)), rounds);
	put_command(&bench);
	measure(&bench, 0, rounds);
	measure(&bench, 10, rounds);
	measure(&bench, 200, rounds);
	measure(&bench, 1000, rounds);
	measure_toolchain(&bench, 99, rounds);
	measure_toolchain(&bench, 52000, rounds);
	measure_toolchain(&bench, 99, rounds);
	file_cache_close(bench.files);
	tree_cache_close(bench.trees);
	store_close(bench.store);
	spawner_stop(bench.spawner);
	check(file_remove_tree(bench.path, &err), &err);
	return 0;
}
