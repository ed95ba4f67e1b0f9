/* SPDX-License-Identifier: Apache-2.0 */
/* Entries as messages, and back. */
#include <stdlib.h>

#include <toolroot/explain/v1/explain.pb-c.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/digest_message.h"
#include "executor/history_internal.h"
#include "protos/arena_allocator.h"
#include "protos/binary.h"

/* Times are nanoseconds that can be subtracted from another. */
#define TIME_SECONDS_MAX (INT64_MAX / 1000000000 / 2)
/* Texts are bounded far below. */
#define RECORD_ARENA (64u << 10)

/* --- packing -------------------------------------------------------------- */

struct digest_space {
	Reapi__Digest message;
	char text[DIGEST_TEXT_MAX];
};

static Reapi__Digest *
digest_message(const struct digest *digest, struct digest_space *space)
{
	reapi__digest__init(&space->message);
	digest_to_message(digest, space->text, &space->message);
	return &space->message;
}

static struct str
pack(const ProtobufCMessage *message)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	char *data = xmalloc(len + 1);

	protobuf_c_message_pack(message, (uint8_t *)data);
	return (struct str){data, len};
}

static struct str
pack_entry(const struct entry *entry)
{
	Explainapi__RememberedAction message =
	    EXPLAINAPI__REMEMBERED_ACTION__INIT;
	Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	Explainapi__Miss miss = EXPLAINAPI__MISS__INIT;
	ProtobufCBinaryData subjects[SUBJECTS];
	struct digest_space spaces[2];

	message.instance_name = binary_of(entry->instance);
	message.action_digest = digest_message(&entry->action, &spaces[0]);
	message.digest_function =
	    (Reapi__DigestFunction__Value)entry->action.function;
	message.target = binary_of(entry->target);
	message.mnemonic = binary_of(entry->mnemonic);
	message.invocation_id = binary_of(entry->invocation->text);
	message.used_ns = entry->used_ns;
	message.result = entry->result;
	message.subjects = subjects;
	for (int i = 0; i < SUBJECTS; i++) {
		if (entry->subjects[i] != NULL)
			subjects[message.n_subjects++] = binary_of((struct str){
			    entry->subjects[i]->key, SUBJECT_SIZE});
	}
	if (entry->missed) {
		if (entry->miss.has_previous)
			miss.previous_action_digest =
			    digest_message(&entry->miss.previous, &spaces[1]);
		miss.cause =
		    (char *)(uintptr_t)explain_cause_name(entry->miss.cause);
		time.seconds = entry->miss.time_ns / 1000000000;
		time.nanos = (int32_t)(entry->miss.time_ns % 1000000000);
		miss.time = &time;
		miss.invocation_id = binary_of(entry->miss_invocation);
		miss.summary = binary_of(entry->summary);
		message.miss = &miss;
	}
	return pack(&message.base);
}

static size_t
take_removed(
    struct history *history, struct history_record *changes, size_t count)
{
	struct removed *removed;
	size_t taken = 0;

	while (taken < count &&
	       (removed = STAILQ_FIRST(&history->removed)) != NULL) {
		STAILQ_REMOVE_HEAD(&history->removed, link);
		STAILQ_INSERT_TAIL(&history->removed_taken, removed, link);
		changes[taken++] =
		    (struct history_record){.number = removed->number};
	}
	return taken;
}

static size_t
take_changed(
    struct history *history, struct history_record *changes, size_t count)
{
	struct entry *entry;
	size_t taken = 0;

	while (
	    taken < count && (entry = TAILQ_FIRST(&history->changes)) != NULL) {
		TAILQ_REMOVE(&history->changes, entry, change);
		entry->changed = false;
		TAILQ_INSERT_TAIL(&history->taken, entry, taking);
		entry->taken = true;
		changes[taken++] = (struct history_record){
		    .number = entry->number, .value = pack_entry(entry)};
	}
	return taken;
}

size_t
history_take_changes(
    struct history *history, struct history_record *changes, size_t count)
{
	size_t taken;

	pthread_mutex_lock(&history->lock);
	taken = take_removed(history, changes, count);
	taken += take_changed(history, changes + taken, count - taken);
	history->change_count -= taken;
	pthread_mutex_unlock(&history->lock);
	return taken;
}

static void
settle_entry(struct history *history, struct entry *entry, bool stored)
{
	TAILQ_REMOVE(&history->taken, entry, taking);
	entry->taken = false;
	if (stored)
		entry->stored = true;
	else
		history_mark_changed(history, entry);
}

void
history_settle_changes(struct history *history, bool stored)
{
	struct removed *removed;
	struct entry *entry;

	pthread_mutex_lock(&history->lock);
	while ((entry = TAILQ_FIRST(&history->taken)) != NULL)
		settle_entry(history, entry, stored);
	if (!stored) {
		STAILQ_FOREACH(removed, &history->removed_taken, link)
		history->change_count++;
		STAILQ_CONCAT(&history->removed, &history->removed_taken);
	}
	history_free_removed(&history->removed_taken);
	pthread_mutex_unlock(&history->lock);
}

size_t
history_count_changes(struct history *history)
{
	size_t count;

	pthread_mutex_lock(&history->lock);
	count = history->change_count;
	pthread_mutex_unlock(&history->lock);
	return count;
}

/* --- unpacking ------------------------------------------------------------ */

static void
restore_subjects(
    struct history_subjects *keys, const Explainapi__RememberedAction *message)
{
	for (size_t i = 0; i < message->n_subjects; i++) {
		const ProtobufCBinaryData *subject = &message->subjects[i];

		if (subject->len != SUBJECT_SIZE ||
		    subject->data[0] >= SUBJECTS)
			continue;
		memcpy(
		    keys->keys[subject->data[0]], subject->data, SUBJECT_SIZE);
		keys->present[subject->data[0]] = true;
	}
}

static bool
time_is_sound(const Google__Protobuf__Timestamp *time)
{
	return time == NULL ||
	       (time->seconds >= 0 && time->seconds <= TIME_SECONDS_MAX &&
		   time->nanos >= 0 && time->nanos < 1000000000);
}

/* Nothing when it is damaged. */
static void
restore_miss(struct entry *entry, const Explainapi__Miss *message)
{
	struct error ignored;

	if (!time_is_sound(message->time))
		return;
	entry->missed = true;
	entry->miss.cause = explain_cause_parse(str_from(message->cause));
	entry->miss.has_previous = message->previous_action_digest != NULL &&
				   digest_from_message(entry->action.function,
				       message->previous_action_digest,
				       &entry->miss.previous, &ignored) == 0;
	if (message->time != NULL)
		entry->miss.time_ns =
		    message->time->seconds * 1000000000 + message->time->nanos;
	entry->miss_invocation =
	    history_copy_text(binary_str(message->invocation_id));
	entry->summary = history_copy_text(binary_str(message->summary));
}

struct restored {
	struct entry *entry;
	struct history_subjects subjects;
};

/* entry NULL when it is malformed. */
static void
restore_entry(struct history *history, struct restored *restored,
    const struct history_record *record)
{
	const Explainapi__RememberedAction *message;
	struct entry *entry;
	struct digest action;
	struct error ignored;
	struct arena arena;

	*restored = (struct restored){.entry = NULL};
	arena_init(&arena, RECORD_ARENA);
	message =
	    protos_unpack(&arena, &explainapi__remembered_action__descriptor,
		record->value, &ignored);
	if (message == NULL || message->action_digest == NULL ||
	    message->used_ns < 0 ||
	    message->used_ns / 1000000000 > TIME_SECONDS_MAX ||
	    digest_from_message((enum digest_function)message->digest_function,
		message->action_digest, &action, &ignored) < 0)
		goto out;
	entry = history_entry_new(binary_str(message->instance_name), &action);
	entry->target = history_copy_text(binary_str(message->target));
	entry->mnemonic = history_copy_text(binary_str(message->mnemonic));
	entry->invocation =
	    history_invocation(history, binary_str(message->invocation_id));
	entry->used_ns = message->used_ns;
	entry->result = message->result;
	entry->number = record->number;
	entry->stored = true;
	if (message->miss != NULL)
		restore_miss(entry, message->miss);
	restore_subjects(&restored->subjects, message);
	restored->entry = entry;
out:
	arena_clear(&arena);
}

static int
compare_use(const void *left, const void *right)
{
	const struct restored *a = left;
	const struct restored *b = right;

	return (a->entry->used_ns > b->entry->used_ns) -
	       (a->entry->used_ns < b->entry->used_ns);
}

/* The record of one that cannot be taken in goes. */
static size_t
insert_restored(struct history *history, struct restored *list, size_t count)
{
	size_t inserted = 0;

	/* The latest last, so that it ends up first. */
	qsort(list, count, sizeof(*list), compare_use);
	for (size_t i = 0; i < count; i++) {
		struct entry *entry = list[i].entry;

		if (map_get(&history->actions, entry->key) == NULL) {
			history_insert(history, entry, &list[i].subjects);
			inserted++;
		} else {
			history_remove_record(history, entry->number);
			history_entry_free(entry);
		}
	}
	return inserted;
}

size_t
history_restore(
    struct history *history, const struct history_record *records, size_t count)
{
	struct restored *list = xcalloc(count + 1, sizeof(*list));
	size_t restored = 0;

	pthread_mutex_lock(&history->lock);
	for (size_t i = 0; i < count; i++) {
		const struct history_record *record = &records[i];

		if (record->number > history->last_number)
			history->last_number = record->number;
		restore_entry(history, &list[restored], record);
		if (list[restored].entry != NULL)
			restored++;
		else
			history_remove_record(history, record->number);
	}
	restored = insert_restored(history, list, restored);
	history_shrink(history);
	pthread_mutex_unlock(&history->lock);
	free(list);
	return restored;
}
