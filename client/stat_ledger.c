/* SPDX-License-Identifier: Apache-2.0 */
/* A table by path. The file: a header, when it was written, then one line an
 * entry, "key digest mode day path": the day when it was last asked for. */
#include "client/stat_ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/map.h"
#include "base/memory.h"

#define VERSION "toolroot-ledger 3"
#define LEDGER_MAX (256u << 20)
#define READ_PIECE ((size_t)1 << 20)
#define KEY_MAX 160
#define TRIES 3
/* Files that this run did not ask for: kept so long, and so many. */
#define UNUSED_DAYS 28
#define UNUSED_MAX 50000
#define DAY_SECONDS 86400
/* Time stamps come from a tick of up to 10 ms; file systems with coarser ones
 * (2 s) are why it is so long. */
#define RACY_NS INT64_C(2000000000)

struct entry {
	char *path; /* owned; the key in the map */
	char key[KEY_MAX];
	struct digest digest;
	bool executable;
	bool racy;    /* not to be saved */
	uint64_t day; /* since 1970, of its last use */
};

struct stat_ledger {
	char *path; /* NULL: in memory only */
	enum digest_function function;
	char header[128];
	uint64_t today;
	/* Guards the rest. */
	pthread_mutex_t lock;
	struct map entries;
	struct stat_ledger_counts counts;
	bool changed;
};

/* --- status --------------------------------------------------------------- */

static void
key_of(const struct stat *status, char key[static KEY_MAX])
{
	snprintf(key, KEY_MAX, "%llx.%llx.%llx.%llx.%lx.%llx.%lx.%o",
	    (unsigned long long)status->st_dev,
	    (unsigned long long)status->st_ino,
	    (unsigned long long)status->st_size,
	    (unsigned long long)status->st_mtim.tv_sec,
	    (unsigned long)status->st_mtim.tv_nsec,
	    (unsigned long long)status->st_ctim.tv_sec,
	    (unsigned long)status->st_ctim.tv_nsec, (unsigned)status->st_mode);
}

char *
stat_ledger_key(const char *path, struct error *err)
{
	char key[KEY_MAX];
	struct stat status;

	if (lstat(path, &status) == -1) {
		error_set_errno(err, errno, "%s", path);
		return NULL;
	}
	key_of(&status, key);
	return xstrdup(key);
}

static int64_t
nanoseconds(struct timespec time)
{
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Changed so shortly before the moment that it may change again unseen; a time
 * in the future counts too. */
static bool
is_racy(const struct stat *status, int64_t moment)
{
	return nanoseconds(status->st_mtim) > moment - RACY_NS ||
	       nanoseconds(status->st_ctim) > moment - RACY_NS;
}

/* --- loading -------------------------------------------------------------- */

static void
make_header(struct stat_ledger *ledger, enum stat_ledger_verify verify)
{
	char boot[64] = "";
	struct error ignored;
	struct buffer text;

	buffer_init(&text, sizeof(boot) - 1);
	if (verify == STAT_LEDGER_BOOT &&
	    file_read_all("/proc/sys/kernel/random/boot_id", &text, &ignored) ==
		0)
		snprintf(boot, sizeof(boot), "%.36s", text.data);
	buffer_clear(&text);
	snprintf(ledger->header, sizeof(ledger->header), "%s %s %s %u", VERSION,
	    digest_function_name(ledger->function), boot, (unsigned)getuid());
}

static void
keep(struct stat_ledger *ledger, struct entry *entry)
{
	struct entry *old = map_remove(&ledger->entries, str_from(entry->path));

	if (old != NULL) {
		free(old->path);
		free(old);
	}
	map_put(&ledger->entries, str_from(entry->path), entry);
}

static bool
load_line(struct stat_ledger *ledger, struct str line)
{
	struct str key = str_cut(&line, ' ');
	struct str digest = str_cut(&line, ' ');
	struct str mode = str_cut(&line, ' ');
	struct str last = str_cut(&line, ' ');
	struct entry *entry;
	struct error ignored;
	uint64_t day;

	if (key.len == 0 || key.len >= KEY_MAX || line.len == 0 ||
	    memchr(line.data, '\0', line.len) != NULL ||
	    !str_to_uint64(last, ledger->today, &day))
		return false;
	entry = xcalloc(1, sizeof(*entry));
	entry->day = day;
	if (digest_parse_text(
		ledger->function, digest, &entry->digest, &ignored) < 0) {
		free(entry);
		return false;
	}
	memcpy(entry->key, key.data, key.len);
	entry->executable = str_equal(mode, STR("x"));
	entry->path = xstrndup(line.data, line.len);
	keep(ledger, entry);
	return true;
}

/* Where the clock was set back, times tell nothing. */
static bool
is_of_the_past(struct str line)
{
	uint64_t written;

	return str_to_uint64(line, INT64_MAX, &written) &&
	       (int64_t)written <= (int64_t)time(NULL);
}

static void
load(struct stat_ledger *ledger)
{
	struct error ignored;
	struct buffer text;
	struct str rest;

	buffer_init(&text, LEDGER_MAX);
	if (file_read_all(ledger->path, &text, &ignored) == 0) {
		rest = buffer_str(&text);
		if (str_equal(str_cut(&rest, '\n'), str_from(ledger->header)) &&
		    is_of_the_past(str_cut(&rest, '\n'))) {
			while (rest.len > 0 &&
			       load_line(ledger, str_cut(&rest, '\n')))
				;
		}
	}
	buffer_clear(&text);
}

struct stat_ledger *
stat_ledger_open(const char *path, enum digest_function function,
    enum stat_ledger_verify verify)
{
	struct stat_ledger *ledger = xcalloc(1, sizeof(*ledger));

	ledger->path = path != NULL ? xstrdup(path) : NULL;
	ledger->function = function;
	ledger->today = (uint64_t)time(NULL) / DAY_SECONDS;
	pthread_mutex_init(&ledger->lock, NULL);
	map_init(&ledger->entries);
	make_header(ledger, verify);
	if (path != NULL && verify != STAT_LEDGER_ALWAYS)
		load(ledger);
	return ledger;
}

void
stat_ledger_close(struct stat_ledger *ledger)
{
	struct entry *entry;
	size_t position = 0;

	if (ledger == NULL)
		return;
	while ((entry = map_next(&ledger->entries, &position)) != NULL) {
		free(entry->path);
		free(entry);
	}
	map_clear(&ledger->entries);
	pthread_mutex_destroy(&ledger->lock);
	free(ledger->path);
	free(ledger);
}

/* --- saving --------------------------------------------------------------- */

/* How many days ago an entry that is kept was used: the limit that leaves no
 * more than UNUSED_MAX of earlier days. Under the lock. */
static uint64_t
choose_days(const struct stat_ledger *ledger)
{
	size_t ages[UNUSED_DAYS + 1] = {0}, kept = 0, position = 0;
	const struct entry *entry;
	uint64_t days = 0;

	while ((entry = map_next(&ledger->entries, &position)) != NULL) {
		if (ledger->today - entry->day <= UNUSED_DAYS)
			ages[ledger->today - entry->day]++;
	}
	while (days < UNUSED_DAYS && kept + ages[days + 1] <= UNUSED_MAX)
		kept += ages[++days];
	return days;
}

/* Under the lock. */
static int
write_out(struct stat_ledger *ledger, struct buffer *out, struct error *err)
{
	uint64_t days = choose_days(ledger);
	const struct entry *entry;
	size_t position = 0;
	int rc = buffer_printf(
	    out, "%s\n%lld\n", ledger->header, (long long)time(NULL));

	while ((entry = map_next(&ledger->entries, &position)) != NULL) {
		char text[DIGEST_TEXT_MAX];

		if (entry->racy || strchr(entry->path, '\n') != NULL ||
		    ledger->today - entry->day > days)
			continue;
		rc |= buffer_printf(out, "%s %s %s %llu %s\n", entry->key,
		    digest_format(&entry->digest, text),
		    entry->executable ? "x" : "-",
		    (unsigned long long)entry->day, entry->path);
	}
	if (rc != 0)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "the ledger %s is full", ledger->path);
	return 0;
}

int
stat_ledger_save(struct stat_ledger *ledger, struct error *err)
{
	struct buffer out;
	int rc;

	if (ledger->path == NULL || !ledger->changed)
		return 0;
	buffer_init(&out, LEDGER_MAX);
	pthread_mutex_lock(&ledger->lock);
	rc = write_out(ledger, &out, err);
	ledger->changed = false;
	pthread_mutex_unlock(&ledger->lock);
	if (rc == 0)
		rc = file_replace(ledger->path, out.data, out.len, err);
	buffer_clear(&out);
	return rc;
}

/* --- digests -------------------------------------------------------------- */

static bool
find(struct stat_ledger *ledger, const char *path, const char *key,
    struct stat_ledger_file *file)
{
	struct entry *entry;
	bool found;

	pthread_mutex_lock(&ledger->lock);
	ledger->counts.looked++;
	entry = map_get(&ledger->entries, str_from(path));
	found = entry != NULL && strcmp(entry->key, key) == 0;
	if (found) {
		/* The file is written anew once a day for this. */
		if (!entry->racy && entry->day != ledger->today)
			ledger->changed = true;
		entry->day = ledger->today;
		file->digest = entry->digest;
		file->executable = entry->executable;
	}
	pthread_mutex_unlock(&ledger->lock);
	return found;
}

static void
learn(struct stat_ledger *ledger, struct entry *entry, bool read)
{
	entry->day = ledger->today;
	pthread_mutex_lock(&ledger->lock);
	if (read) {
		ledger->counts.read++;
		ledger->counts.read_bytes += entry->digest.size;
	}
	ledger->changed = ledger->changed || !entry->racy;
	keep(ledger, entry);
	pthread_mutex_unlock(&ledger->lock);
}

static int
hash(int fd, enum digest_function function, struct digest *digest,
    const char *path, struct error *err)
{
	struct digest_hasher *hasher = digest_hasher_new(function);
	char *piece = xmalloc(READ_PIECE);
	ssize_t got;

	while ((got = read(fd, piece, READ_PIECE)) > 0)
		digest_hasher_update(hasher, piece, (size_t)got);
	if (got == -1)
		error_set_errno(err, errno, "read %s", path);
	else
		digest_hasher_finish(hasher, digest);
	digest_hasher_free(hasher);
	free(piece);
	return got == -1 ? -1 : 0;
}

/* 1 read, 0 it changed meanwhile, -1. */
static int
read_file(struct stat_ledger *ledger, const char *path, struct entry *entry,
    struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct timespec now;
	struct stat before, after;
	char key[KEY_MAX];
	int rc = -1;

	if (fd == -1 || fstat(fd, &before) == -1) {
		error_set_errno(err, errno, "%s", path);
		goto out;
	}
	if (!S_ISREG(before.st_mode)) {
		error_set(err, ERROR_FAILED_PRECONDITION,
		    "%s is no regular file", path);
		goto out;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	if (hash(fd, ledger->function, &entry->digest, path, err) < 0)
		goto out;
	if (fstat(fd, &after) == -1) {
		error_set_errno(err, errno, "%s", path);
		goto out;
	}
	key_of(&before, entry->key);
	key_of(&after, key);
	entry->executable = (before.st_mode & 0111) != 0;
	entry->racy = is_racy(&before, nanoseconds(now));
	rc = strcmp(entry->key, key) == 0 &&
	     entry->digest.size == (uint64_t)before.st_size;
out:
	file_close(&fd);
	return rc;
}

int
stat_ledger_digest(struct stat_ledger *ledger, const char *path,
    struct stat_ledger_file *file, struct error *err)
{
	struct stat status;
	char key[KEY_MAX];
	int rc = 0;

	if (stat(path, &status) == -1)
		return error_set_errno(err, errno, "%s", path);
	key_of(&status, key);
	if (find(ledger, path, key, file))
		return 0;
	for (int i = 0; i < TRIES && rc == 0; i++) {
		struct entry *entry = xcalloc(1, sizeof(*entry));

		rc = read_file(ledger, path, entry, err);
		if (rc <= 0) {
			free(entry);
			continue;
		}
		file->digest = entry->digest;
		file->executable = entry->executable;
		entry->path = xstrdup(path);
		learn(ledger, entry, true);
	}
	if (rc == 0)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "%s changes while it is read", path);
	return rc < 0 ? -1 : 0;
}

void
stat_ledger_note(struct stat_ledger *ledger, const char *path,
    const struct digest *digest, const struct stat *written)
{
	struct entry *entry;
	struct stat status;

	/* A rename moves ctime alone. */
	if (stat(path, &status) == -1 || status.st_dev != written->st_dev ||
	    status.st_ino != written->st_ino ||
	    nanoseconds(status.st_mtim) != nanoseconds(written->st_mtim) ||
	    (uint64_t)status.st_size != digest->size)
		return;
	entry = xcalloc(1, sizeof(*entry));
	entry->path = xstrdup(path);
	key_of(&status, entry->key);
	entry->digest = *digest;
	entry->executable = (status.st_mode & 0111) != 0;
	entry->racy = true; /* it is new */
	learn(ledger, entry, false);
}

void
stat_ledger_counts(
    struct stat_ledger *ledger, struct stat_ledger_counts *counts)
{
	pthread_mutex_lock(&ledger->lock);
	*counts = ledger->counts;
	pthread_mutex_unlock(&ledger->lock);
}
