/* SPDX-License-Identifier: Apache-2.0 */
/* How much of the processor explaining takes: clocks are given. */
#include "frontend/explain_pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS INT64_C(1000000)

struct scene {
	struct explain_pace pace;
	struct explain_clocks now;
};

static void
scene_init(struct scene *scene, int64_t processors)
{
	*scene = (struct scene){.now = {.wall = 1000 * MS}};
	explain_pace_init(&scene->pace, processors);
	explain_pace_begin(&scene->pace, &scene->now);
}

/* Time passes; others and we used so much of it. */
static int
pass(struct scene *scene, int64_t wall, int64_t others, int64_t own)
{
	scene->now.wall += wall;
	scene->now.process += others + own;
	scene->now.own += own;
	return explain_pace_look(&scene->pace, &scene->now);
}

static void
a_quiet_server_explains_without_a_pause(void **state)
{
	struct scene scene;

	(void)state;
	scene_init(&scene, 2);
	assert_int_equal(pass(&scene, 100 * MS, 10 * MS, 0), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(pass(&scene, 10 * MS, 0, 10 * MS), 0);
}

/* Always something to explain, while others use so much of each millisecond,
 * and we wait so much for each that we use. Returns what we took. */
static int64_t
work(struct scene *scene, int64_t others, int64_t waited)
{
	int64_t begun = scene->now.own;

	for (int64_t end = scene->now.wall + 100000 * MS;
	     scene->now.wall < end;) {
		int pause;

		scene->now.waited += waited / 4;
		pause = pass(scene, (MS + waited) / 4, others / 4, MS / 4);
		while (pause > 0)
			pause = pass(scene, pause * MS, pause * others, 0);
	}
	return scene->now.own - begun;
}

static void
of_a_busy_server_it_takes_a_thousandth(void **state)
{
	struct scene scene;

	(void)state;
	scene_init(&scene, 2);
	assert_in_range(work(&scene, 3 * MS / 2, 0), 100000 * MS * 2 / 1000 / 2,
	    100000 * MS * 2 / 1000 * 3 / 2);
}

static void
so_it_does_where_others_have_the_processors(void **state)
{
	struct scene scene;

	(void)state;
	scene_init(&scene, 2);
	assert_in_range(work(&scene, MS / 100, MS), 100000 * MS * 2 / 1000 / 2,
	    100000 * MS * 2 / 1000 * 3 / 2);
}

static void
of_many_processors_it_needs_little(void **state)
{
	struct scene scene;

	(void)state;
	scene_init(&scene, 256);
	assert_in_range(work(&scene, 200 * MS, 0), 100000 * MS * 8 / 1000 / 2,
	    100000 * MS * 8 / 1000 * 3 / 2);
}

static void
it_catches_up_when_the_server_is_quiet_again(void **state)
{
	struct scene scene;

	(void)state;
	scene_init(&scene, 2);
	pass(&scene, 100 * MS, 190 * MS, 0);
	assert_int_not_equal(pass(&scene, MS, MS, 30 * MS), 0);
	assert_int_equal(pass(&scene, 50 * MS, MS, 0), 0);
	assert_int_equal(pass(&scene, 50 * MS, MS, 45 * MS), 0);
}

static void
and_when_the_machine_is(void **state)
{
	struct scene scene;
	int pauses = 0;

	(void)state;
	scene_init(&scene, 2);
	scene.now.waited += 5 * MS;
	assert_int_not_equal(pass(&scene, 10 * MS, 0, 5 * MS), 0);
	for (int i = 0; i < 200; i++)
		pauses += pass(&scene, 50 * MS, 0, MS / 4) > 0;
	assert_in_range(pauses, 1, 50);
}

static void
a_part_of_many_processors_is_not_busy(void **state)
{
	struct scene scene;

	(void)state;
	scene_init(&scene, 64);
	pass(&scene, 100 * MS, 400 * MS, 0);
	assert_int_equal(pass(&scene, 50 * MS, 200 * MS, 50 * MS), 0);
}

static void
a_long_rest_says_nothing_of_now(void **state)
{
	struct scene scene;

	(void)state;
	scene_init(&scene, 2);
	scene.now.wall += 3600 * 1000 * MS;
	explain_pace_begin(&scene.pace, &scene.now);
	pass(&scene, 100 * MS, 190 * MS, 0);
	assert_int_not_equal(pass(&scene, MS, MS, 30 * MS), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_quiet_server_explains_without_a_pause),
	    cmocka_unit_test(of_a_busy_server_it_takes_a_thousandth),
	    cmocka_unit_test(so_it_does_where_others_have_the_processors),
	    cmocka_unit_test(of_many_processors_it_needs_little),
	    cmocka_unit_test(it_catches_up_when_the_server_is_quiet_again),
	    cmocka_unit_test(and_when_the_machine_is),
	    cmocka_unit_test(a_part_of_many_processors_is_not_busy),
	    cmocka_unit_test(a_long_rest_says_nothing_of_now),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
