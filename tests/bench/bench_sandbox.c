/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sandbox costs over bare vfork+exec: /bin/true with a number of small
 * inputs, staged, run and collected from a local store, rounds of both
 * interleaved. Prints medians and 90th percentiles in microseconds.
 *
 *	bench_sandbox [ROUNDS]      (as root or not: both tiers)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/digest_message.h"
#include "cas/merkle_builder.h"
#include "cas/store.h"
#include "worker/file_cache.h"
#include "worker/outputs.h"
#include "worker/run_action.h"
#include "worker/spawner.h"

#define ROUNDS 300
#define BODY_BYTES 2000

struct bench {
	struct spawner *spawner;
	struct store *store;
	struct file_cache *files;
	char path[64];
	struct digest command;
	struct digest root;
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
	    .scratch_files = 100000};
	struct store_options store = {
	    .path = bench->path, .max_size = (uint64_t)1 << 30};
	char files[80];
	struct error err;

	bench->spawner = spawner_start(&spawner, &err);
	check(bench->spawner != NULL ? 0 : -1, &err);
	strcpy(bench->path, "/tmp/toolroot-bench-XXXXXX");
	if (mkdtemp(bench->path) == NULL)
		exit(1);
	bench->store = store_open(&store, &err);
	check(bench->store != NULL ? 0 : -1, &err);
	snprintf(files, sizeof(files), "%s/files", bench->path);
	bench->files = file_cache_open(files, (uint64_t)1 << 30, &err);
	check(bench->files != NULL ? 0 : -1, &err);
}

/* count files of different content in directories of 20. */
static void
put_tree(struct bench *bench, size_t count)
{
	struct merkle_builder *tree = merkle_builder_new(DIGEST_SHA256);
	const struct merkle_directory *list;
	char body[BODY_BYTES];
	char path[64];
	struct error err;
	size_t directories;

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
	check(merkle_builder_finish(tree, &err), &err);
	list = merkle_builder_directories(tree, &directories);
	for (size_t i = 0; i < directories; i++)
		put(bench, list[i].bytes, &bench->root);
	bench->root = *merkle_builder_root(tree);
	merkle_builder_free(tree);
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

static void
run_sandboxed(struct bench *bench)
{
	Reapi__Action action = REAPI__ACTION__INIT;
	Reapi__Digest command = REAPI__DIGEST__INIT;
	Reapi__Digest root = REAPI__DIGEST__INIT;
	Reapi__ActionResult *result;
	char command_text[DIGEST_TEXT_MAX];
	char root_text[DIGEST_TEXT_MAX];
	struct arena arena;
	struct run_action run = {.spawner = bench->spawner,
	    .store = bench->store,
	    .files = bench->files,
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

int
main(int argc, char **argv)
{
	size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : ROUNDS;
	struct bench bench = {.spawner = NULL};
	struct error err;

	open_all(&bench);
	printf("sandbox tier: %s, %zu rounds\n",
	    sandbox_tier_name(spawner_tier(bench.spawner)), rounds);
	put_command(&bench);
	measure(&bench, 0, rounds);
	measure(&bench, 10, rounds);
	measure(&bench, 200, rounds);
	measure(&bench, 1000, rounds);
	file_cache_close(bench.files);
	store_close(bench.store);
	spawner_stop(bench.spawner);
	check(file_remove_tree(bench.path, &err), &err);
	return 0;
}
