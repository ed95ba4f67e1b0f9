/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sandbox costs over bare vfork+exec: /bin/true with a number of small
 * inputs, staged, run and collected from a local store, rounds of both
 * interleaved; then with toolchain trees of 99 and 52,000 files at "/", which
 * must not matter but for the first use, beside hard-linking every file of the
 * same tree; then rustc, where it is given, as a tree of its own. Prints
 * medians and 90th percentiles in microseconds.
 *
 *	bench_sandbox [ROUNDS [STAGING [SYSROOT]]]
 *
 * As root or not; STAGING as in worker/staging.h; SYSROOT of rustc.
 */
#include <dirent.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
#include "tests/bench/put_and_wait.h"
#include "worker/file_cache.h"
#include "worker/outputs.h"
#include "worker/run_action.h"
#include "worker/spawner.h"
#include "worker/subtrees.h"
#include "worker/tree_build.h"
#include "worker/tree_cache.h"

#define ROUNDS 300
#define BODY_BYTES 2000
/* Of the files of a toolchain tree, so many differ. */
#define BODIES 500
#define FILES_PER_DIRECTORY 36
#define ARGUMENTS_MAX 12
#define GIB ((uint64_t)1 << 30)

struct bench {
	enum staging staging;
	struct spawner *spawner;
	struct store *store;
	struct file_cache *files;
	struct subtrees *subtrees; /* or NULL */
	struct tree_cache *trees;
	char path[64];
	struct digest command;
	struct digest root;
	struct digest toolchain; /* size 0: none */
	const char *property;    /* where that is to be */
	/* The program that is run bare. */
	const char *arguments[ARGUMENTS_MAX];
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
	    .scratch_bytes = GIB,
	    .scratch_files = 100000,
	    .staging = bench->staging,
	    .cache = bench->path};
	struct store_options store = {.path = bench->path, .max_size = 4 * GIB};
	struct tree_cache_options tree_cache = {
	    .max_bytes = 4 * GIB, .uid = geteuid(), .gid = getegid()};
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
	bench->files = file_cache_open(files, GIB, &err);
	check(bench->files != NULL ? 0 : -1, &err);
	snprintf(trees, sizeof(trees), "%s/trees", bench->path);
	tree_cache.path = trees;
	tree_cache.staging = spawner_staging(bench->spawner);
	bench->trees = tree_cache_open(&tree_cache, &err);
	check(bench->trees != NULL ? 0 : -1, &err);
	if (!staging_has_images(tree_cache.staging))
		return;
	snprintf(trees, sizeof(trees), "%s/subtrees", bench->path);
	bench->subtrees =
	    subtrees_open(trees, tree_cache.staging, 4 * GIB, &err);
	check(bench->subtrees != NULL ? 0 : -1, &err);
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

/* As a client sends them: all at once. */
static void
put_bodies(struct bench *bench, struct store_put *puts, size_t count)
{
	put_and_wait(bench->store, puts, count);
	for (size_t i = 0; i < count; i++)
		check(puts[i].error == NULL ? 0 : -1, puts[i].error);
}

/* count files of different content in directories of 20; those of another
 * version have other contents. */
static void
put_tree(struct bench *bench, size_t count, size_t version)
{
	struct merkle_builder *tree = merkle_builder_new(DIGEST_SHA256);
	char(*bodies)[BODY_BYTES] = xcalloc(count + 1, sizeof(*bodies));
	struct iovec *parts = xcalloc(count + 1, sizeof(*parts));
	struct store_put *puts = xcalloc(count + 1, sizeof(*puts));
	char path[64];
	struct error err;

	for (size_t i = 0; i < count; i++) {
		struct merkle_file file = {.executable = false};
		int len = snprintf(
		    bodies[i], BODY_BYTES, "/* file %zu of %zu */", i, version);

		memset(bodies[i] + len, 'x', BODY_BYTES - (size_t)len);
		digest_compute(
		    DIGEST_SHA256, bodies[i], BODY_BYTES, &file.digest);
		parts[i] = (struct iovec){bodies[i], BODY_BYTES};
		puts[i] = (struct store_put){
		    .digest = file.digest, .parts = &parts[i], .part_count = 1};
		snprintf(path, sizeof(path), "src/d%zu/file%zu.c", i / 20, i);
		check(
		    merkle_builder_add_file(tree, str_from(path), &file, &err),
		    &err);
	}
	put_bodies(bench, puts, count);
	put_directories(bench, tree, &bench->root);
	free(bodies);
	free(parts);
	free(puts);
}

static ProtobufCBinaryData
bytes_of(const char *text)
{
	return (ProtobufCBinaryData){
	    .len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

/* In the sandbox: the program by its path there, and an output or NULL. */
static void
put_command(struct bench *bench, const char *program, const char *output)
{
	Reapi__Command command = REAPI__COMMAND__INIT;
	ProtobufCBinaryData arguments[ARGUMENTS_MAX] = {bytes_of(program)};
	ProtobufCBinaryData outputs[] = {
	    bytes_of(output != NULL ? output : "")};
	uint8_t packed[1024];
	size_t len;

	command.arguments = arguments;
	command.n_arguments = 1;
	while (bench->arguments[command.n_arguments] != NULL) {
		arguments[command.n_arguments] =
		    bytes_of(bench->arguments[command.n_arguments]);
		command.n_arguments++;
	}
	command.output_paths = outputs;
	command.n_output_paths = output != NULL;
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
	    .subtrees = bench->subtrees,
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
	property.name = bytes_of(bench->property);
	property.value = bytes_of(toolchain_text);
	platform.properties = properties;
	platform.n_properties = 1;
	if (bench->toolchain.size > 0)
		action.platform = &platform;
	check(run_action(&run, &result, &err), &err);
	if (result->exit_code != 0) {
		fprintf(stderr, "bench_sandbox: exit %d\n", result->exit_code);
		exit(1);
	}
	arena_clear(&arena);
}

static void
run_bare(const struct bench *bench)
{
	char *environment[] = {(char *)(uintptr_t) "PATH=/bin:/usr/bin", NULL};
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	pid_t pid = vfork();

	if (pid == 0) {
		dup2(null, STDOUT_FILENO);
		execve(bench->arguments[0],
		    (char *const *)(uintptr_t)bench->arguments, environment);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
	close(null);
}

static int
compare(const void *left, const void *right)
{
	const int64_t *a = left;
	const int64_t *b = right;

	return *a < *b ? -1 : *a > *b;
}

/* With so many inputs that are others in each round; 0: the same ones. */
static void
measure_rounds(
    struct bench *bench, const char *what, size_t rounds, size_t changing)
{
	int64_t *bare = xcalloc(rounds, sizeof(*bare));
	int64_t *boxed = xcalloc(rounds, sizeof(*boxed));
	int64_t start;

	for (size_t i = 0; i < rounds; i++) {
		if (changing > 0)
			put_tree(bench, changing, i + 1);
		start = clock_monotonic_ns();
		run_bare(bench);
		bare[i] = clock_monotonic_ns() - start;
		start = clock_monotonic_ns();
		run_sandboxed(bench);
		boxed[i] = clock_monotonic_ns() - start;
		/* As between real actions: the next one's sandbox and file
		 * get ready. */
		spawner_settle(bench->spawner, 0);
		if (staging_has_images(spawner_staging(bench->spawner)))
			file_cache_prepare(bench->files);
		usleep(3000);
	}
	qsort(bare, rounds, sizeof(*bare), compare);
	qsort(boxed, rounds, sizeof(*boxed), compare);
	printf("%-26s bare %7lld us (p90 %7lld), sandboxed %7lld us "
	       "(p90 %7lld), over bare %6lld us\n",
	    what, (long long)bare[rounds / 2] / 1000,
	    (long long)bare[rounds * 9 / 10] / 1000,
	    (long long)boxed[rounds / 2] / 1000,
	    (long long)boxed[rounds * 9 / 10] / 1000,
	    (long long)(boxed[rounds / 2] - bare[rounds / 2]) / 1000);
	free(bare);
	free(boxed);
}

static void
measure(struct bench *bench, size_t inputs, size_t rounds)
{
	int64_t start;
	char what[64];

	put_tree(bench, inputs, 0);
	start = clock_monotonic_ns();
	run_sandboxed(bench);
	snprintf(what, sizeof(what), "%zu inputs, first", inputs);
	printf("%-26s %lld us\n", what,
	    (long long)(clock_monotonic_ns() - start) / 1000);
	snprintf(what, sizeof(what), "%zu inputs, again", inputs);
	measure_rounds(bench, what, rounds, 0);
}

/* --- hard links -----------------------------------------------------------
 */

static void
link_tree(int from, int to)
{
	DIR *stream = fdopendir(openat(from, ".", O_RDONLY | O_DIRECTORY));
	const struct dirent *entry;
	int below[2];

	while (stream != NULL && (entry = readdir(stream)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		if (entry->d_type != DT_DIR) {
			(void)!linkat(
			    from, entry->d_name, to, entry->d_name, 0);
			continue;
		}
		mkdirat(to, entry->d_name, 0755);
		below[0] = openat(from, entry->d_name, O_RDONLY | O_DIRECTORY);
		below[1] = openat(to, entry->d_name, O_RDONLY | O_DIRECTORY);
		link_tree(below[0], below[1]);
		close(below[0]);
		close(below[1]);
	}
	closedir(stream);
}

/* What others do for each action: the same tree, every file linked. */
static void
measure_links(struct bench *bench, size_t rounds)
{
	struct tree_build build = {.store = bench->store,
	    .max_bytes = 4 * GIB,
	    .cancel_fd = -1,
	    .like = -1};
	char *from = xasprintf("%s/plain", bench->path);
	char *to = xasprintf("%s/linked", bench->path);
	int64_t linked = 0;
	int64_t removed = 0;
	int64_t start;
	struct error err;
	int fds[2];

	check(file_make_directories(from, &err), &err);
	fds[0] = open(from, O_RDONLY | O_DIRECTORY);
	start = clock_monotonic_ns();
	check(tree_build(&build, fds[0], &bench->toolchain, &err), &err);
	printf("  as plain files, once: %lld us\n",
	    (long long)(clock_monotonic_ns() - start) / 1000);
	for (size_t i = 0; i < rounds; i++) {
		check(file_make_directories(to, &err), &err);
		fds[1] = open(to, O_RDONLY | O_DIRECTORY);
		start = clock_monotonic_ns();
		link_tree(fds[0], fds[1]);
		linked += clock_monotonic_ns() - start;
		close(fds[1]);
		start = clock_monotonic_ns();
		check(file_remove_tree(to, &err), &err);
		removed += clock_monotonic_ns() - start;
	}
	printf("  every file hard-linked: %lld us, and removed: %lld us\n",
	    (long long)(linked / (int64_t)rounds) / 1000,
	    (long long)(removed / (int64_t)rounds) / 1000);
	close(fds[0]);
	check(file_remove_tree(from, &err), &err);
	free(from);
	free(to);
}

/* --- toolchains -----------------------------------------------------------
 */

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
	put_tree(bench, 0, 0);
	start = clock_monotonic_ns();
	check_tree(bench);
	checked = clock_monotonic_ns();
	run_sandboxed(bench);
	printf("toolchain of %zu files: check %lld us, first use %lld us\n",
	    files, (long long)(checked - start) / 1000,
	    (long long)(clock_monotonic_ns() - checked) / 1000);
	measure(bench, 200, rounds);
	measure_links(bench, files > 1000 ? 1 : 10);
	bench->toolchain.size = 0;
}

/* --- rustc ----------------------------------------------------------------
 */

/* Every file below directory, as path below the tree's root. */
static void
add_directory(struct program *program, const char *directory, const char *path)
{
	DIR *stream = opendir(directory);
	const struct dirent *entry;

	while (stream != NULL && (entry = readdir(stream)) != NULL) {
		struct merkle_file file = {.executable = true};
		struct buffer content;
		struct error err;
		char *from;
		char *to;

		/* Documentation and sources are for people. */
		if (entry->d_name[0] == '.' ||
		    strcmp(entry->d_name, "share") == 0 ||
		    strcmp(entry->d_name, "src") == 0)
			continue;
		from = xasprintf("%s/%s", directory, entry->d_name);
		to = xasprintf(
		    "%s%s%s", path, path[0] != '\0' ? "/" : "", entry->d_name);
		if (entry->d_type == DT_DIR) {
			add_directory(program, from, to);
		} else if (entry->d_type == DT_REG) {
			buffer_init(&content, GIB);
			check(file_read_all(from, &content, &err), &err);
			put(program->bench, buffer_str(&content), &file.digest);
			check(merkle_builder_add_file(
				  program->tree, str_from(to), &file, &err),
			    &err);
			program->files++;
			buffer_clear(&content);
		}
		free(from);
		free(to);
	}
	if (stream != NULL)
		closedir(stream);
}

/* A crate of some functions, for the host and for the sandbox. */
static void
put_crate(struct bench *bench)
{
	struct merkle_builder *tree = merkle_builder_new(DIGEST_SHA256);
	struct merkle_file file = {.executable = false};
	char *path = xasprintf("%s/lib.rs", bench->path);
	struct buffer content;
	struct error err;

	buffer_init(&content, 1 << 20);
	for (int i = 0; i < 400; i++)
		check(buffer_printf(&content,
			  "pub fn f%d(x: u64) -> String { let mut v: "
			  "Vec<u64> = (0..x).map(|y| y * %d).collect(); "
			  "v.sort(); format!(\"{:?}\", v) }\n",
			  i, i),
		    &err);
	put(bench, buffer_str(&content), &file.digest);
	check(merkle_builder_add_file(tree, STR("lib.rs"), &file, &err), &err);
	check(file_replace(path, content.data, content.len, &err), &err);
	put_directories(bench, tree, &bench->root);
	buffer_clear(&content);
	free(path);
}

static void
measure_rustc(struct bench *bench, const char *sysroot, size_t rounds)
{
	struct program program = {bench, merkle_builder_new(DIGEST_SHA256), 0};
	char *rustc = xasprintf("%s/bin/rustc", sysroot);
	int64_t start;

	add_directory(&program, sysroot, "");
	put_directories(bench, program.tree, &bench->toolchain);
	bench->property = "toolchain-root:/rust";
	memset(bench->arguments, 0, sizeof(bench->arguments));
	bench->arguments[0] = rustc;
	bench->arguments[1] = "--version";
	put_command(bench, "/rust/bin/rustc", NULL);
	put_crate(bench);
	start = clock_monotonic_ns();
	run_sandboxed(bench);
	printf("rustc of %zu files: first use %lld us\n", program.files,
	    (long long)(clock_monotonic_ns() - start) / 1000);
	measure_rounds(bench, "rustc --version", rounds / 4 + 1, 0);
	bench->arguments[1] = "--edition=2021";
	bench->arguments[2] = "--crate-type=rlib";
	bench->arguments[3] = "--emit=metadata,link";
	bench->arguments[4] = "--out-dir=out";
	bench->arguments[5] = "lib.rs";
	put_command(bench, "/rust/bin/rustc", "out/liblib.rlib");
	if (chdir(bench->path) == -1)
		exit(1);
	measure_rounds(bench, "rustc, a crate", rounds / 30 + 1, 0);
	bench->toolchain.size = 0;
	free(rustc);
}

int
main(int argc, char **argv)
{
	size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : ROUNDS;
	struct bench bench = {
	    .property = "toolchain-root", .arguments = {"/bin/true"}};
	struct error err;

	if (argc > 2 && !staging_parse(argv[2], &bench.staging)) {
		fprintf(stderr, "bench_sandbox: staging \"%s\"?\n", argv[2]);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	open_all(&bench);
	printf("sandbox tier: %s, staging: %s, uid %u, %zu rounds\n",
	    sandbox_tier_name(spawner_tier(bench.spawner)),
	    staging_name(spawner_staging(bench.spawner)), geteuid(), rounds);
	put_command(&bench, "/bin/true", NULL);
	measure(&bench, 0, rounds);
	measure(&bench, 10, rounds);
	measure(&bench, 200, rounds);
	measure_rounds(&bench, "200 inputs, new", rounds / 4 + 1, 200);
	measure(&bench, 1000, rounds / 3 + 1);
	measure(&bench, 10000, rounds / 10 + 1);
	measure_toolchain(&bench, 99, rounds);
	measure_toolchain(&bench, 52000, rounds);
	measure_toolchain(&bench, 99, rounds);
	if (argc > 3)
		measure_rustc(&bench, argv[3], rounds);
	file_cache_close(bench.files);
	tree_cache_close(bench.trees);
	subtrees_close(bench.subtrees);
	store_close(bench.store);
	spawner_stop(bench.spawner);
	check(file_remove_tree(bench.path, &err), &err);
	return 0;
}
