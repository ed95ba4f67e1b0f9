/* SPDX-License-Identifier: Apache-2.0 */
/* Platforms and commands: lists of names with values, and lists of texts. */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/sequence_diff.h"
#include "cas/closure.h"
#include "executor/explain_internal.h"
#include "executor/platform.h"

/* --- names with values ----------------------------------------------------
 */

/* A change of one name, whose value may be absent on one side. */
static void
tell_value(struct explainer_work *work, enum explain_cause cause,
    enum explain_kind kind, const struct str texts[static 3])
{
	const struct explain_change change = {
	    .kind = kind,
	    .name = explain_text(work, texts[0]),
	    .before =
		texts[1].data != NULL ? explain_text(work, texts[1]) : NULL,
	    .after =
		texts[2].data != NULL ? explain_text(work, texts[2]) : NULL,
	};

	explain_add(work, cause, &change);
}

/* Where a toolchain root is mounted, as the start of paths: "toolchain-root"
 * is "/", "toolchain-root:/tc" is "/tc/". */
static const char *
mount_prefix(struct explainer_work *work, struct str name)
{
	struct str mount = name;

	str_cut(&mount, ':');
	while (mount.len > 0 && mount.data[mount.len - 1] == '/')
		mount.len--;
	return mount.data != NULL
		   ? arena_printf(&work->scratch, "%.*s/", STR_ARG(mount))
		   : "/";
}

static int
compare_roots(struct explainer_work *work, struct str name, struct str before,
    struct str after, struct error *err)
{
	struct explain_tree tree = {.cause = EXPLAIN_TOOLCHAIN,
	    .kind = EXPLAIN_KIND_TOOLCHAIN,
	    .prefix = mount_prefix(work, name)};
	enum digest_function function = work->source->function;
	struct error ignored;

	if (tree.prefix == NULL || before.data == NULL || after.data == NULL ||
	    digest_parse_text(function, before, &tree.before, &ignored) < 0 ||
	    digest_parse_text(function, after, &tree.after, &ignored) < 0)
		return 0;
	return explain_trees(work, &tree, err);
}

static int
tell_property(struct explainer_work *work,
    const struct platform_property *before,
    const struct platform_property *after, struct error *err)
{
	const struct str absent = {NULL, 0};
	const struct str name = before != NULL ? before->name : after->name;
	const struct str texts[] = {name,
	    before != NULL ? before->value : absent,
	    after != NULL ? after->value : absent};
	bool root = platform_is_root(name);

	tell_value(work, root ? EXPLAIN_TOOLCHAIN : EXPLAIN_PLATFORM,
	    EXPLAIN_KIND_PROPERTY, texts);
	return root ? compare_roots(work, name, texts[1], texts[2], err) : 0;
}

static bool
has_property(
    const struct platform *platform, const struct platform_property *property)
{
	for (size_t i = 0; i < platform->count; i++) {
		if (str_equal(platform->properties[i].name, property->name) &&
		    str_equal(platform->properties[i].value, property->value))
			return true;
	}
	return false;
}

/* What platform has and other lacks. */
static struct platform_property *
only_in(const struct platform *platform, const struct platform *other,
    size_t *count)
{
	struct platform_property *list =
	    xcalloc(platform->count + 1, sizeof(*list));

	*count = 0;
	for (size_t i = 0; i < platform->count; i++) {
		if (!has_property(other, &platform->properties[i]))
			list[(*count)++] = platform->properties[i];
	}
	return list;
}

static int
compare_platforms(struct explainer_work *work, const struct platform *before,
    const struct platform *after, struct error *err)
{
	size_t gone_count, new_count, j = 0;
	struct platform_property *gone = only_in(before, after, &gone_count);
	struct platform_property *added = only_in(after, before, &new_count);
	int rc = 0;

	/* Both are sorted by name; equal names are one change. */
	for (size_t i = 0; rc == 0 && (i < gone_count || j < new_count);) {
		int order = i == gone_count ? 1 : -1;

		if (i < gone_count && j < new_count)
			order = str_compare(gone[i].name, added[j].name);
		rc = tell_property(work, order <= 0 ? &gone[i] : NULL,
		    order >= 0 ? &added[j] : NULL, err);
		i += order <= 0;
		j += order >= 0;
	}
	free(gone);
	free(added);
	return rc;
}

static int
read_platform(const Reapi__Platform *message, struct platform *platform,
    struct error *err)
{
	size_t count = message != NULL ? message->n_properties : 0;
	struct platform_property *properties =
	    xcalloc(count + 1, sizeof(*properties));
	int rc;

	for (size_t i = 0; i < count; i++) {
		properties[i].name = explain_str(message->properties[i]->name);
		properties[i].value =
		    explain_str(message->properties[i]->value);
	}
	rc = platform_init(platform, properties, count, err);
	free(properties);
	return rc;
}

int
explain_platforms(struct explainer_work *work, const Reapi__Platform *before,
    const Reapi__Platform *after, struct error *err)
{
	struct platform a = {0}, b = {0};
	int rc = read_platform(before, &a, err);

	if (rc == 0)
		rc = read_platform(after, &b, err);
	if (rc == 0)
		rc = compare_platforms(work, &a, &b, err);
	platform_clear(&a);
	platform_clear(&b);
	return rc;
}

/* --- commands -------------------------------------------------------------
 */

static int
compare_variables(const void *a, const void *b)
{
	const Reapi__Command__EnvironmentVariable *const *left = a;
	const Reapi__Command__EnvironmentVariable *const *right = b;

	return str_compare(
	    explain_str((*left)->name), explain_str((*right)->name));
}

static void
explain_environment(struct explainer_work *work, const Reapi__Command *before,
    const Reapi__Command *after)
{
	Reapi__Command__EnvironmentVariable **a = before->environment_variables;
	Reapi__Command__EnvironmentVariable **b = after->environment_variables;
	size_t a_count = before->n_environment_variables;
	size_t b_count = after->n_environment_variables;
	size_t i = 0, j = 0;

	/* Clients must sort them; not all do. */
	if (a_count > 0)
		qsort(a, a_count, sizeof(*a), compare_variables);
	if (b_count > 0)
		qsort(b, b_count, sizeof(*b), compare_variables);
	while (i < a_count || j < b_count) {
		int order = i == a_count ? 1 : -1;
		struct str texts[3] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};

		if (i < a_count && j < b_count)
			order = compare_variables(&a[i], &b[j]);
		texts[0] = explain_str(order <= 0 ? a[i]->name : b[j]->name);
		if (order <= 0)
			texts[1] = explain_str(a[i++]->value);
		if (order >= 0)
			texts[2] = explain_str(b[j++]->value);
		if (texts[1].data == NULL || texts[2].data == NULL ||
		    !str_equal(texts[1], texts[2]))
			tell_value(work, EXPLAIN_ENVIRONMENT,
			    EXPLAIN_KIND_VARIABLE, texts);
	}
}

/* The removal and the addition in its place, as one change; either may be
 * NULL, not both. */
static void
tell_item(struct explainer_work *work, enum explain_kind kind,
    const struct str *before, const struct str *after, size_t position)
{
	char name[64];
	struct str texts[3] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};

	snprintf(
	    name, sizeof(name), "%s %zu", explain_kind_name(kind), position);
	texts[0] = str_from(name);
	if (before != NULL)
		texts[1] = *before;
	if (after != NULL)
		texts[2] = *after;
	tell_value(work, EXPLAIN_COMMAND, kind, texts);
}

static size_t
run_length(const struct sequence_step *steps, size_t count, size_t from,
    enum sequence_edit edit)
{
	size_t length = 0;

	while (from + length < count && steps[from + length].edit == edit)
		length++;
	return length;
}

static void
explain_list(struct explainer_work *work, enum explain_kind kind,
    const struct sequence *before, const struct sequence *after)
{
	size_t count, i = 0;
	struct sequence_step *steps = sequence_diff(before, after, &count);

	while (i < count) {
		size_t gone = run_length(steps, count, i, SEQUENCE_REMOVE);
		size_t added = run_length(steps, count, i + gone, SEQUENCE_ADD);
		size_t most = gone > added ? gone : added;

		for (size_t k = 0; k < most; k++)
			tell_item(work, kind,
			    k < gone ? &before->items[steps[i + k].before]
				     : NULL,
			    k < added ? &after->items[steps[i + gone + k].after]
				      : NULL,
			    k < added ? steps[i + gone + k].after
				      : steps[i + k].before);
		i += most > 0 ? gone + added : 1;
	}
	free(steps);
}

static struct sequence
arguments_of(const Reapi__Command *command)
{
	struct str *items = xcalloc(command->n_arguments + 1, sizeof(*items));

	for (size_t i = 0; i < command->n_arguments; i++)
		items[i] = explain_str(command->arguments[i]);
	return (struct sequence){items, command->n_arguments};
}

/* Newer clients give output_paths, older ones files and directories. */
static struct sequence
outputs_of(const Reapi__Command *command)
{
	size_t count = command->n_output_paths + command->n_output_files +
		       command->n_output_directories;
	struct str *items = xcalloc(count + 1, sizeof(*items));
	size_t used = 0;

	for (size_t i = 0; i < command->n_output_paths; i++)
		items[used++] = explain_str(command->output_paths[i]);
	for (size_t i = 0; i < command->n_output_files; i++)
		items[used++] = explain_str(command->output_files[i]);
	for (size_t i = 0; i < command->n_output_directories; i++)
		items[used++] = explain_str(command->output_directories[i]);
	return (struct sequence){items, count};
}

static void
compare_lists(struct explainer_work *work, enum explain_kind kind,
    struct sequence before, struct sequence after)
{
	explain_list(work, kind, &before, &after);
	free((void *)(uintptr_t)before.items);
	free((void *)(uintptr_t)after.items);
}

void
explain_commands(struct explainer_work *work, const Reapi__Command *before,
    const Reapi__Command *after)
{
	const struct str directories[] = {STR("working directory"),
	    explain_str(before->working_directory),
	    explain_str(after->working_directory)};

	explain_environment(work, before, after);
	compare_lists(work, EXPLAIN_KIND_ARGUMENT, arguments_of(before),
	    arguments_of(after));
	compare_lists(
	    work, EXPLAIN_KIND_OUTPUT, outputs_of(before), outputs_of(after));
	if (!str_equal(directories[1], directories[2]))
		tell_value(
		    work, EXPLAIN_COMMAND, EXPLAIN_KIND_SETTING, directories);
}
