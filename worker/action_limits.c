/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers in properties and settings. No state. */
#include "worker/action_limits.h"

#include "base/error.h"
#include "base/settings.h"
#include "cas/directory.h"
#include "worker/run_command.h"

/* No machine has more CPUs or runs more processes. */
#define NUMBER_MAX ((uint64_t)10000000)

int
action_limits_parse_cpus(
    struct str text, uint64_t *cpu_milli, struct error *err)
{
	struct str part = text;
	struct str whole = str_cut(&part, '.');
	uint64_t thousandths = 0;
	uint64_t number = 0;
	char printable[DIRECTORY_PRINTABLE_MAX];

	if (!str_to_uint64(whole, NUMBER_MAX, &number) || part.len > 3 ||
	    (part.data != NULL && !str_to_uint64(part, 999, &thousandths)))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "\"%s\" is no number of CPUs, such as 2 or 0.5",
		    directory_printable(text, printable));
	for (size_t digits = part.len; digits < 3; digits++)
		thousandths *= 10;
	*cpu_milli = number * 1000 + thousandths;
	return 0;
}

int
action_limits_check(const struct action_limits *limits, struct error *err)
{
	if (limits->memory != 0 && limits->memory < ACTION_LIMITS_MEMORY_MIN)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "%llu bytes of memory are too few for an action; the least "
		    "is 4M",
		    (unsigned long long)limits->memory);
	if (limits->pids != 0 && limits->pids < ACTION_LIMITS_PIDS_MIN)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "%llu processes are too few for an action; the least is %d",
		    (unsigned long long)limits->pids, ACTION_LIMITS_PIDS_MIN);
	if (limits->cpu_milli != 0 && limits->cpu_milli < ACTION_LIMITS_CPU_MIN)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "an action needs at least 0.01 CPUs");
	return 0;
}

static int
parse_memory(struct str text, struct action_limits *asked, struct error *err)
{
	return setting_parse_size(text, &asked->memory, err);
}

static int
parse_cpus(struct str text, struct action_limits *asked, struct error *err)
{
	return action_limits_parse_cpus(text, &asked->cpu_milli, err);
}

static int
parse_pids(struct str text, struct action_limits *asked, struct error *err)
{
	if (str_to_uint64(text, NUMBER_MAX, &asked->pids))
		return 0;
	return error_set(err, ERROR_INVALID_ARGUMENT, "it is no number");
}

static const struct {
	const char *name;
	int (*parse)(
	    struct str text, struct action_limits *asked, struct error *err);
} properties[] = {{"max-mem", parse_memory}, {"max-cores", parse_cpus},
    {"max-pids", parse_pids}};

static void
lower(uint64_t *limit, uint64_t asked)
{
	if (asked > 0 && (*limit == 0 || asked < *limit))
		*limit = asked;
}

int
action_limits_lower(struct action_limits *limits,
    const Reapi__Platform *platform, struct error *err)
{
	for (size_t i = 0; i < sizeof(properties) / sizeof(*properties); i++) {
		struct str text = run_command_property(
		    platform, str_from(properties[i].name));
		struct action_limits asked = {0};

		if (text.data == NULL)
			continue;
		if (properties[i].parse(text, &asked, err) < 0 ||
		    action_limits_check(&asked, err) < 0) {
			error_prefix(
			    err, "platform property %s", properties[i].name);
			return -1;
		}
		lower(&limits->memory, asked.memory);
		lower(&limits->cpu_milli, asked.cpu_milli);
		lower(&limits->pids, asked.pids);
	}
	return 0;
}

bool
action_limits_equal(
    const struct action_limits *a, const struct action_limits *b)
{
	return a->memory == b->memory && a->pids == b->pids &&
	       a->cpu_milli == b->cpu_milli;
}
