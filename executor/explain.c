/* SPDX-License-Identifier: Apache-2.0 */
/* Names, reading, and what an Action itself says. */
#include "executor/explain.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/error.h"
#include "cas/closure.h"
#include "cas/digest_message.h"
#include "executor/explain_internal.h"
#include "protos/arena_allocator.h"

#define TEXT_MAX 1024u
#define RESULT_ARENA (16u << 20)
#define SCRATCH_ARENA (96u << 20)
#define ACTION_ARENA (96u << 20)

const char *
explain_cause_name(enum explain_cause cause)
{
	static const char *const names[EXPLAIN_CAUSES] = {
	    [EXPLAIN_TOOLCHAIN] = "toolchain",
	    [EXPLAIN_PLATFORM] = "platform",
	    [EXPLAIN_ENVIRONMENT] = "environment",
	    [EXPLAIN_COMMAND] = "command",
	    [EXPLAIN_SOURCE] = "source",
	    [EXPLAIN_SALT] = "salt",
	    [EXPLAIN_FIRST_SEEN] = "first-seen",
	    [EXPLAIN_EVICTED] = "evicted",
	    [EXPLAIN_UNCACHED] = "uncached",
	    [EXPLAIN_UNKNOWN] = "unknown",
	};

	return cause < EXPLAIN_CAUSES ? names[cause] : "unknown";
}

enum explain_cause
explain_cause_parse(struct str name)
{
	for (int i = 0; i < EXPLAIN_CAUSES; i++) {
		const char *known = explain_cause_name((enum explain_cause)i);

		if (str_equal(name, str_from(known)))
			return (enum explain_cause)i;
	}
	return EXPLAIN_UNKNOWN;
}

const char *
explain_kind_name(enum explain_kind kind)
{
	static const char *const names[] = {
	    [EXPLAIN_KIND_TOOLCHAIN] = "toolchain",
	    [EXPLAIN_KIND_PROPERTY] = "property",
	    [EXPLAIN_KIND_VARIABLE] = "variable",
	    [EXPLAIN_KIND_ARGUMENT] = "argument",
	    [EXPLAIN_KIND_OUTPUT] = "output",
	    [EXPLAIN_KIND_SETTING] = "setting",
	    [EXPLAIN_KIND_INPUT] = "input",
	    [EXPLAIN_KIND_SALT] = "salt",
	};

	return names[kind];
}

/* --- what is found --------------------------------------------------------
 */

const char *
explain_text(struct explainer_work *work, struct str text)
{
	bool cut = text.len > TEXT_MAX;
	char *copy;

	if (cut) {
		text.len = TEXT_MAX;
		/* Not within a character. */
		while (text.len > 0 &&
		       ((uint8_t)text.data[text.len] & 0xc0) == 0x80)
			text.len--;
	}
	copy = arena_zalloc(&work->out->arena, 1, text.len + sizeof("..."));
	if (copy == NULL)
		return NULL;
	memcpy(copy, text.data, text.len);
	if (!str_is_utf8(text)) {
		for (size_t i = 0; i < text.len; i++) {
			if ((uint8_t)copy[i] >= 0x80 || copy[i] == '\0')
				copy[i] = '?';
		}
	}
	if (cut)
		memcpy(copy + text.len, "...", 3);
	return copy;
}

void
explain_add(struct explainer_work *work, enum explain_cause cause,
    const struct explain_change *change)
{
	struct explanation *out = work->out;

	work->differs[cause] = true;
	out->total++;
	if (out->count == work->left.changes || change->name == NULL)
		return;
	out->changes[out->count] = *change;
	out->changes[out->count++].cause = cause;
}

void
explain_incomplete(struct explainer_work *work, const char *format, ...)
{
	struct explanation *out = work->out;
	va_list arguments;

	if (out->incomplete)
		return;
	out->incomplete = true;
	va_start(arguments, format);
	vsnprintf(out->note, sizeof(out->note), format, arguments);
	va_end(arguments);
}

/* What stands for the cause: a file of a toolchain rather than the property
 * that names the toolchain. NULL: nothing is kept. */
static const struct explain_change *
main_change(const struct explanation *explanation)
{
	const struct explain_change *found = NULL;

	for (size_t i = 0; i < explanation->count; i++) {
		const struct explain_change *change = &explanation->changes[i];

		if (change->cause != explanation->cause)
			continue;
		if (change->kind != EXPLAIN_KIND_PROPERTY)
			return change;
		if (found == NULL)
			found = change;
	}
	return found;
}

void
explanation_summary(
    const struct explanation *explanation, char *text, size_t size)
{
	const struct explain_change *change = main_change(explanation);
	const char *how = "changed", *kind;

	if (change == NULL) {
		snprintf(text, size, "%s", explanation->note);
		return;
	}
	if (change->before == NULL && !change->has_before_digest)
		how = "added";
	else if (change->after == NULL && !change->has_after_digest)
		how = "removed";
	kind = explain_kind_name(change->kind);
	/* "argument 3" says what it is. */
	if (strncmp(change->name, kind, strlen(kind)) == 0)
		snprintf(text, size, "%s %s", change->name, how);
	else
		snprintf(text, size, "%s %s %s", kind, change->name, how);
}

void
explanation_clear(struct explanation *explanation)
{
	arena_clear(&explanation->arena);
}

/* --- reading --------------------------------------------------------------
 */

int
explain_read(struct explainer_work *work, const struct digest *digest,
    struct buffer *content, struct error *err)
{
	char text[DIGEST_TEXT_MAX];

	buffer_reset(content);
	if (digest_is_empty(digest))
		return 1;
	if (digest->size > work->left.bytes) {
		explain_incomplete(
		    work, "the limit on bytes to read is reached");
		return 0;
	}
	work->left.bytes -= digest->size;
	if (digest->size > content->limit) {
		explain_incomplete(work, "%s is too large to be compared",
		    digest_format(digest, text));
		return 0;
	}
	return work->source->read(work->source->cookie, digest, content, err);
}

/* --- actions --------------------------------------------------------------
 */

/* 1, 0 when it cannot be found, which is noted, -1. */
static int
read_message(struct explain_action *action, const struct closure_source *source,
    const struct digest *digest, const ProtobufCMessageDescriptor *descriptor,
    void *message, struct error *err)
{
	char text[DIGEST_TEXT_MAX];
	struct buffer content;
	int found = 0;

	buffer_init(&content, EXPLAIN_MESSAGE_MAX);
	if (digest->size > content.limit)
		snprintf(action->note, sizeof(action->note),
		    "%s is too large to be compared",
		    digest_format(digest, text));
	else if (digest_is_empty(digest))
		found = 1;
	else if ((found = source->read(
		      source->cookie, digest, &content, err)) == 0)
		snprintf(action->note, sizeof(action->note),
		    "the %s %s is not in the store", descriptor->short_name,
		    digest_format(digest, text));
	action->bytes += content.len;
	if (found > 0) {
		*(void **)message = protos_unpack(
		    &action->arena, descriptor, buffer_str(&content), err);
		found = *(void **)message != NULL ? 1 : -1;
	}
	buffer_clear(&content);
	return found;
}

/* known has its command if that is the same; or NULL. */
static int
read_action(struct explain_action *action, const struct closure_source *source,
    const struct explain_action *known, struct error *err)
{
	int found = read_message(action, source, &action->digest,
	    &reapi__action__descriptor, &action->action, err);

	if (found <= 0)
		return found;
	if (digest_from_message(source->function,
		action->action->command_digest, &action->command_digest,
		err) < 0 ||
	    digest_from_message(source->function,
		action->action->input_root_digest, &action->input_root,
		err) < 0)
		return -1;
	if (known != NULL &&
	    digest_equal(&known->command_digest, &action->command_digest)) {
		action->command = known->command;
		memcpy(action->note, known->note, sizeof(action->note));
		return 0;
	}
	return read_message(action, source, &action->command_digest,
		   &reapi__command__descriptor, &action->command, err) < 0
		   ? -1
		   : 0;
}

static void
action_init(struct explain_action *action, const struct digest *digest)
{
	*action = (struct explain_action){.digest = *digest};
	arena_init(&action->arena, ACTION_ARENA);
}

int
explain_action_read(struct explain_action *action,
    const struct closure_source *source, const struct digest *digest,
    struct error *err)
{
	action_init(action, digest);
	return read_action(action, source, NULL, err);
}

void
explain_action_clear(struct explain_action *action)
{
	arena_clear(&action->arena);
}

static void
compare_setting(struct explainer_work *work, const char *name,
    const char *before, const char *after)
{
	const struct explain_change change = {
	    .kind = EXPLAIN_KIND_SETTING,
	    .name = name,
	    .before = before,
	    .after = after,
	};

	if (before != NULL && after != NULL && strcmp(before, after) != 0)
		explain_add(work, EXPLAIN_COMMAND, &change);
}

static const char *
timeout_text(struct explainer_work *work, const Reapi__Action *action)
{
	const Google__Protobuf__Duration *timeout = action->timeout;

	if (timeout == NULL)
		return "none";
	return arena_printf(&work->out->arena, "%" PRId64 ".%09d s",
	    timeout->seconds, timeout->nanos);
}

static void
compare_salt(struct explainer_work *work, struct str before, struct str after)
{
	struct explain_change change = {
	    .kind = EXPLAIN_KIND_SALT,
	    .name = "salt",
	};

	if (str_equal(before, after))
		return;
	change.before =
	    arena_printf(&work->out->arena, "%zu bytes", before.len);
	change.after = arena_printf(&work->out->arena, "%zu bytes", after.len);
	explain_add(work, EXPLAIN_SALT, &change);
}

/* Action.platform counts before Command.platform (spec: Action, 2.2). False
 * when it is not known. */
static bool
effective_platform(
    const struct explain_action *side, const Reapi__Platform **platform)
{
	*platform = side->action->platform;
	if (*platform != NULL && (*platform)->n_properties > 0)
		return true;
	if (side->command == NULL)
		return false;
	*platform = side->command->platform;
	return true;
}

static void
compare_settings(struct explainer_work *work, const Reapi__Action *before,
    const Reapi__Action *after)
{
	compare_setting(work, "timeout", timeout_text(work, before),
	    timeout_text(work, after));
	compare_setting(work, "do_not_cache",
	    before->do_not_cache ? "true" : "false",
	    after->do_not_cache ? "true" : "false");
}

static int
compare_sides(struct explainer_work *work, const struct explain_action *before,
    const struct explain_action *after, struct error *err)
{
	const struct explain_tree inputs = {EXPLAIN_SOURCE, EXPLAIN_KIND_INPUT,
	    "", before->input_root, after->input_root};
	const Reapi__Platform *platforms[2];
	int rc = -1;

	if (effective_platform(before, &platforms[0]) &&
	    effective_platform(after, &platforms[1]) &&
	    platforms[0] != platforms[1] &&
	    explain_platforms(work, platforms[0], platforms[1], err) < 0)
		return -1;
	if (!digest_equal(&before->command_digest, &after->command_digest)) {
		if (before->command != NULL && after->command != NULL)
			explain_commands(work, before->command, after->command);
		else
			work->differs[EXPLAIN_COMMAND] = true;
	}
	compare_settings(work, before->action, after->action);
	/* All of these are causes before the inputs. */
	if ((work->left.first_only && work->out->total > 0) ||
	    explain_trees(work, &inputs, err) == 0)
		rc = 0;
	compare_salt(work, explain_str(before->action->salt),
	    explain_str(after->action->salt));
	return rc;
}

static enum explain_cause
first_cause(const struct explainer_work *work)
{
	for (int cause = 0; cause < EXPLAIN_CAUSES; cause++) {
		if (work->differs[cause])
			return (enum explain_cause)cause;
	}
	return EXPLAIN_UNKNOWN;
}

static int
compare_actions(struct explainer_work *work,
    const struct explain_action *before, const struct explain_action *after,
    struct error *err)
{
	const struct explain_action *sides[] = {before, after};
	uint64_t bytes = before->bytes + after->bytes;

	work->left.bytes -= bytes < work->left.bytes ? bytes : work->left.bytes;
	for (size_t i = 0; i < 2; i++) {
		if (sides[i]->note[0] != '\0')
			explain_incomplete(work, "%s", sides[i]->note);
	}
	if (before->action == NULL || after->action == NULL)
		return 0;
	if (compare_sides(work, before, after, err) < 0)
		return -1;
	/* Fields that this version does not know. */
	if (work->out->total == 0)
		explain_incomplete(
		    work, "they differ in what this version does not know");
	return 0;
}

static int
explanation_init(
    struct explanation *explanation, size_t changes, struct error *err)
{
	*explanation = (struct explanation){.cause = EXPLAIN_UNKNOWN};
	arena_init(&explanation->arena, RESULT_ARENA);
	explanation->changes = arena_zalloc(
	    &explanation->arena, changes + 1, sizeof(*explanation->changes));
	if (explanation->changes == NULL)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "%zu changes are more than fit into memory", changes);
	return 0;
}

int
explain_action_against(struct explanation *explanation,
    const struct explain_action *after, const struct closure_source *source,
    const struct explain_limits *limits, const struct digest *before,
    struct error *err)
{
	struct explainer_work work = {
	    .out = explanation,
	    .source = source,
	    .left = *limits,
	};
	struct explain_action earlier;
	int rc;

	action_init(&earlier, before);
	arena_init(&work.scratch, SCRATCH_ARENA);
	rc = explanation_init(explanation, limits->changes, err);
	if (rc == 0)
		rc = read_action(&earlier, source, after, err);
	if (rc == 0)
		rc = compare_actions(&work, &earlier, after, err);
	explanation->cause = first_cause(&work);
	arena_clear(&work.scratch);
	explain_action_clear(&earlier);
	return rc;
}

int
explain_actions(struct explanation *explanation,
    const struct closure_source *source, const struct explain_limits *limits,
    const struct digest *before, const struct digest *after, struct error *err)
{
	struct explain_action later;
	int rc = explain_action_read(&later, source, after, err);

	*explanation = (struct explanation){.cause = EXPLAIN_UNKNOWN};
	if (rc == 0)
		rc = explain_action_against(
		    explanation, &later, source, limits, before, err);
	explain_action_clear(&later);
	return rc;
}
