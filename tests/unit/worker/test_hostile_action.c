/* SPDX-License-Identifier: Apache-2.0 */
/* Actions that try to get out, to see what is not theirs, or to harm the
 * worker. Each test states what the sandbox holds against it. */
#include "run_fixture.h"

static void
run_and_expect(
    struct fixture *fixture, const char *script, const char *expected)
{
	fixture_script(fixture, script);
	fixture_run_well(fixture);
	fixture_assert_stdout(fixture, expected);
}

static void
host_paths_are_absent(void **state)
{
	run_and_expect(*state,
	    "for p in /root /home /var /srv /work /boot /sys /run; do "
	    "test -e $p && echo $p; done; ls /tmp",
	    "");
}

static void
host_root_is_read_only(void **state)
{
	run_and_expect(*state,
	    "touch /usr/x 2>/dev/null || echo usr; "
	    "touch /etc/x 2>/dev/null || echo etc; "
	    "touch /dev/x 2>/dev/null || echo dev",
	    "usr\netc\ndev\n");
}

static void
no_capability_and_no_new_privileges(void **state)
{
	run_and_expect(*state,
	    "grep -E '^(CapInh|CapPrm|CapEff|CapAmb|NoNewPrivs|Seccomp):' "
	    "/proc/self/status | tr -d '\\t'",
	    "CapInh:0000000000000000\nCapPrm:0000000000000000\n"
	    "CapEff:0000000000000000\nCapAmb:0000000000000000\n"
	    "NoNewPrivs:1\nSeccomp:2\n");
}

static void
mounts_and_namespaces_are_refused(void **state)
{
	run_and_expect(*state,
	    "mount -t tmpfs x /tmp 2>/dev/null || echo mount; "
	    "unshare -U true 2>/dev/null || echo user; "
	    "unshare -r -n true 2>/dev/null || echo net; "
	    "umount /proc 2>/dev/null || echo umount",
	    "mount\nuser\nnet\numount\n");
}

static void
only_its_own_processes_are_seen(void **state)
{
	/* Process 1, the shell, and what it runs. */
	run_and_expect(*state,
	    "n=$(ls -d /proc/[0-9]* | wc -l); test $n -le 5 && echo few; "
	    "cat /proc/1/environ 2>/dev/null || echo hidden; "
	    "ls /proc/1/fd >/dev/null 2>&1 || echo closed; "
	    "readlink /proc/1/root || echo no root",
	    "few\nhidden\nclosed\nno root\n");
}

static void
process_1_survives_signals(void **state)
{
	run_and_expect(*state,
	    "for s in TERM INT HUP KILL STOP USR1; do "
	    "kill -$s 1 2>/dev/null; done; echo alive",
	    "alive\n");
}

static void
network_is_loopback_alone(void **state)
{
	run_and_expect(*state,
	    "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; "
	    "cat /proc/sys/kernel/hostname",
	    "lo\ntoolroot\n");
}

static void
no_descriptor_leaks_in(void **state)
{
	run_and_expect(*state, "exec ls -1 /proc/self/fd", "0\n1\n2\n3\n");
}

static void
inputs_in_the_store_stay_as_they_are(void **state)
{
	struct fixture *fixture = *state;
	size_t size = 300000;
	char *data = xmalloc(size);
	struct buffer content;
	struct digest digest;
	struct error err;

	memset(data, 'k', size);
	fixture_add_file(fixture, "big", (struct str){data, size}, false);
	fixture_add_file(fixture, "tool", (struct str){data, size}, true);
	digest_compute(FIXTURE_FUNCTION, data, size, &digest);
	fixture_script(fixture,
	    "for f in big tool; do echo x >> $f; chmod u+w $f; echo x > $f; "
	    "truncate -s 0 $f; touch $f; ln $f l$f; echo y >> l$f; "
	    "mv $f m$f; rm -f m$f; done; true");
	fixture_run_well(fixture);
	buffer_init(&content, size + 1);
	assert_int_equal(
	    store_read(fixture->store, &digest, &content, &err), 1);
	assert_int_equal(content.len, size);
	assert_memory_equal(content.data, data, size);
	buffer_clear(&content);
	free(data);
}

static void
fork_bomb_ends_with_the_action(void **state)
{
	struct fixture *fixture = *state;

	fixture->run.timeout_ms = 1000;
	fixture_script(fixture,
	    "ulimit -u 500 2>/dev/null; n=0; "
	    "while [ $n -lt 300 ]; do (setsid sleep 63 &); n=$((n+1)); done; "
	    "sleep 63");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_DEADLINE_EXCEEDED);
}

static void
disk_quota_holds(void **state)
{
	struct fixture *fixture = *state;
	char *content;

	fixture_script(fixture,
	    "head -c 400000000 /dev/zero > f 2>/dev/null || echo full; "
	    "s=$(stat -c %s f); test $s -lt 300000000 && echo bounded; "
	    "rm f; i=0; while : > f$i; do i=$((i+1)); done 2>/dev/null; "
	    "echo $((i < 25000))");
	fixture_run_well(fixture);
	content = fixture_read(fixture, fixture->result->stdout_digest);
	assert_int_equal(strncmp(content, "full\nbounded\n", 13), 0);
	free(content);
}

static void
sparse_output_is_refused(void **state)
{
	struct fixture *fixture = *state;

	fixture_script(fixture, "truncate -s 1T f");
	fixture_output(fixture, "f");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_RESOURCE_EXHAUSTED);
}

static void
socket_and_device_as_outputs_are_refused(void **state)
{
	struct fixture *fixture = *state;

	fixture_script(fixture, "python3 -c 'import socket; "
				"socket.socket(socket.AF_UNIX).bind(\"s\")'");
	fixture_output(fixture, "s");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_FAILED_PRECONDITION);
}

static void
input_tree_with_a_parent_name_is_refused(void **state)
{
	struct fixture *fixture = *state;
	/* Directory{directories: {name: "..", digest: empty}} by hand. */
	Reapi__Directory directory = REAPI__DIRECTORY__INIT;
	Reapi__DirectoryNode node = REAPI__DIRECTORY_NODE__INIT;
	Reapi__DirectoryNode *nodes[] = {&node};
	Reapi__Digest message = REAPI__DIGEST__INIT;
	char text[DIGEST_TEXT_MAX];
	uint8_t packed[256];
	struct digest empty;
	size_t len;

	digest_empty(FIXTURE_FUNCTION, &empty);
	digest_to_message(&empty, text, &message);
	node.name = fixture_bytes("..");
	node.digest = &message;
	directory.directories = nodes;
	directory.n_directories = 1;
	len = reapi__directory__pack(&directory, packed);
	fixture_put(
	    fixture, (struct str){(const char *)packed, len}, &fixture->root);
	fixture->root_given = true;
	fixture_script(fixture, "true");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_INVALID_ARGUMENT);
}

static void
input_root_as_root_cannot_redirect_mounts(void **state)
{
	struct fixture *fixture = *state;
	struct error err;

	assert_int_equal(merkle_builder_add_symlink(
			     fixture->tree, STR("proc"), STR("/etc"), &err),
	    0);
	fixture_property(fixture, "InputRootAbsolutePath", "/");
	fixture_argument(fixture, "/bin/true");
	fixture_run(fixture);
	assert_int_equal(fixture->rc, -1);
	assert_int_equal(fixture->error.code, ERROR_INVALID_ARGUMENT);
}

static void
vsock_is_refused(void **state)
{
	run_and_expect(*state,
	    "python3 -c 'import socket\n"
	    "for f in (socket.AF_VSOCK, socket.AF_ALG):\n"
	    " try:\n  socket.socket(f, socket.SOCK_STREAM)\n"
	    " except PermissionError:\n  print(\"refused\")'",
	    "refused\nrefused\n");
}

static int
run_all(void)
{
#define RUN_TEST(test) \
	cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
	    RUN_TEST(host_paths_are_absent),
	    RUN_TEST(host_root_is_read_only),
	    RUN_TEST(no_capability_and_no_new_privileges),
	    RUN_TEST(mounts_and_namespaces_are_refused),
	    RUN_TEST(only_its_own_processes_are_seen),
	    RUN_TEST(process_1_survives_signals),
	    RUN_TEST(network_is_loopback_alone),
	    RUN_TEST(no_descriptor_leaks_in),
	    RUN_TEST(inputs_in_the_store_stay_as_they_are),
	    RUN_TEST(fork_bomb_ends_with_the_action),
	    RUN_TEST(disk_quota_holds),
	    RUN_TEST(sparse_output_is_refused),
	    RUN_TEST(socket_and_device_as_outputs_are_refused),
	    RUN_TEST(input_tree_with_a_parent_name_is_refused),
	    RUN_TEST(input_root_as_root_cannot_redirect_mounts),
	    RUN_TEST(vsock_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int
main(void)
{
	return fixture_run_stagings(run_all);
}
