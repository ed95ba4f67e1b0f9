/* SPDX-License-Identifier: Apache-2.0 */
/* Notes of many threads, as the one that looks at them gets them. */
#include "frontend/note_queue.h"

#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/thread.h"
#include "cas/store.h"
#include "frontend/note.h"

#define MEMORY (24u << 20)
#define TARGET_LEN 1000

/* What a note tells of itself: who made it, and its place among those. */
struct mark {
	uint32_t maker;
	uint32_t number;
};

/* Some builds one beside the other. */
static struct str
build_of(struct mark mark)
{
	static const char *const builds[] = {"build", "0123456789", ""};

	return str_from(builds[mark.number % 3]);
}

/* Of hits every other is of an action that is remembered, but of large ones. */
static void
put(struct note_queue *queue, bool hit, struct mark mark, size_t target_len)
{
	static const char target[NOTE_TEXT_MAX + 1];
	struct note_texts texts = {
	    build_of(mark), STR("CppCompile"), {target, target_len}};
	struct note what = {.result = true, .hit = hit ? A_HIT : NOT_A_HIT};
	struct action_key key = {.instance = STR("team")};

	digest_compute(DIGEST_SHA256, &mark, sizeof(mark), &key.action);
	memcpy(key.action.hash, &mark, sizeof(mark));
	if (hit && target_len < TARGET_LEN && mark.number / 2 % 2 == 1) {
		if (note_queue_add_known(queue, &key, build_of(mark)))
			return;
		what.hit = A_KNOWN_HIT;
		texts.mnemonic = texts.target = STR("");
	}
	if (hit)
		note_queue_add_hit(queue, &what, &key, &texts);
	else
		note_queue_add(queue, &what, &key, &texts);
}

/* False: none waits. */
static bool
get(struct note_queue *queue, struct mark *mark, bool *hit)
{
	const struct note *note = note_queue_next(queue);
	struct action_key key;
	struct note_texts texts;

	*mark = (struct mark){0, 0};
	*hit = false;
	if (note == NULL)
		return false;
	note_read(note, &key, &texts);
	memcpy(mark, key.action.hash, sizeof(*mark));
	assert_true(str_equal(key.instance, STR("team")));
	assert_true(str_equal(texts.invocation, build_of(*mark)));
	assert_true(str_equal(texts.mnemonic,
	    note->hit == A_KNOWN_HIT ? STR("") : STR("CppCompile")));
	if (note->hit == A_KNOWN_HIT)
		assert_int_equal(mark->number / 2 % 2, 1);
	assert_true(texts.target.len <= NOTE_TEXT_MAX);
	assert_int_equal(key.action.size, sizeof(*mark));
	assert_int_equal(key.action.function, DIGEST_SHA256);
	*hit = note->hit != NOT_A_HIT;
	note_queue_done(queue, 1);
	return true;
}

static void
assert_next(struct note_queue *queue, uint32_t maker, uint32_t number)
{
	struct mark mark;
	bool hit;

	assert_true(get(queue, &mark, &hit));
	assert_int_equal(mark.maker, maker);
	assert_int_equal(mark.number, number);
}

static void
assert_empty(struct note_queue *queue)
{
	struct note_counts counts;

	assert_null(note_queue_next(queue));
	note_queue_count(queue, &counts);
	assert_int_equal(counts.noted, counts.done);
}

/* --- order ---------------------------------------------------------------- */

struct turn {
	struct note_queue *queue;
	struct mark mark;
	bool hit;
	size_t count;
	size_t target_len;
};

static void *
take_turn(void *argument)
{
	struct turn *turn = argument;

	for (size_t i = 0; i < turn->count; i++) {
		put(turn->queue, turn->hit, turn->mark, turn->target_len);
		turn->mark.number++;
	}
	return NULL;
}

/* On a thread of its own, which has ended then. */
static void
elsewhere(struct turn turn)
{
	pthread_t thread;

	thread_start(&thread, take_turn, &turn);
	pthread_join(thread, NULL);
}

static void
what_was_noted_first_comes_first(void **state)
{
	struct note_queue *queue = note_queue_new(MEMORY);

	(void)state;
	for (uint32_t i = 0; i < 2000; i += 4) {
		put(queue, true, (struct mark){0, i}, 100);
		elsewhere((struct turn){
		    queue, {0, i + 1}, i % 3 == 0, 1, TARGET_LEN});
		put(queue, false, (struct mark){0, i + 2}, 100);
		elsewhere((struct turn){
		    queue, {0, i + 3}, i % 3 != 0, 1, TARGET_LEN});
		put(queue, false, (struct mark){1, i}, 100);
	}
	for (uint32_t i = 0; i < 2000; i += 4) {
		struct mark first, second;
		bool hit;

		/* Of two hits of two threads either may be the first. */
		assert_true(get(queue, &first, &hit));
		assert_true(get(queue, &second, &hit));
		assert_int_equal(first.number + second.number, 2 * i + 1);
		if (i % 3 != 0)
			assert_int_equal(first.number, i);
		assert_next(queue, 0, i + 2);
		assert_next(queue, 0, i + 3);
		assert_next(queue, 1, i);
	}
	assert_empty(queue);
	note_queue_free(queue);
}

static void
and_so_it_does_while_notes_come_and_go(void **state)
{
	struct note_queue *queue = note_queue_new(MEMORY);

	(void)state;
	for (uint32_t i = 0; i < 5000; i++) {
		put(queue, false, (struct mark){0, i}, TARGET_LEN);
		put(queue, true, (struct mark){1, i}, TARGET_LEN);
		if (i % 7 == 0)
			continue;
		assert_next(queue, 0, i - (i % 7 == 1));
		assert_next(queue, 1, i - (i % 7 == 1));
		if (i % 7 == 1) {
			assert_next(queue, 0, i);
			assert_next(queue, 1, i);
		}
	}
	note_queue_free(queue);
}

/* --- known actions -------------------------------------------------------- */

static bool
add_known(struct note_queue *queue, const char *instance, const char *build,
    enum digest_function function)
{
	struct action_key key = {.instance = str_from(instance)};

	digest_compute(function, build, strlen(build), &key.action);
	return note_queue_add_known(queue, &key, str_from(build));
}

static void
tell(struct note_queue *queue, const char *instance, const char *build,
    enum digest_function function)
{
	const struct note what = {.result = true, .hit = A_KNOWN_HIT};
	const struct note_texts texts = {str_from(build), STR(""), STR("")};
	struct action_key key = {.instance = str_from(instance)};

	digest_compute(function, build, strlen(build), &key.action);
	note_queue_add_hit(queue, &what, &key, &texts);
}

static void
assert_next_is_known(
    struct note_queue *queue, const char *instance, const char *build)
{
	const struct note *note = note_queue_next(queue);
	struct note_texts texts;
	struct action_key key;
	struct digest digest;

	assert_non_null(note);
	assert_int_equal(note->hit, A_KNOWN_HIT);
	note_read(note, &key, &texts);
	digest_compute(key.action.function, build, strlen(build), &digest);
	assert_true(digest_equal(&key.action, &digest));
	assert_true(str_equal(key.instance, str_from(instance)));
	assert_true(str_equal(texts.invocation, str_from(build)));
	assert_int_equal(texts.mnemonic.len + texts.target.len, 0);
	note_queue_done(queue, 1);
}

static void
a_known_hit_refers_to_one_of_its_build(void **state)
{
	struct note_queue *queue = note_queue_new(MEMORY);

	(void)state;
	assert_false(add_known(queue, "", "one", DIGEST_SHA256));
	tell(queue, "", "one", DIGEST_SHA256);
	assert_true(add_known(queue, "", "one", DIGEST_SHA256));
	/* As long, with the same end, or in another instance. */
	assert_false(add_known(queue, "", "ore", DIGEST_SHA256));
	assert_false(add_known(queue, "", "phone", DIGEST_SHA256));
	assert_false(add_known(queue, "", "", DIGEST_SHA256));
	assert_false(add_known(queue, "team", "one", DIGEST_SHA256));
	assert_false(add_known(queue, "o", "ne", DIGEST_SHA256));
	assert_false(add_known(queue, "", "one", DIGEST_SHA512));
	tell(queue, "", "one", DIGEST_SHA512);
	tell(queue, "team", "a build with a longer name", DIGEST_SHA256);
	assert_true(add_known(
	    queue, "team", "a build with a longer name", DIGEST_SHA256));
	assert_false(add_known(
	    queue, "team", "a build with a langer name", DIGEST_SHA256));
	assert_false(add_known(
	    queue, "team", "b build with a longer name", DIGEST_SHA256));
	assert_next_is_known(queue, "", "one");
	assert_next_is_known(queue, "", "one");
	assert_next_is_known(queue, "", "one");
	assert_next_is_known(queue, "team", "a build with a longer name");
	assert_next_is_known(queue, "team", "a build with a longer name");
	assert_empty(queue);
	note_queue_free(queue);
}

static void
and_tells_it_again_where_that_is_far(void **state)
{
	enum { NOTES = 3 * NOTE_CHUNK_SIZE / NOTE_ALIGNMENT };
	struct note_queue *queue = note_queue_new(MEMORY);
	size_t told = 0;

	(void)state;
	for (int i = 0; i < NOTES; i++) {
		if (add_known(queue, "team", "one", DIGEST_SHA256))
			continue;
		tell(queue, "team", "one", DIGEST_SHA256);
		told++;
	}
	/* Once a chunk. */
	assert_in_range(told, 3, 4);
	for (int i = 0; i < NOTES; i++)
		assert_next_is_known(queue, "team", "one");
	assert_empty(queue);
	note_queue_free(queue);
}

static void
a_build_with_a_long_name_is_told_each_time(void **state)
{
	struct note_queue *queue = note_queue_new(MEMORY);
	char name[300];

	(void)state;
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	tell(queue, "", name, DIGEST_SHA256);
	assert_false(add_known(queue, "", name, DIGEST_SHA256));
	tell(queue, name, "one", DIGEST_SHA256);
	assert_false(add_known(queue, name, "one", DIGEST_SHA256));
	assert_next_is_known(queue, "", name);
	assert_next_is_known(queue, name, "one");
	assert_empty(queue);
	note_queue_free(queue);
}

/* --- bounds --------------------------------------------------------------- */

static size_t
read_all(struct note_queue *queue, struct mark *first)
{
	struct mark mark;
	size_t count = 0;
	bool hit;

	*first = (struct mark){0, 0};
	while (get(queue, &mark, &hit)) {
		if (count++ == 0)
			*first = mark;
	}
	assert_empty(queue);
	return count;
}

static void
the_oldest_are_dropped_but_of_hits_the_newest(void **state)
{
	enum { NOTES = 40000, ROOM = MEMORY / TARGET_LEN };
	struct note_queue *queue = note_queue_new(MEMORY);
	struct note_counts counts;
	struct mark first;

	(void)state;
	for (uint32_t i = 0; i < NOTES; i++)
		put(queue, true, (struct mark){0, i}, TARGET_LEN);
	note_queue_count(queue, &counts);
	assert_in_range(counts.noted, ROOM * 4 / 10, ROOM / 2);
	assert_int_equal(counts.dropped_hits, NOTES - counts.noted);
	assert_int_equal(read_all(queue, &first), counts.noted);
	assert_int_equal(first.number, 0);

	for (uint32_t i = 0; i < NOTES; i++)
		put(queue, false, (struct mark){1, i}, TARGET_LEN);
	/* A thread's first chunk is never refused. */
	elsewhere((struct turn){queue, {2, 0}, true, 1, TARGET_LEN});
	note_queue_count(queue, &counts);
	assert_in_range(
	    counts.dropped, NOTES - ROOM, NOTES - (uint64_t)ROOM * 9 / 10);
	assert_int_equal(
	    read_all(queue, &first), NOTES + 1 - (size_t)counts.dropped);
	assert_int_equal(first.maker, 1);
	assert_int_equal(first.number, counts.dropped);
	note_queue_free(queue);
}

static void
room_comes_back_when_notes_are_read(void **state)
{
	enum { NOTES = 4000 };
	struct note_queue *queue = note_queue_new(MEMORY);
	struct note_counts counts;
	struct mark first;

	(void)state;
	for (int round = 0; round < 50; round++) {
		for (uint32_t i = 0; i < NOTES; i++)
			put(queue, i % 2 == 0, (struct mark){0, i}, TARGET_LEN);
		assert_int_equal(read_all(queue, &first), NOTES);
	}
	note_queue_count(queue, &counts);
	assert_int_equal(counts.dropped + counts.dropped_hits, 0);
	note_queue_free(queue);
}

/* --- threads that end ----------------------------------------------------- */

static void
what_a_thread_noted_outlives_it(void **state)
{
	struct note_queue *queue = note_queue_new(MEMORY);
	struct mark first;

	(void)state;
	elsewhere((struct turn){queue, {7, 0}, true, 1000, TARGET_LEN});
	assert_int_equal(read_all(queue, &first), 1000);
	assert_int_equal(first.maker, 7);
	elsewhere((struct turn){queue, {8, 0}, true, 1000, TARGET_LEN});
	elsewhere((struct turn){queue, {9, 0}, true, 1, TARGET_LEN});
	/* Its lane was gone on with: it comes at the end of it. */
	for (uint32_t i = 0; i < 1000; i++)
		assert_next(queue, 8, i);
	assert_next(queue, 9, 0);
	assert_empty(queue);
	note_queue_free(queue);
}

static void
threads_that_come_and_go_take_no_room(void **state)
{
	enum { THREADS = 2000 };
	struct note_queue *queue = note_queue_new(MEMORY);
	struct note_counts counts;
	struct mark first;

	(void)state;
	for (uint32_t i = 0; i < THREADS; i++)
		elsewhere((struct turn){queue, {i, 0}, true, 1, 0});
	/* Lanes of all of them would leave nothing for this. */
	elsewhere((struct turn){queue, {0, 0}, true, 8000, TARGET_LEN});
	note_queue_count(queue, &counts);
	assert_int_equal(counts.dropped_hits, 0);
	assert_int_equal(read_all(queue, &first), THREADS + 8000);
	note_queue_free(queue);
}

static void *
note_and_free(void *argument)
{
	struct note_queue *queue = argument;

	put(queue, true, (struct mark){0, 0}, 0);
	note_queue_free(queue);
	return NULL;
}

static void
a_thread_may_end_after_the_queue(void **state)
{
	pthread_t thread;

	(void)state;
	thread_start(&thread, note_and_free, note_queue_new(MEMORY));
	pthread_join(thread, NULL);
}

/* --- all at once ---------------------------------------------------------- */

enum { MAKERS = 4, LIVES = 25, LIFE = 800, MADE = LIVES * LIFE };

struct maker {
	struct note_queue *queue;
	pthread_t thread;
	uint32_t number;
	atomic_uint *running;
};

struct life {
	struct maker *maker;
	uint32_t first;
};

static void *
live(void *argument)
{
	const struct life *life = argument;

	for (uint32_t i = life->first; i < life->first + LIFE; i++)
		put(life->maker->queue, i % 10 != 3,
		    (struct mark){life->maker->number, i}, i % 100);
	return NULL;
}

/* One thread after the other. */
static void *
make(void *argument)
{
	struct maker *maker = argument;

	for (uint32_t i = 0; i < LIVES; i++) {
		struct life life = {maker, i * LIFE};
		pthread_t thread;

		thread_start(&thread, live, &life);
		pthread_join(thread, NULL);
	}
	atomic_fetch_sub(maker->running, 1);
	return NULL;
}

/* Of each maker the hits between two others come between them, and all come
 * once. */
static void
check(struct note_queue *queue, uint32_t seen[static MAKERS],
    uint32_t hits[static MAKERS])
{
	struct note_counts counts;
	struct mark mark;
	bool hit;

	while (get(queue, &mark, &hit)) {
		assert_in_range(mark.maker, 0, MAKERS - 1);
		if (!hit) {
			assert_int_equal(mark.number % 10, 3);
			assert_int_equal(mark.number, seen[mark.maker]);
			seen[mark.maker] += 10;
			hits[mark.maker] += 1;
		} else {
			assert_int_equal(
			    (mark.number + 6) / 10 * 10 + 3, seen[mark.maker]);
			hits[mark.maker] += 1;
		}
		note_queue_count(queue, &counts);
		assert_true(counts.done <= counts.noted);
	}
}

static void
many_threads_lose_nothing(void **state)
{
	atomic_uint running = MAKERS;
	struct note_queue *queue = note_queue_new(MEMORY);
	uint32_t seen[MAKERS], came[MAKERS] = {0};
	struct maker makers[MAKERS];
	struct note_counts counts;
	bool over;

	(void)state;
	for (uint32_t i = 0; i < MAKERS; i++) {
		seen[i] = 3;
		makers[i] = (struct maker){
		    .queue = queue, .number = i, .running = &running};
		thread_start(&makers[i].thread, make, &makers[i]);
	}
	do {
		/* Asked first. */
		over = atomic_load(&running) == 0;
		check(queue, seen, came);
	} while (!over);
	for (uint32_t i = 0; i < MAKERS; i++) {
		pthread_join(makers[i].thread, NULL);
		assert_int_equal(came[i], MADE);
	}
	assert_empty(queue);
	note_queue_count(queue, &counts);
	assert_int_equal(counts.noted, MAKERS * MADE);
	assert_int_equal(counts.dropped + counts.dropped_hits, 0);
	note_queue_free(queue);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_was_noted_first_comes_first),
	    cmocka_unit_test(and_so_it_does_while_notes_come_and_go),
	    cmocka_unit_test(a_known_hit_refers_to_one_of_its_build),
	    cmocka_unit_test(and_tells_it_again_where_that_is_far),
	    cmocka_unit_test(a_build_with_a_long_name_is_told_each_time),
	    cmocka_unit_test(the_oldest_are_dropped_but_of_hits_the_newest),
	    cmocka_unit_test(room_comes_back_when_notes_are_read),
	    cmocka_unit_test(what_a_thread_noted_outlives_it),
	    cmocka_unit_test(threads_that_come_and_go_take_no_room),
	    cmocka_unit_test(a_thread_may_end_after_the_queue),
	    cmocka_unit_test(many_threads_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
