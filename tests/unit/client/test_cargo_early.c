/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata that cargo is told of before the library is done: notices, the early
 * answer on the socket, and the same compilation once more. */
#include "client/cargo_notice.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/cargo_arguments.h"
#include "client/cargo_early_metadata.h"
#include "client/cargo_local.h"
#include "client/cargo_message.h"

#define LINE(file) \
	"{\"$message_type\":\"artifact\",\"artifact\":\"" file \
	"\",\"emit\":\"x\"}\n"
#define OLD_LINE(file) "{\"artifact\":\"" file "\"}\n"

/* --- notices -------------------------------------------------------------- */

static void
metadatas_notice_is_told_from_others(void **state)
{
	(void)state;
	assert_true(cargo_notice_is_metadata(STR(LINE("/t/liba.rmeta"))));
	assert_true(cargo_notice_is_metadata(STR(OLD_LINE("/t/liba.rmeta"))));
	assert_false(cargo_notice_is_metadata(STR(LINE("/t/liba.rlib"))));
	assert_true(cargo_notice_is(STR(LINE("/t/liba.rlib"))));
	assert_false(cargo_notice_is(
	    STR("{\"$message_type\":\"diagnostic\",\"m\":\".rmeta\"}")));
}

static void
a_notice_that_is_made_is_one(void **state)
{
	struct buffer text;

	(void)state;
	buffer_init(&text, 1000);
	assert_int_equal(
	    cargo_notice_add_metadata(&text, "/t/a \"b\"\\\t/liba.rmeta"), 0);
	assert_string_equal(text.data,
	    "{\"$message_type\":\"artifact\",\"artifact\":"
	    "\"/t/a \\\"b\\\"\\\\\\u0009/liba.rmeta\","
	    "\"emit\":\"metadata\"}\n");
	assert_true(cargo_notice_is_metadata(buffer_str(&text)));
	buffer_clear(&text);
	buffer_init(&text, 20);
	assert_int_equal(cargo_notice_add_metadata(&text, "/t/a.rmeta"), -1);
	buffer_clear(&text);
}

static void
metadatas_notice_alone_is_dropped(void **state)
{
	struct buffer text;

	(void)state;
	buffer_init(&text, 1000);
	cargo_notice_drop_metadata(&text);
	assert_int_equal(
	    buffer_printf(&text,
		"one\n" LINE("a.d")
		    LINE("liba.rmeta") "two\n" LINE("liba.rlib") "three"),
	    0);
	cargo_notice_drop_metadata(&text);
	assert_int_equal(text.len,
	    strlen("one\n" LINE("a.d") "two\n" LINE("liba.rlib") "three"));
	assert_memory_equal(text.data,
	    "one\n" LINE("a.d") "two\n" LINE("liba.rlib") "three", text.len);
	buffer_clear(&text);
}

/* --- which calls ---------------------------------------------------------- */

static bool
is_pipelined(const char *type, const char *emit, const char *json)
{
	char *words[] = {(char[]){"--crate-name"}, (char[]){"a"},
	    (char[]){"a.rs"}, (char[]){"-C"}, (char[]){"metadata=1"},
	    (char[]){"--out-dir"}, (char[]){"/t"}, (char[]){"--crate-type"},
	    xstrdup(type), xasprintf("--emit=%s", emit),
	    xasprintf("--json=%s", json), NULL};
	struct cargo_arguments arguments;
	bool pipelined;

	cargo_arguments_parse(&arguments, words);
	pipelined = cargo_arguments_pipelined(&arguments);
	cargo_arguments_clear(&arguments);
	for (size_t i = 8; i < 11; i++)
		free(words[i]);
	return pipelined;
}

static void
libraries_of_which_cargo_is_told_are_pipelined(void **state)
{
	const char *all = "dep-info,metadata,link";
	const char *told = "diagnostic-rendered-ansi,artifacts";

	(void)state;
	assert_true(is_pipelined("lib", all, told));
	assert_true(is_pipelined("rlib", all, told));
	assert_false(is_pipelined("lib", "dep-info,metadata", told));
	assert_false(is_pipelined("lib", "dep-info,link", told));
	assert_false(is_pipelined("lib", all, "future-incompat"));
	assert_false(is_pipelined("proc-macro", "dep-info,link", told));
	assert_false(is_pipelined("dylib", all, told));
	assert_false(is_pipelined("bin", "dep-info,link", told));
}

/* --- the socket ----------------------------------------------------------- */

static void
an_early_answer_has_a_place_and_a_reply(void **state)
{
	struct cargo_message_answer sent, got;
	bool told = false;
	struct error err;
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	cargo_message_answer_init(&sent);
	cargo_message_answer_init(&got);
	sent.kind = CARGO_MESSAGE_EARLY;
	sent.status = 1;
	assert_int_equal(buffer_printf(&sent.errors, "a notice\n"), 0);
	sent.place.directory = xstrdup("/b/w");
	sent.place.dep_info = xstrdup("/t/a.d");
	sent.place.metadata = xstrdup("/t/liba.rmeta");
	cargo_strings_add(&sent.place.arguments, "/tc/bin/rustc");
	assert_int_equal(cargo_message_send_answer(ends[0], &sent, &err), 0);
	assert_int_equal(cargo_message_receive_answer(ends[1], &got, &err), 0);
	assert_int_equal(got.kind, CARGO_MESSAGE_EARLY);
	assert_int_equal(got.status, 1);
	assert_int_equal(got.errors.len, strlen("a notice\n"));
	assert_memory_equal(got.errors.data, "a notice\n", got.errors.len);
	assert_string_equal(got.place.dep_info, "/t/a.d");
	assert_string_equal(got.place.metadata, "/t/liba.rmeta");
	assert_string_equal(got.place.arguments.items[0], "/tc/bin/rustc");
	assert_int_equal(cargo_message_send_reply(ends[1], true, &err), 0);
	assert_int_equal(cargo_message_receive_reply(ends[0], &told, &err), 0);
	assert_true(told);
	file_close(&ends[1]);
	assert_int_equal(cargo_message_receive_reply(ends[0], &told, &err), -1);
	assert_false(told);
	file_close(&ends[0]);
	cargo_message_answer_clear(&sent);
	cargo_message_answer_clear(&got);
}

/* --- once more ------------------------------------------------------------ */

struct given {
	char directory[40];
	char *path;
	struct stat before;
};

static int
give(void **state)
{
	struct given *given = xcalloc(1, sizeof(*given));
	const struct timespec times[] = {{1000000, 5}, {1000000, 7}};
	struct error err;

	strcpy(given->directory, "/tmp/toolroot-given-XXXXXX");
	assert_non_null(mkdtemp(given->directory));
	given->path = xasprintf("%s/liba.rmeta", given->directory);
	assert_int_equal(file_replace(given->path, "meta", 4, &err), 0);
	assert_int_equal(utimensat(AT_FDCWD, given->path, times, 0), 0);
	assert_int_equal(stat(given->path, &given->before), 0);
	*state = given;
	return 0;
}

static int
take_back(void **state)
{
	struct given *given = *state;
	struct error err;

	assert_int_equal(file_remove_tree(given->directory, &err), 0);
	free(given->path);
	free(given);
	return 0;
}

/* What the check says after the file was replaced by this. */
static int
check_after(const struct given *given, const char *text, struct error *err)
{
	struct cargo_early_metadata metadata;
	int rc;

	cargo_early_metadata_open(&metadata, given->path);
	assert_true(cargo_early_metadata_is_given(&metadata));
	if (text != NULL)
		assert_int_equal(
		    file_replace(given->path, text, strlen(text), err), 0);
	else
		assert_int_equal(unlink(given->path), 0);
	rc = cargo_early_metadata_check(&metadata, err);
	cargo_early_metadata_close(&metadata);
	return rc;
}

static void
the_same_metadata_keeps_its_time(void **state)
{
	const struct given *given = *state;
	struct stat after;
	struct error err;

	assert_int_equal(check_after(given, "meta", &err), 0);
	assert_int_equal(stat(given->path, &after), 0);
	assert_int_not_equal(after.st_ino, given->before.st_ino);
	assert_int_equal(after.st_mtim.tv_sec, given->before.st_mtim.tv_sec);
	assert_int_equal(after.st_mtim.tv_nsec, given->before.st_mtim.tv_nsec);
}

static void
other_metadata_is_an_error_that_says_what_to_do(void **state)
{
	const struct given *given = *state;
	const char *const others[] = {"mete", "metadata", "", NULL};
	struct error err;

	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(file_replace(given->path, "meta", 4, &err), 0);
		assert_int_equal(check_after(given, others[i], &err), -1);
		assert_int_equal(err.code, ERROR_FAILED_PRECONDITION);
		assert_non_null(strstr(err.text, given->path));
		assert_non_null(strstr(err.text, "build again"));
		assert_non_null(strstr(err.text, "--local"));
	}
}

static void
nothing_given_is_nothing_to_check(void **state)
{
	struct cargo_early_metadata metadata;
	struct error err;

	(void)state;
	cargo_early_metadata_open(&metadata, "");
	assert_false(cargo_early_metadata_is_given(&metadata));
	assert_int_equal(cargo_early_metadata_check(&metadata, &err), 0);
	cargo_early_metadata_close(&metadata);
}

/* A shell in the compiler's place: its notice and its metadata. What cargo
 * hears is in *said; the caller frees it. */
static int
run_again(const struct given *given, const char *content, char **said,
    struct error *err)
{
	struct cargo_message_place place = {.directory = NULL};
	char *heard = xasprintf("%s/said", given->directory);
	int fd = open(heard, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int before = dup(STDERR_FILENO);
	struct buffer text;
	int status = 0, rc;

	place.directory = xstrdup("/");
	place.dep_info = xasprintf("%s/a.d", given->directory);
	place.metadata = xstrdup(given->path);
	cargo_strings_add(&place.arguments, "/bin/sh");
	cargo_strings_add(&place.arguments, "-c");
	cargo_strings_take(&place.arguments,
	    xasprintf("cd %s; : > a.d; printf %s > new; mv new liba.rmeta; "
		      "echo '{\"artifact\":\"%s\"}' >&2; echo warned >&2",
		given->directory, content, given->path));
	cargo_strings_end(&place.environment);
	assert_true(dup2(fd, STDERR_FILENO) >= 0);
	rc = cargo_local_run(&place, &status, err);
	assert_true(dup2(before, STDERR_FILENO) >= 0);
	assert_int_equal(status, 0);
	buffer_init(&text, 10000);
	assert_int_equal(file_read_all(heard, &text, err), 0);
	*said = text.data != NULL ? text.data : xstrdup("");
	file_close(&fd);
	file_close(&before);
	free(heard);
	free(place.directory);
	free(place.dep_info);
	free(place.metadata);
	cargo_strings_clear(&place.arguments);
	cargo_strings_clear(&place.environment);
	return rc;
}

static void
cargo_hears_of_given_metadata_no_second_time(void **state)
{
	const struct given *given = *state;
	const struct cargo_message_place nothing = {.directory = NULL};
	struct error err;
	char *said;

	if (!cargo_local_can(&nothing))
		skip(); /* no namespaces here */
	assert_int_equal(run_again(given, "meta", &said, &err), 1);
	assert_string_equal(said, "warned\n");
	free(said);
	assert_int_equal(run_again(given, "other", &said, &err), -1);
	free(said);
}

#define GIVEN_TEST(test) cmocka_unit_test_setup_teardown(test, give, take_back)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(metadatas_notice_is_told_from_others),
	    cmocka_unit_test(a_notice_that_is_made_is_one),
	    cmocka_unit_test(metadatas_notice_alone_is_dropped),
	    cmocka_unit_test(libraries_of_which_cargo_is_told_are_pipelined),
	    cmocka_unit_test(an_early_answer_has_a_place_and_a_reply),
	    GIVEN_TEST(the_same_metadata_keeps_its_time),
	    GIVEN_TEST(other_metadata_is_an_error_that_says_what_to_do),
	    cmocka_unit_test(nothing_given_is_nothing_to_check),
	    GIVEN_TEST(cargo_hears_of_given_metadata_no_second_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
