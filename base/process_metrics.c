/* SPDX-License-Identifier: Apache-2.0 */
/* What cannot be read keeps its last value: it is no reason to fail. */
#include "base/process_metrics.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/metrics.h"
#include "base/process_memory.h"

enum value {
	START,
	CPU,
	RESIDENT,
	ANONYMOUS,
	VIRTUAL,
	DESCRIPTORS,
	DESCRIPTORS_MAX,
	VALUES
};

static const struct metric_definition definitions[VALUES] = {
    [START] = {.name = "process_start_time_seconds",
	.help = "When the process started, in seconds since 1970.",
	.type = METRIC_GAUGE,
	.scale = 1e-9},
    [CPU] = {.name = "process_cpu_seconds_total",
	.help = "CPU time of the process, user and system.",
	.type = METRIC_COUNTER,
	.scale = 1e-6},
    [RESIDENT] = {.name = "process_resident_memory_bytes",
	.help = "Memory that is in RAM, mapped files included.",
	.type = METRIC_GAUGE},
    [ANONYMOUS] = {.name = "process_anonymous_memory_bytes",
	.help = "Of the resident memory, what no file backs: what the setting "
		"memory bounds.",
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
	int memory; /* process_memory_open */
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

static void
collect_memory(const struct process_metrics *process)
{
	struct process_memory memory;

	if (!process_memory_read(process->memory, &memory))
		return;
	metric_set(process->values[VIRTUAL], (int64_t)memory.virtual);
	metric_set(process->values[RESIDENT], (int64_t)memory.resident);
	metric_set(process->values[ANONYMOUS], (int64_t)memory.anonymous);
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
	process->memory = process_memory_open();
	metric_set(process->values[START], clock_wall_ns());
	metrics_on_collect(metrics, collect, process);
	return process;
}

void
process_metrics_free(struct process_metrics *process)
{
	if (process != NULL)
		file_close(&process->memory);
	free(process);
}
