/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Faults at system calls: the process ends there, or the call fails with EIO or
 * ENOSPC. The functions here stand before the C library's, for the store and
 * for LMDB. A child works, the parent looks at what it left. FAULT_STRIDE=1
 * takes every call.
 */
#ifndef TOOLROOT_TESTS_UNIT_CAS_FAULT_FIXTURE_H
#define TOOLROOT_TESTS_UNIT_CAS_FAULT_FIXTURE_H

#include "collector_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

/* FAULT_UNSURE: what was to be written is written whole, and yet the call
 * fails; and so does the next one, which writes nothing. */
enum fault { FAULT_NONE, FAULT_CRASH, FAULT_EIO, FAULT_ENOSPC, FAULT_UNSURE };

/* Shared with the child. */
struct faults {
	atomic_uint calls;
	unsigned at; /* the call that fails; 0 = none */
	enum fault fault;
	atomic_bool first; /* of the calls that fail */
	atomic_bool armed;
};

static struct faults *faults;

/* True when this call is to fail; errno is set. */
static bool
fault_here(void)
{
	unsigned call;

	if (faults == NULL || !atomic_load(&faults->armed))
		return false;
	call = atomic_fetch_add(&faults->calls, 1) + 1;
	faults->first = call == faults->at;
	if (!faults->first && (faults->fault != FAULT_UNSURE ||
				  faults->at == 0 || call != faults->at + 1))
		return false;
	if (faults->fault == FAULT_CRASH)
		_exit(7);
	errno = faults->fault == FAULT_ENOSPC ? ENOSPC : EIO;
	return true;
}

/* How much of what a failing call was given it writes all the same. */
static size_t
fault_part(size_t len)
{
	if (faults->fault != FAULT_UNSURE)
		return len / 2;
	return faults->first ? len : 0;
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
		int number = errno;

		(void)syscall(SYS_pwrite64, fd, data, fault_part(len), offset);
		errno = number;
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

/* --- one child after the other ---------------------------------------------
 */

static inline void *
fault_share(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(memory != MAP_FAILED);
	return memory;
}

static inline void
copy_store(const char *from, const char *to)
{
	char command[256];

	snprintf(
	    command, sizeof(command), "rm -rf %s && cp -a %s %s", to, from, to);
	if (system(command) != 0)
		fail_msg("%s", command);
}

/* Runs the work in a child, with a fault at one call. Returns how many calls it
 * made. */
static inline unsigned
fault_run(struct fixture *fixture, unsigned at, enum fault fault,
    void (*work)(struct fixture *fixture))
{
	int status;
	pid_t pid;

	memset(faults, 0, sizeof(*faults));
	faults->at = at;
	faults->fault = fault;
	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* What fails is said by the store; it is meant to. */
		if (freopen("/dev/null", "w", stderr) == NULL)
			_exit(1);
		work(fixture);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) ||
	    (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 7))
		fail_msg("fault %d at call %u: status %x", (int)fault, at,
		    (unsigned)status);
	atomic_store(&faults->armed, false);
	return atomic_load(&faults->calls);
}

static inline unsigned
fault_stride(unsigned calls, unsigned about)
{
	const char *text = getenv("FAULT_STRIDE");

	return text != NULL ? (unsigned)strtoul(text, NULL, 10)
			    : calls / about + 1;
}

#endif
