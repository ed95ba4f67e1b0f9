/* SPDX-License-Identifier: Apache-2.0 */
/* What cannot be read keeps its last value: it is no reason to fail. */
#include "frontend/process_metrics.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "frontend/metrics.h"

enum value { CPU, RESIDENT, VIRTUAL, DESCRIPTORS, DESCRIPTORS_MAX, VALUES };

static const struct metric_definition definitions[VALUES] = {
    [CPU] = {.name = "process_cpu_seconds_total",
	.help = "CPU time of the process, user and system.",
	.type = METRIC_COUNTER,
	.scale = 1e-6},
    [RESIDENT] = {.name = "process_resident_memory_bytes",
	.help = "Memory that is in RAM, mapped files included.",
	.type = METRIC_GAUGE},
    [VIRTUAL] = {.name = "process_virtual_memory_bytes",
	.help = "Address space, mapped files included.",
	.type = METRIC_GAUGE},
    [DESCRIPTORS] = {.name = "process_open_fds",
	.help = "Open file descriptors.",
	.type = METRIC_GAUGE},
    [DESCRIPTORS_MAX] = {.name = "process_max_fds",
	.help = "The limit on open file descriptors.",
	.type = METRIC_GAUGE},
};

struct process_metrics {
	struct metric *values[VALUES];
};

static void
collect_usage(const struct process_metrics *process)
{
	struct rusage usage;
	struct rlimit limit;

	if (getrusage(RUSAGE_SELF, &usage) == 0)
		metric_set(process->values[CPU],
		    (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
			usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
		metric_set(process->values[DESCRIPTORS_MAX],
		    limit.rlim_cur < INT64_MAX ? (int64_t)limit.rlim_cur
					       : INT64_MAX);
}

/* The next number of a line in /proc, in pages, as bytes; -1 if it is none. */
static int64_t
take_pages(struct str *line)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t pages;

	if (!str_to_uint64(
		str_cut(line, ' '), (uint64_t)INT64_MAX / page, &pages))
		return -1;
	return (int64_t)(pages * page);
}

static void
collect_memory(const struct process_metrics *process)
{
	int64_t total, resident;
	struct buffer content;
	struct error ignored;
	struct str line;

	buffer_init(&content, 4096);
	if (file_read_all("/proc/self/statm", &content, &ignored) == 0) {
		line = buffer_str(&content);
		total = take_pages(&line);
		resident = take_pages(&line);
		if (total >= 0 && resident >= 0) {
			metric_set(process->values[VIRTUAL], total);
			metric_set(process->values[RESIDENT], resident);
		}
	}
	buffer_clear(&content);
}

static void
collect_descriptors(const struct process_metrics *process)
{
	DIR *directory = opendir("/proc/self/fd");
	int64_t count = 0;

	if (directory == NULL)
		return;
	for (const struct dirent *entry; (entry = readdir(directory)) != NULL;)
		count += entry->d_name[0] != '.';
	closedir(directory);
	/* Without the one that was read through. */
	metric_set(process->values[DESCRIPTORS], count - 1);
}

static void
collect(void *cookie)
{
	const struct process_metrics *process = cookie;

	collect_usage(process);
	collect_memory(process);
	collect_descriptors(process);
}

struct process_metrics *
process_metrics_new(struct metrics *metrics)
{
	struct process_metrics *process = xcalloc(1, sizeof(*process));

	for (int i = 0; i < VALUES; i++)
		process->values[i] = metrics_single(metrics, &definitions[i]);
	metrics_on_collect(metrics, collect, process);
	return process;
}

void
process_metrics_free(struct process_metrics *process)
{
	free(process);
}
