/* SPDX-License-Identifier: Apache-2.0 */
/* sched_getaffinity, and the quotas of our control group and of those above. */
#include "base/processors.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#define GROUPS "/sys/fs/cgroup"
/* Version 1, as a container sees it: its own group is at the top. */
#define QUOTA_V1 GROUPS "/cpu/cpu.cfs_quota_us"
#define PERIOD_V1 GROUPS "/cpu/cpu.cfs_period_us"
#define TEXT_MAX (64u << 10)

unsigned
processors_of_quota(struct str text)
{
	char copy[64];
	long long quota, period;
	int fields;

	if (text.len >= sizeof(copy))
		return 0;
	memcpy(copy, text.data, text.len);
	copy[text.len] = '\0';
	fields = sscanf(copy, "%lld %lld", &quota, &period); /* NOLINT */
	if (fields != 2 || quota <= 0 || period <= 0 ||
	    quota / period > INT32_MAX)
		return 0;
	return quota < period ? 1 : (unsigned)(quota / period);
}

/* Adds the file's text, if it can be read. */
static void
read_text(const char *path, struct buffer *text)
{
	struct error ignored;

	if (file_read_all(path, text, &ignored) < 0)
		text->len = 0;
}

static unsigned
smaller(unsigned count, unsigned quota)
{
	return quota > 0 && quota < count ? quota : count;
}

/* path: of our group, "/" at its start, and cut. */
static unsigned
of_groups(char *path, unsigned count)
{
	char *end;

	do {
		char *file = xasprintf(GROUPS "%s/cpu.max", path);
		struct buffer text;

		buffer_init(&text, TEXT_MAX);
		read_text(file, &text);
		count = smaller(count, processors_of_quota(buffer_str(&text)));
		buffer_clear(&text);
		free(file);
		end = strrchr(path, '/');
		if (end != NULL)
			*end = '\0';
	} while (end != NULL);
	return count;
}

/* Version 2: the line "0::PATH". */
static unsigned
of_quota(unsigned count)
{
	struct buffer text;
	struct str rest;

	buffer_init(&text, TEXT_MAX);
	read_text("/proc/self/cgroup", &text);
	rest = buffer_str(&text);
	while (rest.len > 0) {
		struct str line = str_cut(&rest, '\n');
		char *path;

		if (!str_starts_with(line, STR("0::/")))
			continue;
		path = xstrndup(line.data + 3, line.len - 3);
		count = of_groups(path, count);
		free(path);
	}
	buffer_clear(&text);
	return count;
}

static unsigned
of_quota_v1(unsigned count)
{
	struct buffer text, period;

	buffer_init(&text, TEXT_MAX);
	buffer_init(&period, TEXT_MAX);
	read_text(QUOTA_V1, &text);
	read_text(PERIOD_V1, &period);
	if (buffer_append(&text, period.data, period.len) == 0)
		count = smaller(count, processors_of_quota(buffer_str(&text)));
	buffer_clear(&text);
	buffer_clear(&period);
	return count;
}

unsigned
processors_available(void)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned count = online > 0 ? (unsigned)online : 1;
	cpu_set_t bound;

	/* Fails on machines with more than the set holds: then all of them. */
	if (sched_getaffinity(0, sizeof(bound), &bound) == 0)
		count = (unsigned)CPU_COUNT(&bound);
	return of_quota_v1(of_quota(count));
}
