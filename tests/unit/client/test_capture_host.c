/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of a machine that is made up: links, libraries, loaders, scripts. */
#include "client/capture_host.h"

#include "tests/unit/client/capture_fixture.h"
#include "tests/unit/client/elf_fixture.h"

static struct capture_host host;

static void
write_elf(const char *name, const struct elf_fixture *elf)
{
	unsigned char bytes[ELF_FIXTURE_SIZE];

	elf_fixture_make(elf, bytes);
	fixture_write_bytes(name, bytes, sizeof(bytes), 0755);
}

/* As Debian lays it out, with the loader and a C library. */
static int
setup(void **state)
{
	static const char *const directories[] = {"usr", "usr/bin", "usr/lib",
	    "usr/lib64", "usr/lib/x86_64-linux-gnu", "etc", "etc/alternatives",
	    "etc/ld.so.conf.d", "opt", "opt/lib", "opt/bin"};

	fixture_setup(state);
	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]);
	     i++)
		fixture_mkdir(directories[i]);
	fixture_link("usr/bin", "bin");
	fixture_link("usr/lib", "lib");
	fixture_link("usr/lib64", "lib64");
	fixture_link("/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
	    "usr/lib64/ld-linux-x86-64.so.2");
	write_elf("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
	    &(struct elf_fixture){.machine = 0});
	write_elf("usr/lib/x86_64-linux-gnu/libc.so.6",
	    &(struct elf_fixture){.needed = {"ld-linux-x86-64.so.2"}});
	fixture_write("etc/ld.so.conf", "include ld.so.conf.d/*.conf\n", 0644);
	capture_host_init(
	    &host, fixture.tree, &fixture.notes, fixture.directory);
	return 0;
}

static int
teardown(void **state)
{
	capture_host_clear(&host);
	return fixture_teardown(state);
}

static const char loader[] = "/lib64/ld-linux-x86-64.so.2";

static void
add(const char *path)
{
	if (capture_host_add(&host, path, NULL, &fixture.err) != 1)
		fail_msg("%s: %s", path, fixture.err.text);
}

static void
close_all(void)
{
	if (capture_host_close(&host, &fixture.err) < 0)
		fail_msg("%s", fixture.err.text);
}

static void
every_link_on_the_way_is_captured(void **state)
{
	char *real;

	(void)state;
	fixture_write("usr/lib/real-tool", "text", 0755);
	fixture_link("../../lib/real-tool", "etc/alternatives/tool");
	fixture_link("/etc/alternatives/tool", "usr/bin/tool");
	/* From /etc/alternatives, ../../lib leads above the root: /lib. */
	assert_int_equal(
	    capture_host_add(&host, "/bin/tool", &real, &fixture.err), 1);
	assert_string_equal(real, "/usr/lib/real-tool");
	assert_string_equal(fixture_entry("bin")->target, "usr/bin");
	assert_string_equal(
	    fixture_entry("usr/bin/tool")->target, "/etc/alternatives/tool");
	assert_string_equal(fixture_entry("etc/alternatives/tool")->target,
	    "../../lib/real-tool");
	assert_string_equal(fixture_entry("lib")->target, "usr/lib");
	assert_true(fixture_entry("usr/lib/real-tool")->executable);
	free(real);
}

static void
absent_paths_and_loops_are_told_apart(void **state)
{
	(void)state;
	fixture_link("loop", "loop");
	fixture_link("nowhere", "usr/bin/broken");
	assert_int_equal(
	    capture_host_add(&host, "/usr/bin/none", NULL, &fixture.err), 0);
	assert_int_equal(
	    capture_host_add(&host, "/usr/bin/broken", NULL, &fixture.err), 0);
	assert_int_equal(
	    capture_host_add(&host, "/loop", NULL, &fixture.err), -1);
	assert_non_null(strstr(fixture.err.text, "too many"));
}

static void
programs_bring_loader_and_libraries_of_libraries(void **state)
{
	(void)state;
	write_elf("usr/bin/prog", &(struct elf_fixture){.interpreter = loader,
				      .needed = {"libone.so.1"}});
	write_elf("usr/lib/x86_64-linux-gnu/libone.so.1.2",
	    &(struct elf_fixture){.needed = {"libtwo.so", "libc.so.6"}});
	fixture_link("libone.so.1.2", "usr/lib/x86_64-linux-gnu/libone.so.1");
	write_elf("usr/lib/libtwo.so", &(struct elf_fixture){.machine = 0});
	add("/usr/bin/prog");
	close_all();
	fixture_entry("lib64");
	fixture_entry("usr/lib64/ld-linux-x86-64.so.2");
	fixture_entry("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
	fixture_entry("usr/lib/x86_64-linux-gnu/libone.so.1");
	fixture_entry("usr/lib/x86_64-linux-gnu/libone.so.1.2");
	fixture_entry("usr/lib/libtwo.so");
	fixture_entry("usr/lib/x86_64-linux-gnu/libc.so.6");
	assert_int_equal(fixture.notes.count, 0);
}

static void
run_paths_come_first_and_origin_is_the_file(void **state)
{
	(void)state;
	write_elf("opt/bin/prog", &(struct elf_fixture){.interpreter = loader,
				      .runpath = "/absent:$ORIGIN/../lib",
				      .needed = {"libone.so"}});
	write_elf("opt/lib/libone.so", &(struct elf_fixture){.machine = 0});
	write_elf("usr/lib/libone.so", &(struct elf_fixture){.machine = 0});
	add("/opt/bin/prog");
	close_all();
	fixture_entry("opt/lib/libone.so");
	fixture_absent("usr/lib/libone.so");
}

static void
libraries_of_other_machines_are_passed_over(void **state)
{
	(void)state;
	write_elf("usr/bin/prog", &(struct elf_fixture){.interpreter = loader,
				      .needed = {"libone.so"}});
	write_elf("usr/lib/x86_64-linux-gnu/libone.so",
	    &(struct elf_fixture){.machine = EM_AARCH64});
	write_elf("usr/lib/libone.so", &(struct elf_fixture){.machine = 0});
	add("/usr/bin/prog");
	close_all();
	fixture_entry("usr/lib/libone.so");
	fixture_absent("usr/lib/x86_64-linux-gnu/libone.so");
}

static void
a_library_of_the_configuration_gets_a_link_beside_the_loader(void **state)
{
	(void)state;
	write_elf("usr/bin/prog", &(struct elf_fixture){.interpreter = loader,
				      .needed = {"libone.so"}});
	write_elf("opt/lib/libone.so", &(struct elf_fixture){.machine = 0});
	fixture_write(
	    "etc/ld.so.conf.d/opt.conf", "# ours\n /opt/lib \n", 0644);
	add("/usr/bin/prog");
	close_all();
	fixture_entry("opt/lib/libone.so");
	assert_string_equal(
	    fixture_entry("usr/lib/x86_64-linux-gnu/libone.so")->target,
	    "/opt/lib/libone.so");
}

static void
what_this_machine_lacks_becomes_a_note(void **state)
{
	(void)state;
	write_elf("usr/bin/prog",
	    &(struct elf_fixture){.interpreter = "/lib/other-loader",
		.needed = {"libnone.so.3"}});
	add("/usr/bin/prog");
	close_all();
	assert_int_equal(fixture.notes.count, 2);
	assert_non_null(strstr(fixture.notes.lines[0], "/lib/other-loader"));
	assert_non_null(strstr(fixture.notes.lines[1], "libnone.so.3"));
}

static void
scripts_bring_their_interpreter(void **state)
{
	(void)state;
	write_elf(
	    "usr/bin/shell", &(struct elf_fixture){.interpreter = loader});
	fixture_write("usr/bin/script", "#! /bin/shell -e\n", 0755);
	add("/usr/bin/script");
	close_all();
	fixture_entry("usr/bin/shell");
	fixture_entry("usr/lib64/ld-linux-x86-64.so.2");
}

static void
content_brings_the_files_its_links_lead_to(void **state)
{
	(void)state;
	fixture_mkdir("usr/include");
	fixture_mkdir("usr/share");
	fixture_write("usr/share/real.h", "x", 0644);
	fixture_link("../share/real.h", "usr/include/a.h");
	fixture_link("nowhere.h", "usr/include/b.h");
	assert_int_equal(
	    capture_host_add_content(&host, "/usr/include", NULL, &fixture.err),
	    1);
	fixture_entry("usr/share/real.h");
	fixture_entry("usr/include/b.h");
	assert_int_equal(fixture.notes.count, 1);
	assert_int_equal(
	    capture_host_add_content(&host, "/usr/none", NULL, &fixture.err),
	    0);
}

static void
a_link_to_a_directory_left_out_becomes_a_note(void **state)
{
	(void)state;
	fixture_mkdir("usr/include");
	fixture_mkdir("usr/share");
	fixture_write("usr/share/real.h", "x", 0644);
	fixture_link("../share", "usr/include/more");
	assert_int_equal(
	    capture_host_add_content(&host, "/usr/include", NULL, &fixture.err),
	    1);
	close_all();
	assert_int_equal(fixture.notes.count, 1);
	assert_non_null(strstr(
	    fixture.notes.lines[0], "/usr/include/more leads to /usr/share,"));
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(every_link_on_the_way_is_captured),
	    TEST(absent_paths_and_loops_are_told_apart),
	    TEST(programs_bring_loader_and_libraries_of_libraries),
	    TEST(run_paths_come_first_and_origin_is_the_file),
	    TEST(libraries_of_other_machines_are_passed_over),
	    TEST(a_library_of_the_configuration_gets_a_link_beside_the_loader),
	    TEST(what_this_machine_lacks_becomes_a_note),
	    TEST(scripts_bring_their_interpreter),
	    TEST(content_brings_the_files_its_links_lead_to),
	    TEST(a_link_to_a_directory_left_out_becomes_a_note),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
