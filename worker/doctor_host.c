/* SPDX-License-Identifier: Apache-2.0 */
/* The sandbox is tried in a child, since it changes the process that does. */
#include "worker/doctor_host.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/doctor_report.h"
#include "worker/cgroup.h"
#include "worker/namespaces.h"
#include "worker/spawner.h"
#include "worker/staging.h"

#define ROOM_MIN ((uint64_t)5 << 30)
#define FILES_MIN ((uint64_t)100000)
/* Of a file system's clock from ours: what is younger than that is hashed
 * again (client/stat_ledger.h). */
#define CLOCK_SECONDS 2
/* 2025: a machine whose clock was never set is far before it. */
#define CLOCK_LEAST ((time_t)1735689600)

/* --- the sandbox ---------------------------------------------------------- */

struct sandbox_answer {
	bool works;
	enum sandbox_tier tier;
	enum cgroup_kind limits;
	enum staging staging;
	struct error error;
};

static _Noreturn void
try_sandbox(const char *cache, enum staging staging, int fd)
{
	const struct spawner_options options = {
	    .slots = 1,
	    .scratch_bytes = 16u << 20,
	    .scratch_files = 1000,
	    .cache = cache,
	    .staging = staging,
	};
	struct sandbox_answer answer = {.works = false};
	struct spawner *spawner = spawner_start(&options, &answer.error);
	struct error ignored;

	if (spawner != NULL) {
		answer.works = true;
		answer.tier = spawner_tier(spawner);
		answer.limits = spawner_limits_kind(spawner);
		answer.staging = spawner_staging(spawner);
	}
	/* Without an answer the parent says so. */
	(void)file_write(fd, &answer, sizeof(answer), &ignored);
	spawner_stop(spawner);
	_exit(0);
}

/* False when the child could not be asked. */
static bool
ask_sandbox(
    const char *cache, enum staging staging, struct sandbox_answer *answer)
{
	int ends[2], status;
	ssize_t got;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) == -1)
		return false;
	child = fork();
	if (child == 0)
		try_sandbox(cache, staging, ends[1]);
	file_close(&ends[1]);
	got = child != -1 ? read(ends[0], answer, sizeof(*answer)) : -1;
	file_close(&ends[0]);
	while (
	    child != -1 && waitpid(child, &status, 0) == -1 && errno == EINTR)
		;
	return got == (ssize_t)sizeof(*answer);
}

/* Why it is not the fastest way is told when that is asked for. */
static void
report_staging(
    struct doctor_report *report, const char *cache, enum staging staging)
{
	struct sandbox_answer answer = {.works = false};

	if (staging_has_images(staging))
		doctor_report_add(report, DOCTOR_OK, "host: staging",
		    staging_name(staging), NULL);
	else if (ask_sandbox(cache, STAGING_EROFS_PATH, &answer) &&
		 !answer.works)
		doctor_report_add(report, DOCTOR_WARNING, "host: staging",
		    staging_name(staging), answer.error.text);
}

static void
look_at_sandbox(struct doctor_report *report, const char *cache)
{
	struct sandbox_answer answer;
	bool limited;

	if (!ask_sandbox(cache, STAGING_AUTO, &answer)) {
		doctor_report_add(report, DOCTOR_FAILED, "host: sandbox",
		    "a process that was to try it ended without an answer",
		    "look for its end in the kernel's log (dmesg)");
		return;
	}
	if (!answer.works) {
		doctor_report_add(report, DOCTOR_FAILED, "host: sandbox",
		    answer.error.text,
		    "until then a worker here needs --sandbox none, which "
		    "isolates nothing; a machine that is a client alone needs "
		    "no sandbox (--no-host)");
		return;
	}
	doctor_report_add(report, DOCTOR_OK, "host: sandbox",
	    sandbox_tier_name(answer.tier), NULL);
	report_staging(report, cache, answer.staging);
	limited = answer.limits != CGROUP_NONE;
	doctor_report_add(report, limited ? DOCTOR_OK : DOCTOR_WARNING,
	    "host: limits", cgroup_kind_name(answer.limits),
	    limited ? NULL
		    : "give the worker a control group of its own (systemd: "
		      "Delegate=yes); without it limits hold for single "
		      "processes, not for an action as a whole");
}

/* --- disks ---------------------------------------------------------------- */

static void
look_at_room(struct doctor_report *report, const char *name, const char *path)
{
	struct statvfs status;
	uint64_t room, files;
	bool enough;
	char *found;

	if (statvfs(path, &status) == -1) {
		char *why = xasprintf("%s: %s", path, strerror(errno));

		doctor_report_add(report, DOCTOR_SKIPPED, name, why, NULL);
		free(why);
		return;
	}
	room = (uint64_t)status.f_bavail * status.f_frsize;
	files = status.f_files > 0 ? status.f_favail : FILES_MIN;
	enough = room >= ROOM_MIN && files >= FILES_MIN;
	found = xasprintf("%s: %" PRIu64 " GiB and %" PRIu64 " files free",
	    path, room >> 30, files);
	doctor_report_add(report, enough ? DOCTOR_OK : DOCTOR_WARNING, name,
	    found,
	    enough ? NULL
		   : "make room: a toolchain takes half a GiB, and so may the "
		     "outputs of one build");
	free(found);
}

static void
look_at_disks(struct doctor_report *report)
{
	const char *data = getenv("XDG_DATA_HOME");
	const char *home = getenv("HOME");
	const char *temporary = getenv("TMPDIR");
	char *store = NULL;

	/* Where serve keeps its store, unless it is told otherwise. */
	if (geteuid() == 0)
		store = xstrdup("/var/lib/toolroot");
	else if (data != NULL && data[0] == '/')
		store = xasprintf("%s/toolroot", data);
	else if (home != NULL)
		store = xasprintf("%s/.local/share/toolroot", home);
	if (store != NULL)
		look_at_room(report, "host: store", store);
	look_at_room(report, "host: temporary",
	    temporary != NULL && temporary[0] == '/' ? temporary : "/tmp");
	look_at_room(report, "host: here", ".");
	free(store);
}

/* --- the clock ------------------------------------------------------------ */

/* Of a file that is made now, from the system's clock. 0 where none can be
 * made. */
static int64_t
file_clock_apart(void)
{
	const char *base = getenv("TMPDIR");
	char *path = xasprintf("%s/toolroot-doctor-XXXXXX",
	    base != NULL && base[0] == '/' ? base : "/tmp");
	int fd = mkstemp(path);
	struct stat status;
	int64_t apart = 0;

	if (fd != -1 && fstat(fd, &status) == 0)
		apart = (int64_t)status.st_mtime - (int64_t)time(NULL);
	if (fd != -1)
		unlink(path);
	file_close(&fd);
	free(path);
	return apart;
}

static void
look_at_clock(struct doctor_report *report)
{
	int64_t apart = file_clock_apart();
	bool set = time(NULL) >= CLOCK_LEAST;
	bool together = llabs(apart) <= CLOCK_SECONDS;
	char *found = set ? xasprintf("files are %" PRId64 " s from it", apart)
			  : xstrdup("it was never set");

	doctor_report_add(report, set && together ? DOCTOR_OK : DOCTOR_WARNING,
	    "host: clock", found,
	    set && together ? NULL : "set the clocks by NTP");
	free(found);
}

/* Where images are tried, as a worker would in its cache; the caller frees
 * it. */
static char *
make_temporary(void)
{
	const char *base = getenv("TMPDIR");
	char *path = xasprintf("%s/toolroot-doctor-XXXXXX",
	    base != NULL && base[0] == '/' ? base : "/tmp");

	/* What fails is told by the trial. */
	if (mkdtemp(path) == NULL)
		path[0] = '\0';
	return path;
}

void
doctor_host(struct doctor_report *report)
{
	char *cache = make_temporary();
	struct error err;

	look_at_sandbox(report, cache);
	if (cache[0] != '\0' && file_remove_tree(cache, &err) < 0)
		doctor_report_add(report, DOCTOR_WARNING, "host: temporary",
		    err.text, "remove that directory");
	free(cache);
	look_at_disks(report);
	look_at_clock(report);
}
