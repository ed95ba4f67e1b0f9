/* SPDX-License-Identifier: Apache-2.0 */
/* Properties in, sentences out. No state. */
#include "worker/run_limits.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "worker/run_command.h"
#include "worker/sandbox.h"
#include "worker/spawner.h"

#define SIZE_TEXT_MAX 32
#define NO_SPACE "No space left on device"

static int
read_network(struct run_limits *limits, const struct spawner_options *options,
    const Reapi__Platform *platform, struct error *err)
{
	struct str value = run_command_property(platform, STR("network"));

	if (value.data == NULL || str_equal(value, STR("false")))
		return 0;
	if (!str_equal(value, STR("true")))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "platform property network must be true or false");
	if (!options->network)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "the action asks for a network (platform property "
		    "network=true), which its worker does not allow: start "
		    "that with --allow-network, or drop the property");
	limits->network = true;
	return 0;
}

int
run_limits_read(struct run_limits *limits,
    const struct spawner_options *options, const Reapi__Platform *platform,
    struct error *err)
{
	*limits = (struct run_limits){.limits = options->limits};
	if (read_network(limits, options, platform, err) < 0)
		return -1;
	return action_limits_lower(&limits->limits, platform, err);
}

/* As settings have it: 512M, or with a decimal where it is not round. */
static const char *
format_size(uint64_t bytes, char text[static SIZE_TEXT_MAX])
{
	static const char units[] = " KMGT";
	size_t unit = 0;
	double value = (double)bytes;

	for (; value >= 1024 && units[unit + 1] != '\0'; unit++)
		value /= 1024;
	if (unit == 0)
		snprintf(text, SIZE_TEXT_MAX, "%.0f", value);
	else if (value == (double)(uint64_t)value)
		snprintf(text, SIZE_TEXT_MAX, "%.0f%c", value, units[unit]);
	else
		snprintf(text, SIZE_TEXT_MAX, "%.1f%c", value, units[unit]);
	return text;
}

static const char *
explain_memory(struct arena *arena, const struct run_limits *limits,
    const struct sandbox_outcome *outcome)
{
	char limit[SIZE_TEXT_MAX];
	char peak[SIZE_TEXT_MAX];

	if (outcome->usage.oom_kills == 0)
		return "";
	if (outcome->usage.memory_refused == 0)
		return arena_printf(arena,
		    "the worker's machine, or a control group around the "
		    "worker, ran out of memory, and the kernel killed the "
		    "action (peak %s), which was below its own limit of %s: "
		    "give the worker fewer --slots, a lower "
		    "--memory-per-action, or more memory. ",
		    format_size(outcome->usage.memory_peak, peak),
		    format_size(limits->limits.memory, limit));
	return arena_printf(arena,
	    "the action reached its memory limit of %s (peak %s, what it wrote "
	    "to files included), and the kernel killed it: raise the worker's "
	    "--memory-per-action or the platform property max-mem. ",
	    format_size(limits->limits.memory, limit),
	    format_size(outcome->usage.memory_peak, peak));
}

static const char *
explain_pids(struct arena *arena, const struct run_limits *limits,
    const struct sandbox_outcome *outcome)
{
	if (outcome->usage.pids_refused == 0)
		return "";
	return arena_printf(arena,
	    "the action reached its limit of %llu processes and threads, and "
	    "%llu more were refused: raise the worker's --pids-per-action or "
	    "the platform property max-pids. ",
	    (unsigned long long)limits->limits.pids,
	    (unsigned long long)outcome->usage.pids_refused);
}

/* Programs that clean up behind them leave only their words. */
static bool
ran_out_of_scratch(const struct sandbox_outcome *outcome)
{
	struct str errors = buffer_str(&outcome->errors.content);

	if (outcome->scratch_full)
		return true;
	return outcome->exit_code != 0 && errors.len > 0 &&
	       memmem(errors.data, errors.len, NO_SPACE, strlen(NO_SPACE)) !=
		   NULL;
}

static const char *
explain_scratch(struct arena *arena, const struct spawner_options *options,
    const struct sandbox_outcome *outcome)
{
	char bytes[SIZE_TEXT_MAX];

	if (options->unfenced || !ran_out_of_scratch(outcome))
		return "";
	return arena_printf(arena,
	    "the action filled its scratch, which holds %s in %llu files, "
	    "small inputs included: raise the worker's --scratch-size or "
	    "--scratch-files. ",
	    format_size(options->scratch_bytes, bytes),
	    (unsigned long long)options->scratch_files);
}

const char *
run_limits_explain(struct arena *arena, const struct run_limits *limits,
    const struct spawner_options *options,
    const struct sandbox_outcome *outcome)
{
	const char *memory = explain_memory(arena, limits, outcome);
	const char *pids = explain_pids(arena, limits, outcome);
	const char *scratch = explain_scratch(arena, options, outcome);
	char *text;

	if (memory == NULL || pids == NULL || scratch == NULL)
		return NULL;
	text = arena_printf(arena, "%s%s%s", memory, pids, scratch);
	if (text != NULL && text[0] != '\0')
		text[strlen(text) - 2] = '\0';
	return text;
}
