/* SPDX-License-Identifier: Apache-2.0 */
/* What a result says of its files is a stranger's word. */
#include "client/cargo_outputs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "base/error.h"
#include "client/cargo_arguments.h"

#define HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b856"
/* Larger than what is reserved on a server's word. */
#define CLAIMED ((int64_t)128 << 20)

static void
set_binary(ProtobufCBinaryData *data, char *text)
{
	data->data = (uint8_t *)text;
	data->len = strlen(text);
}

/* The second file has no digest, so that nothing is fetched. */
static void
no_disk_is_filled_by_a_claim(void **state)
{
	char path[] = "/tmp/toolroot-outputs-XXXXXX";
	char hash[] = HASH, library[] = "liba.rlib", info[] = "a.d";
	const struct cargo_arguments arguments = {
	    .crate_name = "a", .extra_filename = ""};
	struct cargo_strings expected = {.count = 0};
	struct cargo_outputs outputs = {
	    .expected = &expected, .arguments = &arguments};
	Reapi__Digest digest = REAPI__DIGEST__INIT;
	Reapi__OutputFile large = REAPI__OUTPUT_FILE__INIT;
	Reapi__OutputFile broken = REAPI__OUTPUT_FILE__INIT;
	Reapi__OutputFile *files[] = {&large, &broken};
	Reapi__ActionResult result = REAPI__ACTION_RESULT__INIT;
	struct stat status;
	struct error err;

	(void)state;
	outputs.directory = mkdtemp(path);
	assert_non_null(outputs.directory);
	cargo_strings_add(&expected, library);
	cargo_strings_add(&expected, info);
	set_binary(&digest.hash, hash);
	digest.size_bytes = CLAIMED;
	set_binary(&large.path, library);
	large.digest = &digest;
	set_binary(&broken.path, info);
	result.output_files = files;
	result.n_output_files = 2;
	cargo_outputs_init(&outputs);
	assert_int_equal(cargo_outputs_fetch(&outputs, &result, &err), -1);
	assert_string_equal(err.text, "a digest is absent");
	assert_int_equal(outputs.count, 2);
	assert_int_equal(fstat(outputs.items[0].fd, &status), 0);
	assert_int_equal(status.st_size, 0);
	assert_int_equal(status.st_blocks, 0);
	cargo_outputs_clear(&outputs);
	cargo_strings_clear(&expected);
	assert_int_equal(rmdir(path), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_disk_is_filled_by_a_claim),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
