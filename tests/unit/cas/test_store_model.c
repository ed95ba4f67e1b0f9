/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store against a model: random puts, look-ups, reads, action results,
 * pins, collections, removal of results, repairs, restarts and kills, with
 * every answer checked against what the store has promised until then. The
 * same promises under threads: test_collector_threads.c.
 *
 * The model lives in shared memory; a child works on the store, so that it can
 * be killed at any moment and the next one goes on. What was only touched since
 * the last clean end may be forgotten by a kill (touches are written every few
 * seconds), what was written may not.
 *
 * MODEL_SEED=n replays one seed; MODEL_STEPS=n sets the steps of each seed.
 */
#include "collector_fixture.h"
#include "owner_fixture.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "cas/pins.h"
#include "cas/provenance.h"
#include "cas/remove_results.h"
#include "cas/repair.h"

#define BLOBS 300
#define LARGE_BLOBS 20
#define ACTIONS 60
#define ACTION_BLOBS 3
#define WORKERS 7
#define SEEDS 10
#define STEPS_DEFAULT 100000
#define MIN_AGE (3 * HOUR_MS)
#define SIZE_LIMIT ((uint64_t)2 << 20)
/* Of one writer, and of another; a third of all blobs is nobody's. */
#define QUOTA ((uint64_t)600 << 10)
#define FLOOR ((uint64_t)200 << 10)

/* Promises end at these times of the fake clock, in ms. */
struct promise {
	int64_t until;   /* as given */
	int64_t durable; /* what of it survives a kill */
};

struct model {
	uint64_t seed;
	uint64_t random;
	uint64_t step;
	int64_t offset_ms; /* of the fake clock */
	struct promise blobs[BLOBS];
	struct promise actions[ACTIONS];
	bool pinned[BLOBS];
	uint64_t kills;
	uint64_t refused;
	uint64_t collected;
	char failure[256];
};

struct run {
	struct model *model;
	struct store *store;
	struct collector *collector;
	const struct fixture *fixture;
	struct digest digests[BLOBS];
	char *contents[BLOBS];
	uint16_t owners[3];
};

static uint64_t
random_next(struct model *model)
{
	uint64_t x = model->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	model->random = x;
	return x >> 11;
}

static uint64_t
random_below(struct model *model, uint64_t limit)
{
	return random_next(model) % limit;
}

static size_t
length_of(size_t blob)
{
	if (blob < LARGE_BLOBS)
		return (70 << 10) + blob * 1000;
	return 50 + blob * 37 % 9000;
}

static size_t
blob_of_action(size_t action, size_t i)
{
	return (action * 7 + i * 101) % BLOBS;
}

static int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Ends the child: the parent prints it. */
static void __attribute__((format(printf, 2, 3)))
violated(struct run *run, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(run->model->failure, sizeof(run->model->failure), format,
	    arguments);
	va_end(arguments);
	_exit(3);
}

/* --- promises ------------------------------------------------------------- */

static bool
promised(const struct run *run, size_t blob)
{
	return run->model->pinned[blob] ||
	       now_ms() < run->model->blobs[blob].until;
}

static void
promise_blob(struct run *run, size_t blob, bool written)
{
	struct promise *promise = &run->model->blobs[blob];

	promise->until = now_ms() + MIN_AGE;
	if (written)
		promise->durable = promise->until;
}

static void
promises_are_durable(struct model *model)
{
	for (size_t i = 0; i < BLOBS; i++)
		model->blobs[i].durable = model->blobs[i].until;
	for (size_t i = 0; i < ACTIONS; i++)
		model->actions[i].durable = model->actions[i].until;
}

static void
promises_after_kill(struct model *model)
{
	for (size_t i = 0; i < BLOBS; i++)
		model->blobs[i].until = model->blobs[i].durable;
	for (size_t i = 0; i < ACTIONS; i++)
		model->actions[i].until = model->actions[i].durable;
	model->kills++;
	model->failure[0] = '\0';
}

/* --- steps ---------------------------------------------------------------- */

static bool
step_find(struct run *run, size_t blob)
{
	bool due = promised(run, blob), missing;
	struct error err;

	if (store_find_missing(
		run->store, &run->digests[blob], 1, &missing, &err) < 0)
		violated(run, "find: %s", err.text);
	if (missing && due)
		violated(run, "blob %zu is missing", blob);
	if (!missing)
		promise_blob(run, blob, false);
	return !missing;
}

static void
step_read(struct run *run, size_t blob)
{
	bool due = promised(run, blob);
	struct buffer content;
	struct error err;
	int rc;

	buffer_init(&content, length_of(blob));
	rc = store_read(run->store, &run->digests[blob], &content, &err);
	if (rc < 0)
		violated(run, "read of blob %zu: %s", blob, err.text);
	if (rc == 0 && due)
		violated(run, "blob %zu cannot be read", blob);
	if (rc == 1 &&
	    (content.len != length_of(blob) ||
		memcmp(content.data, run->contents[blob], content.len) != 0))
		violated(run, "blob %zu has another content", blob);
	if (rc == 1)
		promise_blob(run, blob, false);
	buffer_clear(&content);
}

static void
step_put(struct run *run, size_t blob)
{
	bool there = step_find(run, blob);
	struct error err;

	switch (put_content_by(run->store, run->owners[blob % 3],
	    &run->digests[blob], run->contents[blob], length_of(blob), &err)) {
	case ERROR_OK:
		promise_blob(run, blob, !there);
		if (!there && blob % 3 == 1 &&
		    use_of(run->store, "quota").bytes > QUOTA)
			violated(run, "a write went beyond a quota");
		return;
	case ERROR_RESOURCE_EXHAUSTED:
		run->model->refused++;
		return;
	default:
		violated(run, "put of blob %zu: %s", blob, err.text);
	}
}

static const char *
worker_of(size_t action, char name[static 32])
{
	snprintf(name, 32, "builder-%zu", action % WORKERS);
	return name;
}

static void
step_put_action(struct run *run, size_t action)
{
	struct provenance provenance = {.toolchain_count = 0};
	struct digest blobs[ACTION_BLOBS];
	char worker[32];
	bool due = true;
	struct error err;

	for (size_t i = 0; i < ACTION_BLOBS; i++) {
		size_t blob = blob_of_action(action, i);

		blobs[i] = run->digests[blob];
		due = due && promised(run, blob);
	}
	provenance.worker = str_from(worker_of(action, worker));
	if (put_action_from(run->store, 100000 + action, blobs, ACTION_BLOBS,
		&provenance, &err) < 0) {
		if (err.code == ERROR_RESOURCE_EXHAUSTED)
			run->model->refused++;
		else if (err.code != ERROR_FAILED_PRECONDITION || due)
			violated(run, "result %zu: %s", action, err.text);
		return;
	}
	for (size_t i = 0; i < ACTION_BLOBS; i++)
		promise_blob(run, blob_of_action(action, i), false);
	/* The result is written, its blobs were touched. */
	run->model->actions[action].until = now_ms() + MIN_AGE;
}

static bool
step_get_action(struct run *run, size_t action)
{
	bool due = now_ms() < run->model->actions[action].until;

	if (!has_action(run->store, 100000 + action)) {
		if (due)
			violated(run, "result %zu is missing", action);
		return false;
	}
	run->model->actions[action].until = now_ms() + MIN_AGE;
	for (size_t i = 0; i < ACTION_BLOBS; i++)
		promise_blob(run, blob_of_action(action, i), false);
	return true;
}

static void
step_pin(struct run *run, size_t blob)
{
	char name[32];
	struct pin pin = {.kind = PIN_BLOB, .digest = run->digests[blob]};
	bool due = promised(run, blob);
	struct error err;

	snprintf(name, sizeof(name), "pin %zu", blob);
	pin.name = str_from(name);
	if (run->model->pinned[blob]) {
		/* Asked for: from now on it may go. */
		run->model->pinned[blob] = false;
		if (pin_remove(run->store, pin.name, &err) != 1)
			violated(run, "the pin of blob %zu is lost", blob);
		return;
	}
	if (pin_set(run->store, &pin, &err) < 0) {
		if (err.code != ERROR_FAILED_PRECONDITION || due)
			violated(run, "pin %zu: %s", blob, err.text);
		return;
	}
	run->model->pinned[blob] = true;
	promise_blob(run, blob, false);
}

/* Without kills, no result is left that lacks a blob. */
static void
check_results(struct run *run)
{
	struct store_usage usage;
	uint64_t complete = 0;

	store_usage(run->store, &usage);
	for (size_t i = 0; i < ACTIONS; i++)
		complete += step_get_action(run, i);
	if (complete != usage.action_results)
		violated(run, "%llu results are there, %llu are complete",
		    (unsigned long long)usage.action_results,
		    (unsigned long long)complete);
}

/* What each has is counted right, whatever happened before. */
static void
check_owners(struct run *run, uint64_t floored)
{
	struct error err;

	if (!owners_add_up(run->store, &err))
		violated(run, "%s", err.text);
	if (use_of(run->store, "floor").bytes < floored)
		violated(run, "a collection went below a floor");
}

static void
step_collect(struct run *run)
{
	uint64_t floored = use_of(run->store, "floor").bytes;
	struct collection_wish wish = {.run = random_below(run->model, 4) != 0,
	    .sized = random_below(run->model, 4) != 0,
	    .target_size = random_below(run->model, SIZE_LIMIT)};
	struct collection_report report;
	struct error err;

	if (random_below(run->model, 4) == 0) {
		wish.instance = STR("quota");
		wish.target_size /= 4;
	}
	if (collector_collect(run->collector, &wish, &report, &err) < 0)
		violated(run, "collection: %s", err.text);
	check_owners(run, floored < FLOOR ? floored : FLOOR);
	if (wish.run && (report.blobs > 0 || report.results > 0)) {
		run->model->collected += report.blobs;
		if (report.youngest_age_ms < MIN_AGE)
			violated(run, "something %lld ms old went",
			    (long long)report.youngest_age_ms);
	}
	if (wish.run && run->model->kills == 0 &&
	    random_below(run->model, 8) == 0)
		check_results(run);
}

/* The results of one worker go, and no others. */
static void
step_remove(struct run *run, size_t action)
{
	char worker[32];
	const struct result_removal removal = {
	    .filter = {.worker = worker_of(action, worker)}, .run = true};
	struct result_removal_report report;
	struct error err;

	if (results_remove(run->store, &removal, &report, &err) < 0)
		violated(run, "rm: %s", err.text);
	if (report.removed != report.matched)
		violated(run, "rm: %llu of %llu",
		    (unsigned long long)report.removed,
		    (unsigned long long)report.matched);
	for (size_t i = action % WORKERS; i < ACTIONS; i += WORKERS) {
		run->model->actions[i] = (struct promise){0, 0};
		if (has_action(run->store, 100000 + i))
			violated(run, "result %zu is still there", i);
	}
}

static void
tell_nobody(void *cookie, const char *what, const char *why)
{
	(void)cookie;
	(void)what;
	(void)why;
}

/* Between two openings. */
static void
step_repair(struct run *run)
{
	const struct repair_options options = {
	    .path = run->fixture->path, .tell = tell_nobody};
	struct repair_report report;
	struct error err;

	if (store_repair(&options, &report, &err) < 0)
		violated(run, "repair: %s", err.text);
	/* A kill amid a collection may leave results that lack a blob; those
	 * that are promised are looked for by the next steps. */
	if (run->model->kills > 0)
		report.dropped_results = 0;
	if (repair_lost_something(&report))
		violated(run, "repair has lost something");
}

static void
step(struct run *run)
{
	struct model *model = run->model;
	uint64_t what = random_below(model, 1000);
	size_t blob = (size_t)random_below(model, BLOBS);
	size_t action = (size_t)random_below(model, ACTIONS);

	/* Mostly a few, and others later, so that some grow old. */
	if (random_below(model, 50) != 0) {
		blob = (blob % 40 + model->step / 500 * 17) % BLOBS;
		action = (action % 6 + model->step / 500 * 5) % ACTIONS;
	}
	if (what < 450)
		step_find(run, blob);
	else if (what < 650)
		step_read(run, blob);
	else if (what < 800)
		step_put(run, blob);
	else if (what < 830)
		step_put_action(run, action);
	else if (what < 960)
		step_get_action(run, action);
	else if (what < 970)
		step_pin(run, blob / 6 * 6);
	else if (what < 976)
		step_collect(run);
	else if (what < 990) {
		model->offset_ms +=
		    (int64_t)random_below(model, 150) * MINUTE_MS;
		atomic_store(&clock_offset_ms, model->offset_ms);
	} else if (what < 991)
		step_remove(run, action);
}

/* --- children ------------------------------------------------------------- */

static void
run_open(struct run *run)
{
	struct collector_options options = {.min_age_ms = MIN_AGE};
	const struct owner_limits limits[] = {
	    {.instance = STR("quota"), .quota = QUOTA},
	    {.instance = STR("floor"), .floor = FLOOR}};
	struct error err;

	run->store = store_open(&run->fixture->options, &err);
	if (run->store == NULL)
		violated(run, "the store does not open: %s", err.text);
	options.store = run->store;
	run->collector = collector_new(&options, &err);
	if (store_set_owner_limits(run->store, limits, 2, &err) < 0)
		violated(run, "limits: %s", err.text);
	run->owners[1] = owner_named(run->store, "quota");
	run->owners[2] = owner_named(run->store, "floor");
	check_owners(run, 0);
}

static void
run_close(struct run *run)
{
	collector_free(run->collector);
	store_close(run->store);
	promises_are_durable(run->model);
}

static void
child(struct run *run, uint64_t until)
{
	struct model *model = run->model;

	atomic_store(&clock_offset_ms, model->offset_ms);
	run_open(run);
	/* All that was promised is there, with its content. */
	for (size_t i = 0; i < BLOBS; i++) {
		if (promised(run, i))
			step_read(run, i);
	}
	while (model->step < until) {
		model->step++;
		step(run);
		if (random_below(model, 20000) == 0) {
			run_close(run);
			if (random_below(model, 2) == 0)
				step_repair(run);
			run_open(run);
		}
	}
	run_close(run);
	_exit(0);
}

static uint64_t
setting(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

/* One child after the other, until the steps are done. */
static void
run_seed(struct run *run, uint64_t steps, bool kills)
{
	struct model *model = run->model;
	uint64_t begun, patience = 3000;
	int status = 0;

	while (model->step < steps) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			child(run, steps);
		begun = model->step;
		if (kills) {
			usleep((useconds_t)(random_below(model, 150000) +
					    patience));
			kill(pid, SIGKILL);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		/* A slow machine may need longer to open the store. */
		patience = model->step == begun ? 2 * patience : 3000;
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
			promises_after_kill(model);
			continue;
		}
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			fail_msg("MODEL_SEED=%llu step %llu: %s (status %x)",
			    (unsigned long long)model->seed,
			    (unsigned long long)model->step, model->failure,
			    (unsigned)status);
	}
}

static void
model_holds(uint64_t seed, uint64_t steps)
{
	struct fixture fixture = {.path = "/dev/shm/toolroot-model-XXXXXX"};
	struct run run = {.fixture = &fixture};
	struct error err;

	/* In memory, where a sync costs nothing: only kills are meant. */
	if (mkdtemp(fixture.path) == NULL) {
		strcpy(fixture.path, "/tmp/toolroot-model-XXXXXX");
		assert_non_null(mkdtemp(fixture.path));
	}
	fixture.options = (struct store_options){.path = fixture.path,
	    .max_size = SIZE_LIMIT,
	    .segment_size = 256 << 10,
	    .small_limit = 16 << 10};
	run.model = mmap(NULL, sizeof(*run.model), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(run.model != MAP_FAILED);
	run.model->seed = seed;
	run.model->random = seed * 0x9e3779b97f4a7c15u + 1;
	for (size_t i = 0; i < BLOBS; i++) {
		run.contents[i] = make_content(seed * 1000 + i, length_of(i));
		digest_compute(DIGEST_SHA256, run.contents[i], length_of(i),
		    &run.digests[i]);
	}
	/* Odd seeds are killed, even ones only closed and opened. */
	run_seed(&run, steps, seed % 2 == 1);
	printf("# seed %llu: %llu steps, %llu kills, %llu blobs collected, "
	       "%llu writes refused\n",
	    (unsigned long long)seed, (unsigned long long)run.model->step,
	    (unsigned long long)run.model->kills,
	    (unsigned long long)run.model->collected,
	    (unsigned long long)run.model->refused);
	assert_true(steps < 10000 || run.model->collected > 0);
	for (size_t i = 0; i < BLOBS; i++)
		free(run.contents[i]);
	munmap(run.model, sizeof(*run.model));
	if (file_remove_tree(fixture.path, &err) < 0)
		fail_msg("%s", err.text);
}

static void
every_promise_is_kept(void **state)
{
	uint64_t steps = setting("MODEL_STEPS", STEPS_DEFAULT);
	uint64_t seed = setting("MODEL_SEED", 0);

	(void)state;
	if (seed != 0) {
		model_holds(seed, steps);
		return;
	}
	for (seed = 1; seed <= SEEDS; seed++)
		model_holds(seed, steps);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_promise_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
