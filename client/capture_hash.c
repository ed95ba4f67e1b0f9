/* SPDX-License-Identifier: Apache-2.0 */
/* Each job takes the next file of the list until none is left. */
#include "client/capture_hash.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/processors.h"
#include "base/thread_pool.h"
#include "client/capture_tree.h"
#include "client/job_group.h"

#define PIECE (1u << 20)
#define THREADS_MAX 16

struct hash_run {
	struct capture_entry **entries;
	size_t count;
	atomic_size_t next;
	enum digest_function function;
	struct capture_progress *progress; /* may be NULL */
};

struct hash_job {
	struct job job; /* first */
	struct hash_run *run;
};

static bool
same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
	       a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static int
hash_bytes(const struct hash_run *run, struct digest_hasher *hasher, int fd,
    char *piece, struct error *err)
{
	for (;;) {
		ssize_t got = read(fd, piece, PIECE);

		if (got == 0)
			return 0;
		if (got == -1 && errno == EINTR)
			continue;
		if (got == -1)
			return error_set_errno(err, errno, "read");
		digest_hasher_update(hasher, piece, (size_t)got);
		if (run->progress != NULL)
			atomic_fetch_add(&run->progress->bytes, (uint64_t)got);
	}
}

static int
hash_open(const struct hash_run *run, struct capture_entry *entry, int fd,
    char *piece, struct error *err)
{
	struct digest_hasher *hasher = digest_hasher_new(run->function);
	struct stat before, after;
	int rc = -1;

	if (fstat(fd, &before) == -1) {
		error_set_errno(err, errno, "stat");
		goto out;
	}
	if (!S_ISREG(before.st_mode)) {
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "is no regular file any more");
		goto out;
	}
	if (hash_bytes(run, hasher, fd, piece, err) < 0)
		goto out;
	if (fstat(fd, &after) == -1) {
		error_set_errno(err, errno, "stat");
		goto out;
	}
	digest_hasher_finish(hasher, &entry->digest);
	if (!same_file(&before, &after) || entry->digest.size != entry->size) {
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "changed while it was read; try again when nothing writes "
		    "there");
		goto out;
	}
	entry->hashed = true;
	rc = 0;
out:
	digest_hasher_free(hasher);
	return rc;
}

static int
hash_entry(const struct hash_run *run, struct capture_entry *entry, char *piece,
    struct error *err)
{
	/* Not to hang if a FIFO has taken the file's place. */
	int fd =
	    open(entry->source, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int rc;

	if (fd == -1)
		return error_set_errno(err, errno, "open %s", entry->source);
	rc = hash_open(run, entry, fd, piece, err);
	if (rc < 0)
		error_prefix(err, "%s", entry->source);
	else if (run->progress != NULL)
		atomic_fetch_add(&run->progress->files, 1);
	file_close(&fd);
	return rc;
}

static int
hash_some(struct job *job, struct error *err)
{
	struct hash_run *run = ((struct hash_job *)job)->run;
	char *piece = xmalloc(PIECE);
	int rc = 0;

	while (rc == 0) {
		size_t i = atomic_fetch_add(&run->next, 1);

		if (i >= run->count)
			break;
		rc = hash_entry(run, run->entries[i], piece, err);
	}
	free(piece);
	return rc;
}

/* Keeps in the run what is to be hashed. */
static void
select_files(struct hash_run *run)
{
	size_t kept = 0;
	uint64_t bytes = 0;

	for (size_t i = 0; i < run->count; i++) {
		struct capture_entry *entry = run->entries[i];

		if (entry->kind != CAPTURE_FILE || entry->hashed)
			continue;
		run->entries[kept++] = entry;
		bytes += entry->size;
	}
	run->count = kept;
	if (run->progress != NULL) {
		atomic_store(&run->progress->files_total, kept);
		atomic_store(&run->progress->bytes_total, bytes);
	}
}

int
capture_hash(struct capture_tree *tree, struct capture_progress *progress,
    struct error *err)
{
	struct hash_run run = {
	    .function = capture_tree_function(tree), .progress = progress};
	size_t threads = processors_available();
	struct hash_job jobs[THREADS_MAX];
	struct thread_pool *pool;
	struct job_group group;
	int rc;

	run.entries = capture_tree_list(tree, &run.count);
	select_files(&run);
	if (threads > THREADS_MAX)
		threads = THREADS_MAX;
	pool = thread_pool_new(threads);
	job_group_init(&group, pool);
	for (size_t i = 0; i < threads; i++) {
		jobs[i] = (struct hash_job){.run = &run};
		job_group_submit(&group, &jobs[i].job, hash_some);
	}
	rc = job_group_wait(&group, err);
	thread_pool_free(pool);
	free(run.entries);
	return rc;
}
