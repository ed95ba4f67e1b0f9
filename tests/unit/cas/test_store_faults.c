/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults at each system call of commits and collections: the process ends
 * there, or the call fails with EIO or ENOSPC. Afterwards the store opens, all
 * that was acknowledged is there with its content, nothing torn is served, and
 * a collection runs to its end.
 *
 * This program's own functions stand before the C library's, for the store and
 * for LMDB. A child works; the parent looks. FAULT_STRIDE=1 takes every call.
 */
#include "collector_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "cas/pins.h"

#define MIN_AGE (3 * HOUR_MS)
#define OLD_SMALL 120
#define OLD_LARGE 8
#define NEW_SMALL 12
#define NEW_LARGE 3
#define SMALL ((size_t)3000)
#define LARGE ((size_t)40000)
#define EVERY 6 /* old ones that were found lately */

enum fault { FAULT_NONE, FAULT_CRASH, FAULT_EIO, FAULT_ENOSPC };

/* Shared with the child. */
struct shared {
	atomic_uint calls;
	unsigned at; /* the call that fails; 0 = none */
	enum fault fault;
	atomic_bool armed;
	bool small[NEW_SMALL]; /* acknowledged */
	bool large[NEW_LARGE];
	bool pinned;
	bool acted;
};

static struct shared *shared;

/* True when this call is to fail; errno is set. */
static bool
fault_here(void)
{
	if (shared == NULL || !atomic_load(&shared->armed) ||
	    atomic_fetch_add(&shared->calls, 1) + 1 != shared->at)
		return false;
	if (shared->fault == FAULT_CRASH)
		_exit(7);
	errno = shared->fault == FAULT_EIO ? EIO : ENOSPC;
	return true;
}

/* --- before the C library ------------------------------------------------- */

int
fdatasync(int fd)
{
	return fault_here() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int
fsync(int fd)
{
	return fault_here() ? -1 : (int)syscall(SYS_fsync, fd);
}

ssize_t
pwrite(int fd, const void *data, size_t len, off_t offset)
{
	/* A fault may leave a part. */
	if (fault_here()) {
		(void)syscall(SYS_pwrite64, fd, data, len / 2, offset);
		return -1;
	}
	return syscall(SYS_pwrite64, fd, data, len, offset);
}

ssize_t
pwritev(int fd, const struct iovec *vector, int count, off_t offset)
{
	if (fault_here()) {
		(void)syscall(SYS_pwrite64, fd, vector[0].iov_base,
		    vector[0].iov_len / 2, offset);
		return -1;
	}
	return syscall(SYS_pwritev, fd, vector, count, offset, 0);
}

ssize_t
write(int fd, const void *data, size_t len)
{
	if (fd > 2 && fault_here())
		return -1;
	return syscall(SYS_write, fd, data, len);
}

ssize_t
writev(int fd, const struct iovec *vector, int count)
{
	if (fd > 2 && fault_here())
		return -1;
	return syscall(SYS_writev, fd, vector, count);
}

int
renameat(int from, const char *old, int to, const char *name)
{
	return fault_here() ? -1
			    : (int)syscall(SYS_renameat, from, old, to, name);
}

int
unlinkat(int fd, const char *name, int flags)
{
	return fault_here() ? -1 : (int)syscall(SYS_unlinkat, fd, name, flags);
}

int
ftruncate(int fd, off_t length)
{
	return fault_here() ? -1 : (int)syscall(SYS_ftruncate, fd, length);
}

/* --- the work ------------------------------------------------------------- */

static bool
put_quietly(struct store *store, uint64_t seed, size_t len)
{
	char *data = make_content(seed, len);
	struct digest digest;
	struct error err;
	bool stored;

	digest_compute(DIGEST_SHA256, data, len, &digest);
	stored = put_content(store, &digest, data, len, &err) == ERROR_OK;
	free(data);
	return stored;
}

static void
collect_quietly(struct store *store)
{
	const struct collector_options options = {
	    .store = store, .min_age_ms = MIN_AGE};
	const struct collection_wish wish = {.run = true, .sized = true};
	struct collection_report report;
	struct error err;
	struct collector *collector = collector_new(&options, &err);

	if (collector != NULL)
		(void)collector_collect(collector, &wish, &report, &err);
	collector_free(collector);
}

static void
work(struct store *store)
{
	struct digest blob = digest_of(2000, SMALL);
	struct pin pin = {
	    .name = STR("a pin"), .kind = PIN_BLOB, .digest = blob};
	struct error err;

	for (uint64_t i = 0; i < NEW_SMALL / 2; i++)
		shared->small[i] = put_quietly(store, 2000 + i, SMALL);
	shared->large[0] = put_quietly(store, 3000, LARGE);
	shared->pinned = shared->small[0] && pin_set(store, &pin, &err) == 0;
	collect_quietly(store);
	for (uint64_t i = NEW_SMALL / 2; i < NEW_SMALL; i++)
		shared->small[i] = put_quietly(store, 2000 + i, SMALL);
	for (uint64_t i = 1; i < NEW_LARGE; i++)
		shared->large[i] = put_quietly(store, 3000 + i, LARGE);
	shared->acted = shared->small[0] &&
			put_action_naming(store, 5000, &blob, 1, &err) == 0;
	collect_quietly(store);
}

static void __attribute__((noreturn)) child(struct fixture *fixture)
{
	struct store *store;
	struct error err;

	/* What fails is said by the store; it is meant to. */
	if (freopen("/dev/null", "w", stderr) == NULL)
		_exit(1);
	store = store_open(&fixture->options, &err);
	if (store == NULL)
		_exit(1);
	atomic_store(&shared->armed, true);
	work(store);
	store_close(store);
	_exit(0);
}

/* --- looking -------------------------------------------------------------- */

static void
look(struct fixture *fixture)
{
	struct collection_report report;

	fixture_open(fixture);
	for (int round = 0; round < 2; round++) {
		for (uint64_t i = 0; i < OLD_SMALL; i += EVERY)
			assert_content(fixture->store, i, SMALL);
		for (uint64_t i = 0; i < OLD_LARGE; i += EVERY)
			assert_content(fixture->store, 1000 + i, LARGE);
		for (uint64_t i = 0; i < NEW_SMALL; i++) {
			if (shared->small[i])
				assert_content(fixture->store, 2000 + i, SMALL);
		}
		for (uint64_t i = 0; i < NEW_LARGE; i++) {
			if (shared->large[i])
				assert_content(fixture->store, 3000 + i, LARGE);
		}
		if (shared->acted)
			assert_true(has_action(fixture->store, 5000));
		/* What else is there is whole: reading drops what is not, and
		 * says so. */
		for (uint64_t i = 0; i < OLD_SMALL; i++) {
			struct digest digest = digest_of(i, SMALL);

			if (round == 1 && !is_missing(fixture->store, &digest))
				assert_content(fixture->store, i, SMALL);
		}
		if (round == 0)
			report = collect_to(fixture, MIN_AGE, 0);
	}
	assert_true(report.young_blobs > 0);
	if (shared->pinned)
		assert_int_equal(report.roots, 1);
	store_close(fixture->store);
	fixture->store = NULL;
}

static void
copy_store(const char *from, const char *to)
{
	char command[256];

	snprintf(
	    command, sizeof(command), "rm -rf %s && cp -a %s %s", to, from, to);
	if (system(command) != 0)
		fail_msg("%s", command);
}

/* One child; returns how many calls it made. */
static unsigned
fault_at(struct fixture *fixture, const char *prepared, unsigned at,
    enum fault fault)
{
	int status;
	pid_t pid;

	copy_store(prepared, fixture->path);
	memset(shared, 0, sizeof(*shared));
	shared->at = at;
	shared->fault = fault;
	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child(fixture);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) ||
	    (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 7))
		fail_msg("fault %d at call %u: status %x", (int)fault, at,
		    (unsigned)status);
	atomic_store(&shared->armed, false);
	look(fixture);
	return atomic_load(&shared->calls);
}

static void
prepare(struct fixture *fixture, const char *prepared)
{
	fixture_open(fixture);
	for (uint64_t i = 0; i < OLD_SMALL; i++)
		put_numbered(fixture->store, i, SMALL);
	for (uint64_t i = 0; i < OLD_LARGE; i++)
		put_numbered(fixture->store, 1000 + i, LARGE);
	time_passes(fixture, 24 * HOUR_MS);
	for (uint64_t i = 0; i < OLD_SMALL; i += EVERY)
		assert_content(fixture->store, i, SMALL);
	for (uint64_t i = 0; i < OLD_LARGE; i += EVERY)
		assert_content(fixture->store, 1000 + i, LARGE);
	/* Closing writes the touches. */
	store_close(fixture->store);
	fixture->store = NULL;
	copy_store(fixture->path, prepared);
}

static void
no_fault_loses_what_was_acknowledged(void **state)
{
	struct fixture fixture = {.path = "/dev/shm/toolroot-faults-XXXXXX"};
	const char *text = getenv("FAULT_STRIDE");
	unsigned calls, stride;
	char prepared[80];
	struct error err;

	(void)state;
	if (mkdtemp(fixture.path) == NULL) {
		strcpy(fixture.path, "/tmp/toolroot-faults-XXXXXX");
		assert_non_null(mkdtemp(fixture.path));
	}
	snprintf(prepared, sizeof(prepared), "%s.prepared", fixture.path);
	fixture.options = (struct store_options){.path = fixture.path,
	    .max_size = (uint64_t)64 << 20,
	    .segment_size = 64 << 10,
	    .small_limit = 16 << 10};
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(shared != MAP_FAILED);
	prepare(&fixture, prepared);
	calls = fault_at(&fixture, prepared, 0, FAULT_NONE);
	assert_true(shared->acted && shared->pinned && shared->large[2]);
	stride =
	    text != NULL ? (unsigned)strtoul(text, NULL, 10) : calls / 60 + 1;
	printf("# %u calls, every %u\n", calls, stride);
	assert_true(calls > 50);
	for (unsigned at = 1; at <= calls; at += stride) {
		fault_at(&fixture, prepared, at, FAULT_CRASH);
		fault_at(&fixture, prepared, at, FAULT_EIO);
		fault_at(&fixture, prepared, at, FAULT_ENOSPC);
	}
	munmap(shared, sizeof(*shared));
	shared = NULL;
	if (file_remove_tree(fixture.path, &err) < 0 ||
	    file_remove_tree(prepared, &err) < 0)
		fail_msg("%s", err.text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_fault_loses_what_was_acknowledged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
