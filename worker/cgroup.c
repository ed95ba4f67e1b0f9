/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing the files of a control group. No state. */
#include "worker/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/str.h"

#define CPU_PERIOD_US 100000
#define FILE_MAX 4096
/* What the kernel takes from a limit ahead of need, and refuses together. */
#define CHARGED_AT_ONCE ((uint64_t)1 << 20)

static const char *
pick(const struct cgroup *group, const char *v1, const char *v2)
{
	return group->kind == CGROUP_V2 ? v2 : v1;
}

const char *
cgroup_kind_name(enum cgroup_kind kind)
{
	switch (kind) {
	case CGROUP_V1:
		return "cgroup-v1";
	case CGROUP_V2:
		return "cgroup-v2";
	case CGROUP_NONE:
		break;
	}
	return "none";
}

void
cgroup_init(struct cgroup *group)
{
	*group = (struct cgroup){.peak = -1};
	for (size_t i = 0; i < CGROUP_CONTROLLERS; i++)
		group->directories[i] = -1;
}

void
cgroup_clear(struct cgroup *group)
{
	for (size_t i = 0; i < CGROUP_CONTROLLERS; i++)
		file_close(&group->directories[i]);
	file_close(&group->peak);
}

/* --- files ---------------------------------------------------------------- */

/* 0, or -1 with errno. */
static int
put_text(int directory, const char *name, const char *text)
{
	int fd = openat(directory, name, O_WRONLY | O_CLOEXEC);
	ssize_t len = -1;
	int number;

	if (fd == -1)
		return -1;
	len = write(fd, text, strlen(text));
	number = errno;
	file_close(&fd);
	errno = number;
	return len == -1 ? -1 : 0;
}

/* The file's start, ending in NUL; "" when it cannot be read. */
static void
get_text(int directory, const char *name, char text[static FILE_MAX])
{
	int fd = directory != -1 ? openat(directory, name, O_RDONLY | O_CLOEXEC)
				 : -1;
	ssize_t len = fd != -1 ? read(fd, text, FILE_MAX - 1) : 0;

	text[len > 0 ? len : 0] = '\0';
	file_close(&fd);
}

static uint64_t
get_number(int directory, const char *name)
{
	char text[FILE_MAX];

	get_text(directory, name, text);
	return strtoull(text, NULL, 10);
}

/* Of lines "key number". */
static uint64_t
get_keyed(int directory, const char *name, const char *key)
{
	char text[FILE_MAX];
	struct str rest;

	get_text(directory, name, text);
	rest = str_from(text);
	while (rest.len > 0) {
		struct str value = str_cut(&rest, '\n');
		uint64_t number;

		if (str_equal(str_cut(&value, ' '), str_from(key)) &&
		    str_to_uint64(value, UINT64_MAX, &number))
			return number;
	}
	return 0;
}

/* --- limits --------------------------------------------------------------- */

void
cgroup_clone_into(const struct cgroup *group, struct clone_args *args)
{
	if (group->kind != CGROUP_V2)
		return;
	for (size_t i = 0; i < CGROUP_CONTROLLERS; i++)
		if (group->directories[i] != -1)
			args->cgroup = (unsigned)group->directories[i];
	args->flags |= (uint64_t)CLONE_INTO_CGROUP;
}

int
cgroup_join(const struct cgroup *group, struct error *err)
{
	if (group->kind != CGROUP_V1)
		return 0;
	/* "tasks" with 0 moves one thread, the caller: other ways wait for a
	 * grace period of the kernel. */
	for (size_t i = 0; i < CGROUP_CONTROLLERS; i++)
		if (group->directories[i] != -1 &&
		    put_text(group->directories[i], "tasks", "0") == -1)
			return error_set_errno(
			    err, errno, "enter the control group");
	return 0;
}

static int
set(const struct cgroup *group, enum cgroup_controller controller,
    const char *name, const char *text, struct error *err)
{
	if (put_text(group->directories[controller], name, text) == -1)
		return error_set_errno(err, errno,
		    "set %s of the control group to %s", name, text);
	return 0;
}

static int
set_memory(const struct cgroup *group, uint64_t bytes, struct error *err)
{
	int directory = group->directories[CGROUP_MEMORY];
	const char *none = pick(group, "-1", "max");
	char text[32];

	if (directory == -1)
		return 0;
	snprintf(text, sizeof(text), "%" PRIu64, bytes);
	/* On version 1 the sum with swap can never be below the other. Hosts
	 * without swap have neither file. */
	if (group->kind == CGROUP_V1)
		(void)put_text(directory, "memory.memsw.limit_in_bytes", none);
	if (set(group, CGROUP_MEMORY,
		pick(group, "memory.limit_in_bytes", "memory.max"),
		bytes == 0 ? none : text, err) < 0)
		return -1;
	if (group->kind == CGROUP_V2)
		(void)put_text(
		    directory, "memory.swap.max", bytes == 0 ? none : "0");
	else if (bytes != 0)
		(void)put_text(directory, "memory.memsw.limit_in_bytes", text);
	return 0;
}

static int
set_pids(const struct cgroup *group, uint64_t pids, struct error *err)
{
	char text[32] = "max";

	if (group->directories[CGROUP_PIDS] == -1)
		return 0;
	/* The sandbox's first process is one, too. */
	if (pids != 0)
		snprintf(text, sizeof(text), "%" PRIu64, pids + 1);
	return set(group, CGROUP_PIDS, "pids.max", text, err);
}

static int
set_cpu(const struct cgroup *group, uint64_t milli, struct error *err)
{
	uint64_t quota = milli * (CPU_PERIOD_US / 1000);
	char text[64];

	if (group->directories[CGROUP_CPU] == -1)
		return 0;
	if (milli == 0)
		snprintf(text, sizeof(text), "%s", pick(group, "-1", "max"));
	else if (group->kind == CGROUP_V2)
		snprintf(
		    text, sizeof(text), "%" PRIu64 " %d", quota, CPU_PERIOD_US);
	else
		snprintf(text, sizeof(text), "%" PRIu64, quota);
	return set(group, CGROUP_CPU,
	    pick(group, "cpu.cfs_quota_us", "cpu.max"), text, err);
}

int
cgroup_set_limits(const struct cgroup *group,
    const struct action_limits *limits, struct error *err)
{
	if (set_memory(group, limits->memory, err) < 0 ||
	    set_pids(group, limits->pids, err) < 0)
		return -1;
	return set_cpu(group, limits->cpu_milli, err);
}

void
cgroup_lift_memory(const struct cgroup *group)
{
	struct error err;

	/* Where it fails, less memory is what was there before. */
	(void)set_memory(group, 0, &err);
}

/* --- usage ---------------------------------------------------------------- */

/* Version 1 has lines "8:0 Read 4096", version 2 "8:0 rbytes=4096
 * wbytes=0 ...", a line for each device. */
static void
get_io(const struct cgroup *group, struct cgroup_usage *usage)
{
	char text[FILE_MAX];
	struct str rest;

	get_text(group->directories[CGROUP_IO],
	    pick(group, "blkio.throttle.io_service_bytes", "io.stat"), text);
	rest = str_from(text);
	while (rest.len > 0) {
		struct str line = str_cut(&rest, '\n');
		uint64_t number;

		(void)str_cut(&line, ' ');
		while (line.len > 0) {
			struct str key = str_cut(
			    &line, group->kind == CGROUP_V2 ? '=' : ' ');
			struct str value = str_cut(&line, ' ');

			if (!str_to_uint64(value, UINT64_MAX, &number))
				continue;
			if (str_equal(key, STR("Read")) ||
			    str_equal(key, STR("rbytes")))
				usage->read_bytes += number;
			if (str_equal(key, STR("Write")) ||
			    str_equal(key, STR("wbytes")))
				usage->written_bytes += number;
		}
	}
}

static void
get_usage(const struct cgroup *group, struct cgroup_usage *usage)
{
	int memory = group->directories[CGROUP_MEMORY];

	*usage = (struct cgroup_usage){0};
	usage->oom_kills = get_keyed(memory,
	    pick(group, "memory.oom_control", "memory.events"), "oom_kill");
	/* Version 1 counts what swap is limited together with by itself. */
	usage->memory_refused =
	    group->kind == CGROUP_V2
		? get_keyed(memory, "memory.events", "oom")
		: get_number(memory, "memory.failcnt") +
		      get_number(memory, "memory.memsw.failcnt");
	usage->pids_refused =
	    get_keyed(group->directories[CGROUP_PIDS], "pids.events", "max");
	get_io(group, usage);
}

static uint64_t
less(uint64_t from, uint64_t what)
{
	return from > what ? from - what : 0;
}

void
cgroup_start(struct cgroup *group, struct cgroup_usage *start)
{
	int memory = group->directories[CGROUP_MEMORY];

	get_usage(group, start);
	if (group->kind == CGROUP_V1 && memory != -1) {
		(void)put_text(memory, "memory.max_usage_in_bytes", "0");
	} else if (memory != -1) {
		file_close(&group->peak);
		group->peak = openat(memory, "memory.peak", O_RDWR | O_CLOEXEC);
		if (group->peak == -1)
			group->peak =
			    openat(memory, "memory.peak", O_RDONLY | O_CLOEXEC);
		else /* fails before Linux 6.12: then the group is new */
			(void)!write(group->peak, "0", 1);
	}
	/* Page cache that earlier actions were the first to use. */
	start->memory_peak = get_number(
	    memory, pick(group, "memory.usage_in_bytes", "memory.current"));
}

void
cgroup_measure(const struct cgroup *group, const struct action_limits *limits,
    const struct cgroup_usage *start, struct cgroup_usage *usage)
{
	char text[32] = "";

	get_usage(group, usage);
	if (group->kind == CGROUP_V1)
		usage->memory_peak =
		    get_number(group->directories[CGROUP_MEMORY],
			"memory.max_usage_in_bytes");
	else if (group->peak != -1 &&
		 pread(group->peak, text, sizeof(text) - 1, 0) > 0)
		usage->memory_peak = strtoull(text, NULL, 10);
	usage->oom_kills = less(usage->oom_kills, start->oom_kills);
	usage->memory_refused =
	    less(usage->memory_refused, start->memory_refused);
	/* Not every kernel counts that (6.18 does not, on version 1). */
	if (usage->oom_kills > 0 && usage->memory_refused == 0 &&
	    limits->memory != 0 &&
	    usage->memory_peak + CHARGED_AT_ONCE >= limits->memory)
		usage->memory_refused = 1;
	/* At the limit, old page cache has had to go. */
	if (usage->oom_kills == 0)
		usage->memory_peak =
		    less(usage->memory_peak, start->memory_peak);
	usage->pids_refused = less(usage->pids_refused, start->pids_refused);
	usage->read_bytes = less(usage->read_bytes, start->read_bytes);
	usage->written_bytes = less(usage->written_bytes, start->written_bytes);
}
