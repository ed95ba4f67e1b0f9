/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries by action and, by a hash of what they were for, the latest of each
 * subject. The list of all is in order of use, so that an entry is the latest
 * of its subjects as long as nothing was used after it.
 */
#include "executor/history.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/memory.h"
#include "executor/history_internal.h"

/* --- texts and keys -------------------------------------------------------
 */

struct str
history_copy_text(struct str text)
{
	size_t len = text.len < HISTORY_TEXT_MAX ? text.len : HISTORY_TEXT_MAX;

	return (struct str){xstrndup(text.data, len), len};
}

static void
free_text(struct str text)
{
	free((void *)(uintptr_t)text.data);
}

/* In the space if it fits, else malloced. */
#define KEY_SPACE 256
/* How far the order of use may be off. */
#define MOVE_NS INT64_C(60000000000)

static struct str
make_key(struct str instance, const struct digest *action,
    char space[static KEY_SPACE])
{
	struct str digest = digest_key(action);
	size_t len = instance.len + digest.len;
	char *key = len <= KEY_SPACE ? space : xmalloc(len);

	memcpy(key, digest.data, digest.len);
	if (instance.len > 0)
		memcpy(key + digest.len, instance.data, instance.len);
	return (struct str){key, len};
}

/* Lengths make the concatenation unambiguous. */
static void
hash_text(struct digest_hasher *hasher, struct str text)
{
	uint64_t len = text.len;

	digest_hasher_update(hasher, &len, sizeof(len));
	digest_hasher_update(hasher, text.data, text.len);
}

static struct str
base_name(struct str path)
{
	for (size_t i = path.len; i > 0; i--) {
		if (path.data[i - 1] == '/')
			return (struct str){path.data + i, path.len - i};
	}
	return path;
}

static bool
make_subject(struct digest_hasher *hasher, const struct history_action *action,
    enum subject subject, char key[static SUBJECT_SIZE])
{
	bool by_target = subject != SUBJECT_OUTPUTS;
	struct digest digest;

	if ((by_target && action->target.len == 0) ||
	    (subject != SUBJECT_TARGET && action->output_count == 0))
		return false;
	digest_hasher_reset(hasher);
	hash_text(hasher, action->use.instance);
	hash_text(hasher,
	    str_from(digest_function_name(action->use.action.function)));
	if (by_target) {
		hash_text(hasher, action->target);
		hash_text(hasher, action->mnemonic);
	}
	if (subject == SUBJECT_TARGET_NAME)
		hash_text(hasher, base_name(action->outputs[0]));
	if (subject == SUBJECT_TARGET_OUTPUTS || subject == SUBJECT_OUTPUTS) {
		for (size_t i = 0; i < action->output_count; i++)
			hash_text(hasher, action->outputs[i]);
	}
	digest_hasher_finish(hasher, &digest);
	key[0] = (char)subject;
	memcpy(key + 1, digest.hash, SUBJECT_SIZE - 1);
	return true;
}

void
history_subjects_of(
    const struct history_action *action, struct history_subjects *subjects)
{
	struct digest_hasher *hasher = digest_hasher_new(DIGEST_SHA256);

	for (int i = 0; i < SUBJECTS; i++)
		subjects->present[i] = make_subject(
		    hasher, action, (enum subject)i, subjects->keys[i]);
	digest_hasher_free(hasher);
}

/* --- subjects; under the lock ---------------------------------------------
 */

static void
join_subject(struct history *history, struct entry *entry, int which,
    const char key[static SUBJECT_SIZE])
{
	struct subject_node *node =
	    map_get(&history->subjects, (struct str){key, SUBJECT_SIZE});

	if (node == NULL) {
		node = xcalloc(1, sizeof(*node));
		memcpy(node->key, key, SUBJECT_SIZE);
		map_put(&history->subjects,
		    (struct str){node->key, SUBJECT_SIZE}, node);
	}
	node->entries++;
	entry->subjects[which] = node;
}

static void
leave_subjects(struct history *history, const struct entry *entry)
{
	for (int i = 0; i < SUBJECTS; i++) {
		struct subject_node *node = entry->subjects[i];

		if (node == NULL)
			continue;
		if (node->latest == entry)
			node->latest = NULL;
		if (--node->entries > 0)
			continue;
		map_remove(
		    &history->subjects, (struct str){node->key, SUBJECT_SIZE});
		free(node);
	}
}

static void
make_latest(struct entry *entry)
{
	for (int i = 0; i < SUBJECTS; i++) {
		struct subject_node *node = entry->subjects[i];

		if (node == NULL || node->latest == entry)
			continue;
		if (node->latest != NULL)
			node->latest->superseded = true;
		node->latest = entry;
	}
	entry->superseded = false;
}

/* --- invocations; under the lock -------------------------------------------
 */

static void
invocation_unref(struct invocation *invocation)
{
	if (invocation == NULL || --invocation->users > 0)
		return;
	free_text(invocation->text);
	free(invocation);
}

struct invocation *
history_invocation(struct history *history, struct str text)
{
	struct invocation *invocation = history->invocation;

	if (text.len > HISTORY_TEXT_MAX)
		text.len = HISTORY_TEXT_MAX;
	if (invocation == NULL || !str_equal(invocation->text, text)) {
		invocation_unref(invocation);
		invocation = xcalloc(1, sizeof(*invocation));
		invocation->text = history_copy_text(text);
		invocation->users = 1;
		history->invocation = invocation;
	}
	invocation->users++;
	return invocation;
}

/* --- entries; under the lock ----------------------------------------------
 */

static size_t
entry_bytes(const struct entry *entry)
{
	/* As if the invocation were its own. */
	size_t invocation =
	    entry->invocation != NULL ? entry->invocation->text.len : 0;

	return sizeof(*entry) + entry->key.len + entry->instance.len +
	       entry->target.len + entry->mnemonic.len + invocation +
	       entry->miss_invocation.len + entry->summary.len +
	       /* Of the maps and the allocator. */
	       (SUBJECTS + 1) * 2 * sizeof(struct map_entry) +
	       SUBJECTS * sizeof(struct subject_node) + 128;
}

void
history_entry_free(struct entry *entry)
{
	free_text(entry->key);
	free_text(entry->instance);
	free_text(entry->target);
	free_text(entry->mnemonic);
	invocation_unref(entry->invocation);
	free_text(entry->miss_invocation);
	free_text(entry->summary);
	free(entry);
}

void
history_mark_changed(struct history *history, struct entry *entry)
{
	if (entry->changed)
		return;
	entry->changed = true;
	TAILQ_INSERT_TAIL(&history->changes, entry, change);
	history->change_count++;
}

void
history_remove_record(struct history *history, uint64_t number)
{
	struct removed *removed = xmalloc(sizeof(*removed));

	removed->number = number;
	STAILQ_INSERT_TAIL(&history->removed, removed, link);
	history->change_count++;
}

static void
note_removed(struct history *history, struct entry *entry)
{
	if (entry->changed) {
		TAILQ_REMOVE(&history->changes, entry, change);
		history->change_count--;
	}
	if (entry->taken)
		TAILQ_REMOVE(&history->taken, entry, taking);
	/* What is being stored may get a record yet. */
	if (entry->stored || entry->taken)
		history_remove_record(history, entry->number);
}

void
history_free_removed(struct removed_list *list)
{
	struct removed *removed;

	while ((removed = STAILQ_FIRST(list)) != NULL) {
		STAILQ_REMOVE_HEAD(list, link);
		free(removed);
	}
}

static void
history_remove(struct history *history, struct entry *entry)
{
	note_removed(history, entry);
	history->bytes -= entry_bytes(entry);
	TAILQ_REMOVE(&history->entries, entry, link);
	map_remove(&history->actions, entry->key);
	leave_subjects(history, entry);
	history_entry_free(entry);
}

void
history_shrink(struct history *history)
{
	while (history->actions.count > history->limits.entries ||
	       history->bytes > history->limits.bytes) {
		struct entry *last = TAILQ_LAST(&history->entries, entry_list);

		if (last == NULL)
			return;
		history_remove(history, last);
	}
}

static struct entry *
find(const struct history *history, struct str instance,
    const struct digest *action)
{
	char space[KEY_SPACE];
	struct str key = make_key(instance, action, space);
	struct entry *entry = map_get(&history->actions, key);

	if (key.data != space)
		free_text(key);
	return entry;
}

void
history_insert(struct history *history, struct entry *entry,
    const struct history_subjects *subjects)
{
	TAILQ_INSERT_HEAD(&history->entries, entry, link);
	map_put(&history->actions, entry->key, entry);
	history->bytes += entry_bytes(entry);
	for (int i = 0; i < SUBJECTS; i++) {
		if (subjects->present[i])
			join_subject(history, entry, i, subjects->keys[i]);
	}
	make_latest(entry);
}

static void
set_invocation(struct history *history, struct entry *entry, struct str text)
{
	struct invocation *before = entry->invocation;

	if (before != NULL && str_equal(before->text, text))
		return;
	history->bytes -= entry_bytes(entry);
	entry->invocation = history_invocation(history, text);
	history->bytes += entry_bytes(entry);
	invocation_unref(before);
}

/* It becomes the latest of its subjects. Most uses change next to nothing, and
 * there are many: what is in order is left alone. */
static void
touch(
    struct history *history, struct entry *entry, const struct history_use *use)
{
	if (entry->superseded || use->now_ns - entry->used_ns > MOVE_NS) {
		TAILQ_REMOVE(&history->entries, entry, link);
		TAILQ_INSERT_HEAD(&history->entries, entry, link);
		make_latest(entry);
	}
	set_invocation(history, entry, use->invocation);
	entry->used_ns = use->now_ns;
	if (entry->result != use->result)
		history_mark_changed(history, entry);
	entry->result = use->result;
}

/* --- using ----------------------------------------------------------------
 */

struct history *
history_new(const struct history_limits *limits)
{
	struct history *history = xcalloc(1, sizeof(*history));

	history->limits = *limits;
	pthread_mutex_init(&history->lock, NULL);
	map_init(&history->actions);
	map_init(&history->subjects);
	TAILQ_INIT(&history->entries);
	TAILQ_INIT(&history->changes);
	STAILQ_INIT(&history->removed);
	TAILQ_INIT(&history->taken);
	STAILQ_INIT(&history->removed_taken);
	return history;
}

void
history_free(struct history *history)
{
	struct entry *entry;

	if (history == NULL)
		return;
	while ((entry = TAILQ_FIRST(&history->entries)) != NULL)
		history_remove(history, entry);
	history_free_removed(&history->removed);
	history_free_removed(&history->removed_taken);
	invocation_unref(history->invocation);
	map_clear(&history->actions);
	map_clear(&history->subjects);
	pthread_mutex_destroy(&history->lock);
	free(history);
}

bool
history_use(struct history *history, const struct history_use *use)
{
	struct entry *entry;

	pthread_mutex_lock(&history->lock);
	entry = find(history, use->instance, &use->action);
	if (entry != NULL)
		touch(history, entry, use);
	pthread_mutex_unlock(&history->lock);
	return entry != NULL;
}

bool
history_knows(struct history *history, struct str instance,
    const struct digest *action, bool *result)
{
	const struct entry *entry;

	pthread_mutex_lock(&history->lock);
	entry = find(history, instance, action);
	*result = entry != NULL && entry->result;
	pthread_mutex_unlock(&history->lock);
	return entry != NULL;
}

int64_t
history_last_use(
    struct history *history, struct str instance, const struct digest *action)
{
	const struct entry *entry;
	int64_t used_ns;

	pthread_mutex_lock(&history->lock);
	entry = find(history, instance, action);
	used_ns = entry != NULL ? entry->used_ns : 0;
	pthread_mutex_unlock(&history->lock);
	return used_ns;
}

struct entry *
history_entry_new(struct str instance, const struct digest *action)
{
	struct entry *entry = xcalloc(1, sizeof(*entry));
	char space[KEY_SPACE];
	struct str key = make_key(instance, action, space);

	entry->key = key.data != space
			 ? key
			 : (struct str){xstrndup(key.data, key.len), key.len};
	entry->instance =
	    (struct str){xstrndup(instance.data, instance.len), instance.len};
	entry->action = *action;
	return entry;
}

static struct entry *
entry_new(const struct history_action *action)
{
	struct entry *entry =
	    history_entry_new(action->use.instance, &action->use.action);

	entry->target = history_copy_text(action->target);
	entry->mnemonic = history_copy_text(action->mnemonic);
	return entry;
}

void
history_add(struct history *history, const struct history_action *action,
    const struct history_subjects *subjects)
{
	/* Made before the lock is taken. */
	struct entry *entry = entry_new(action);
	struct entry *known;

	pthread_mutex_lock(&history->lock);
	known = map_get(&history->actions, entry->key);
	if (known != NULL) {
		history_entry_free(entry);
		entry = known;
	} else {
		entry->number = ++history->last_number;
		history_insert(history, entry, subjects);
		history_mark_changed(history, entry);
	}
	touch(history, entry, &action->use);
	history_shrink(history);
	pthread_mutex_unlock(&history->lock);
}

/* Another action of the target in the same build: its neighbour (the link of
 * the same program as a tool, another shard of a test), not what it was
 * before. */
static bool
is_sibling(const struct entry *entry, const struct history_action *action)
{
	return action->use.invocation.len > 0 && entry->invocation != NULL &&
	       str_equal(entry->invocation->text, action->use.invocation);
}

int
history_previous(struct history *history, const struct history_action *action,
    const struct history_subjects *subjects, struct digest *previous)
{
	int found = 0;

	pthread_mutex_lock(&history->lock);
	for (int i = 0; i < SUBJECTS && found == 0; i++) {
		const struct subject_node *node =
		    subjects->present[i]
			? map_get(&history->subjects,
			      (struct str){subjects->keys[i], SUBJECT_SIZE})
			: NULL;

		if (node == NULL || node->latest == NULL ||
		    digest_equal(&node->latest->action, &action->use.action))
			continue;
		if ((i == SUBJECT_TARGET_NAME || i == SUBJECT_TARGET) &&
		    is_sibling(node->latest, action))
			continue;
		*previous = node->latest->action;
		found = 1;
	}
	pthread_mutex_unlock(&history->lock);
	return found;
}

/* --- misses ---------------------------------------------------------------
 */

void
history_put_miss(struct history *history, struct str instance,
    const struct history_miss *miss)
{
	struct entry *entry;

	pthread_mutex_lock(&history->lock);
	entry = find(history, instance, &miss->action);
	if (entry != NULL) {
		history->bytes -= entry_bytes(entry);
		free_text(entry->miss_invocation);
		free_text(entry->summary);
		entry->miss = *miss;
		entry->miss_invocation = history_copy_text(miss->invocation);
		entry->summary = history_copy_text(miss->summary);
		entry->missed = true;
		history->bytes += entry_bytes(entry);
		history_mark_changed(history, entry);
		history_shrink(history);
	}
	pthread_mutex_unlock(&history->lock);
}

/* "" at the arena's cap. */
static struct str
text_out(struct arena *arena, struct str text)
{
	const char *copy = arena_copy(arena, text);

	return copy != NULL ? (struct str){copy, text.len} : STR("");
}

static void
miss_out(
    struct arena *arena, const struct entry *entry, struct history_miss *miss)
{
	*miss = entry->miss;
	miss->action = entry->action;
	miss->target = text_out(arena, entry->target);
	miss->mnemonic = text_out(arena, entry->mnemonic);
	miss->invocation = text_out(arena, entry->miss_invocation);
	miss->summary = text_out(arena, entry->summary);
}

int
history_find_miss(struct history *history, struct str instance, struct str hash,
    struct arena *arena, struct history_miss *miss)
{
	const struct entry *entry;
	char text[DIGEST_TEXT_MAX];
	int found = 0;

	pthread_mutex_lock(&history->lock);
	TAILQ_FOREACH (entry, &history->entries, link) {
		if (!entry->missed || !str_equal(entry->instance, instance) ||
		    hash.len != 2 * digest_hash_length(entry->action.function))
			continue;
		digest_format_hash(&entry->action, text);
		if (!str_equal(str_from(text), hash))
			continue;
		miss_out(arena, entry, miss);
		found = 1;
		break;
	}
	pthread_mutex_unlock(&history->lock);
	return found;
}

/* Not the first of the list, whose order is not quite that of use. */
struct str
history_last_invocation(
    struct history *history, struct str instance, struct arena *arena)
{
	const struct entry *entry, *last = NULL;
	struct str invocation = STR("");

	pthread_mutex_lock(&history->lock);
	TAILQ_FOREACH (entry, &history->entries, link) {
		if (str_equal(entry->instance, instance) &&
		    entry->invocation->text.len > 0 &&
		    (last == NULL || entry->used_ns > last->used_ns))
			last = entry;
	}
	if (last != NULL)
		invocation = text_out(arena, last->invocation->text);
	pthread_mutex_unlock(&history->lock);
	return invocation;
}

/* The name itself, or the start of a name of several words: a package of
 * cargo's has several targets. */
static bool
is_of(struct str target, struct str of)
{
	return str_equal(target, of) ||
	       (of.len > 0 && target.len > of.len &&
		   str_starts_with(target, of) && target.data[of.len] == ' ');
}

size_t
history_list_misses(struct history *history, struct str instance, struct str of,
    struct arena *arena, struct history_miss *misses, size_t limit)
{
	const struct entry *entry;
	size_t count = 0;

	pthread_mutex_lock(&history->lock);
	TAILQ_FOREACH (entry, &history->entries, link) {
		if (count == limit)
			break;
		if (entry->missed && str_equal(entry->instance, instance) &&
		    (of.len == 0 || str_equal(entry->miss_invocation, of) ||
			is_of(entry->target, of)))
			miss_out(arena, entry, &misses[count++]);
	}
	pthread_mutex_unlock(&history->lock);
	return count;
}
