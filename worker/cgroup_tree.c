/* SPDX-License-Identifier: Apache-2.0 */
/* Makes, keeps and removes directories of groups. The worker and, after its
 * fork, the spawner have a copy each; only the spawner's has groups. */
#include "worker/cgroup_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "worker/cgroup_host.h"

#define PREFIX "toolroot-"
#define MAIN_GROUP PREFIX "main"
#define TEXT_MAX ((size_t)4 << 20)
/* How often and how long the end waits for processes that are dying. */
#define REMOVE_TRIES 100
#define REMOVE_PAUSE_NS 20000000

struct cgroup_tree {
	enum cgroup_kind kind;
	char name[64];
	/* Below which `name` is, of each controller; "" where there is none.
	 */
	char parents[CGROUP_CONTROLLERS][PATH_MAX];
	int lock;   /* of the first of those directories */
	bool fresh; /* groups serve once: their peaks cannot be reset */
	char why[512];
	unsigned *idle; /* numbers of groups */
	size_t idle_count;
	size_t idle_capacity;
	unsigned made;
};

static const char *const v2_names[CGROUP_CONTROLLERS] = {
    [CGROUP_MEMORY] = "memory",
    [CGROUP_PIDS] = "pids",
    [CGROUP_CPU] = "cpu",
    [CGROUP_IO] = "io"};

enum cgroup_kind
cgroup_tree_kind(const struct cgroup_tree *tree)
{
	return tree->kind;
}

const char *
cgroup_tree_why(const struct cgroup_tree *tree)
{
	return tree->why;
}

bool
cgroup_tree_has(
    const struct cgroup_tree *tree, enum cgroup_controller controller)
{
	return tree->kind != CGROUP_NONE &&
	       tree->parents[controller][0] != '\0';
}

/* --- directories ---------------------------------------------------------- */

static void
tree_path(
    const struct cgroup_tree *tree, size_t controller, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%.*s/%s", PATH_MAX - 80,
	    tree->parents[controller], tree->name);
}

static void
group_path(const struct cgroup_tree *tree, size_t controller, unsigned number,
    char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%.*s/%s/%u", PATH_MAX - 96,
	    tree->parents[controller], tree->name, number);
}

/* On version 2 all controllers have the same one. */
static bool
is_repeated(const struct cgroup_tree *tree, size_t controller)
{
	for (size_t i = 0; i < controller; i++)
		if (strcmp(tree->parents[i], tree->parents[controller]) == 0)
			return true;
	return false;
}

static int
write_text(const char *directory, const char *name, const char *text)
{
	char path[PATH_MAX];
	ssize_t written;
	int fd;

	snprintf(path, sizeof(path), "%.*s/%s", PATH_MAX - 64, directory, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd == -1)
		return -1;
	written = write(fd, text, strlen(text));
	file_close(&fd);
	return written == -1 ? -1 : 0;
}

static bool
has_file(const char *directory, const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%.*s/%s", PATH_MAX - 64, directory, name);
	return access(path, F_OK) == 0;
}

/* Removes the groups in a tree and the tree; false while processes are in one.
 */
static bool
remove_tree(const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry;
	bool gone;

	if (directory == NULL)
		return true;
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): a stream of our own */
	while ((entry = readdir(directory)) != NULL)
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			(void)unlinkat(
			    dirfd(directory), entry->d_name, AT_REMOVEDIR);
	closedir(directory);
	gone = rmdir(path) == 0 || errno != EBUSY;
	return gone;
}

/* --- what killed workers left --------------------------------------------- */

static bool
is_stale(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool stale = fd != -1 && flock(fd, LOCK_EX | LOCK_NB) == 0;

	file_close(&fd);
	return stale;
}

/* The lock is on the tree's directory of the first controller. */
static void
sweep(const struct cgroup_tree *tree, size_t first)
{
	DIR *directory = opendir(tree->parents[first]);
	struct dirent *entry;
	char path[PATH_MAX];

	if (directory == NULL)
		return;
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): a stream of our own */
	while ((entry = readdir(directory)) != NULL) {
		if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0 ||
		    strcmp(entry->d_name, MAIN_GROUP) == 0)
			continue;
		snprintf(path, sizeof(path), "%.*s/%s", PATH_MAX - 300,
		    tree->parents[first], entry->d_name);
		if (!is_stale(path))
			continue;
		for (size_t i = 0; i < CGROUP_CONTROLLERS; i++) {
			if (tree->parents[i][0] == '\0')
				continue;
			snprintf(path, sizeof(path), "%.*s/%s", PATH_MAX - 300,
			    tree->parents[i], entry->d_name);
			(void)remove_tree(path);
		}
	}
	closedir(directory);
}

/* --- groups --------------------------------------------------------------- */

static int
open_group(struct cgroup_tree *tree, struct cgroup *group, struct error *err)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < CGROUP_CONTROLLERS; i++) {
		if (tree->parents[i][0] == '\0')
			continue;
		group_path(tree, i, group->number, path);
		if (mkdir(path, 0755) == -1 && errno != EEXIST)
			return error_set_errno(err, errno, "make %s", path);
		group->directories[i] =
		    open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (group->directories[i] == -1)
			return error_set_errno(err, errno, "open %s", path);
	}
	return 0;
}

int
cgroup_tree_get(
    struct cgroup_tree *tree, struct cgroup *group, struct error *err)
{
	cgroup_init(group);
	if (tree->kind == CGROUP_NONE)
		return 0;
	group->kind = tree->kind;
	group->number = tree->idle_count > 0 ? tree->idle[--tree->idle_count]
					     : tree->made++;
	if (open_group(tree, group, err) == 0)
		return 0;
	cgroup_tree_put(tree, group);
	return -1;
}

void
cgroup_tree_put(struct cgroup_tree *tree, struct cgroup *group)
{
	char path[PATH_MAX];

	cgroup_clear(group);
	if (group->kind == CGROUP_NONE)
		return;
	/* Put back again, its number would be another sandbox's, too. */
	group->kind = CGROUP_NONE;
	for (size_t i = 0; tree->fresh && i < CGROUP_CONTROLLERS; i++) {
		if (tree->parents[i][0] == '\0' || is_repeated(tree, i))
			continue;
		group_path(tree, i, group->number, path);
		(void)rmdir(path);
	}
	if (tree->idle_count == tree->idle_capacity) {
		tree->idle_capacity += 16;
		tree->idle = xreallocarray(
		    tree->idle, tree->idle_capacity, sizeof(*tree->idle));
	}
	tree->idle[tree->idle_count++] = group->number;
}

/* --- making the tree ------------------------------------------------------ */

static int
fail(struct cgroup_tree *tree, const char *what, const char *path)
{
	snprintf(tree->why, sizeof(tree->why), "%s %.300s: %s", what, path,
	    strerror(errno));
	return -1;
}

/* Keeps other workers from sweeping what is made and not yet locked. Whoever
 * may read the directory may lock it, so nobody is waited for without end. */
static int
lock_parent(const char *path, bool *locked)
{
	const struct timespec pause = {.tv_nsec = REMOVE_PAUSE_NS};
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	*locked = false;
	for (int tries = REMOVE_TRIES; fd != -1 && tries > 0; tries--) {
		*locked = flock(fd, LOCK_EX | LOCK_NB) == 0;
		if (*locked)
			break;
		nanosleep(&pause, NULL);
	}
	return fd;
}

/* The directory of the first controller, which tells that we live. */
static int
make_first(struct cgroup_tree *tree, size_t first)
{
	bool locked;
	int parent = lock_parent(tree->parents[first], &locked);
	char path[PATH_MAX];
	int rc = 0;

	if (locked)
		sweep(tree, first);
	tree_path(tree, first, path);
	if (mkdir(path, 0755) == -1) {
		rc = fail(tree, "make", path);
	} else {
		tree->lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (tree->lock == -1 ||
		    flock(tree->lock, LOCK_EX | LOCK_NB) == -1)
			rc = fail(tree, "lock", path);
	}
	file_close(&parent);
	return rc;
}

static int
make_directories(struct cgroup_tree *tree)
{
	char path[PATH_MAX];
	uint32_t random = 0;

	(void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
	snprintf(
	    tree->name, sizeof(tree->name), PREFIX "%d-%08x", getpid(), random);
	for (size_t i = 0; i < CGROUP_CONTROLLERS; i++) {
		if (tree->parents[i][0] == '\0' || is_repeated(tree, i))
			continue;
		tree_path(tree, i, path);
		if (tree->lock == -1) {
			if (make_first(tree, i) < 0)
				return -1;
		} else if (mkdir(path, 0755) == -1) {
			return fail(tree, "make", path);
		}
	}
	return 0;
}

static void
remove_directories(struct cgroup_tree *tree)
{
	const struct timespec pause = {.tv_nsec = REMOVE_PAUSE_NS};
	char path[PATH_MAX];

	for (size_t i = 0; i < CGROUP_CONTROLLERS; i++) {
		if (tree->parents[i][0] == '\0' || tree->name[0] == '\0')
			continue;
		tree_path(tree, i, path);
		for (int tries = REMOVE_TRIES; !remove_tree(path) && tries > 0;
		     tries--)
			nanosleep(&pause, NULL);
	}
	file_close(&tree->lock);
	tree->name[0] = '\0';
}

/* One process in a group, with limits: whether we may. */
static int
try_group(struct cgroup_tree *tree, struct error *err)
{
	const struct action_limits limits = {
	    .memory = (uint64_t)1 << 30, .pids = 100, .cpu_milli = 1000};
	struct clone_args args = {.exit_signal = SIGCHLD};
	struct cgroup_usage start;
	struct cgroup group;
	int status = -1;
	int rc = -1;
	pid_t pid;

	if (cgroup_tree_get(tree, &group, err) < 0)
		return -1;
	if (cgroup_set_limits(&group, &limits, err) < 0)
		goto out;
	cgroup_start(&group, &start);
	tree->fresh = group.peak != -1 && write(group.peak, "0", 1) == -1;
	cgroup_clone_into(&group, &args);
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		_exit(cgroup_join(&group, err) < 0 ? errno : 0);
	if (pid == -1) {
		error_set_errno(err, errno, "start a process in a group");
		goto out;
	}
	waitpid(pid, &status, 0);
	if (status == 0)
		rc = 0;
	else
		error_set_errno(
		    err, WEXITSTATUS(status), "enter a control group");
out:
	cgroup_tree_put(tree, &group);
	return rc;
}

static int
finish(struct cgroup_tree *tree)
{
	struct error err;

	if (try_group(tree, &err) == 0)
		return 0;
	snprintf(tree->why, sizeof(tree->why), "%.400s", err.text);
	return -1;
}

/* --- version 1 ------------------------------------------------------------ */

static int
open_v1(struct cgroup_tree *tree, const struct cgroup_host *host)
{
	tree->kind = CGROUP_V1;
	memcpy(tree->parents, host->v1, sizeof(tree->parents));
	if (make_directories(tree) == 0 && finish(tree) == 0)
		return 0;
	remove_directories(tree);
	return -1;
}

/* --- version 2 ------------------------------------------------------------ */

/* Whether the group's only processes are we and the program that started us,
 * if that is the same program; both are then moved to a group of their own. */
static bool
move_out(const char *directory)
{
	char path[PATH_MAX];
	char text[32];
	struct buffer pids;
	struct error err;
	struct stat ours;
	struct stat theirs;
	struct str rest;
	bool alone = true;
	bool family;

	snprintf(path, sizeof(path), "/proc/%d/exe", getppid());
	family = stat("/proc/self/exe", &ours) == 0 &&
		 stat(path, &theirs) == 0 && ours.st_ino == theirs.st_ino &&
		 ours.st_dev == theirs.st_dev;
	snprintf(
	    path, sizeof(path), "%.*s/cgroup.procs", PATH_MAX - 64, directory);
	buffer_init(&pids, TEXT_MAX);
	if (file_read_all(path, &pids, &err) < 0)
		alone = false;
	rest = buffer_str(&pids);
	while (rest.len > 0) {
		uint64_t pid = 0;

		(void)str_to_uint64(str_cut(&rest, '\n'), INT32_MAX, &pid);
		alone = alone && ((pid_t)pid == getpid() ||
				     (family && (pid_t)pid == getppid()));
	}
	buffer_clear(&pids);
	if (!alone)
		return false;
	snprintf(path, sizeof(path), "%.*s/%s", PATH_MAX - 64, directory,
	    MAIN_GROUP);
	if (mkdir(path, 0755) == -1 && errno != EEXIST)
		return false;
	if (family) {
		snprintf(text, sizeof(text), "%d", getppid());
		(void)write_text(path, "cgroup.procs", text);
	}
	return write_text(path, "cgroup.procs", "0") == 0;
}

static void
enable(const char *directory)
{
	char text[32];

	for (size_t i = 0; i < CGROUP_CONTROLLERS; i++) {
		snprintf(text, sizeof(text), "+%s", v2_names[i]);
		(void)write_text(directory, "cgroup.subtree_control", text);
	}
}

/* Whether groups below it have the controller. */
static bool
hands_down(const char *directory, const char *name)
{
	struct buffer text;
	struct error err;
	struct str rest;
	char path[PATH_MAX];
	bool found = false;

	snprintf(path, sizeof(path), "%.*s/cgroup.subtree_control",
	    PATH_MAX - 64, directory);
	buffer_init(&text, TEXT_MAX);
	if (file_read_all(path, &text, &err) == 0) {
		rest = buffer_str(&text);
		if (rest.len > 0 && rest.data[rest.len - 1] == '\n')
			rest.len--;
		while (rest.len > 0)
			found =
			    str_equal(str_cut(&rest, ' '), str_from(name)) ||
			    found;
	}
	buffer_clear(&text);
	return found;
}

/* In a group with processes only the root of all hands controllers down. */
static int
open_v2_in(struct cgroup_tree *tree, const char *directory, bool ours)
{
	char path[PATH_MAX];

	tree->kind = CGROUP_V2;
	if (ours && has_file(directory, "cgroup.type") &&
	    !hands_down(directory, v2_names[CGROUP_MEMORY]) &&
	    !move_out(directory)) {
		errno = EBUSY;
		return fail(tree, "other processes are in", directory);
	}
	enable(directory);
	memset(tree->parents, 0, sizeof(tree->parents));
	/* The first alone carries the directories until it is known which
	 * controllers they have. */
	snprintf(tree->parents[0], PATH_MAX, "%s", directory);
	if (make_directories(tree) < 0)
		goto failed;
	tree_path(tree, 0, path);
	enable(path);
	for (size_t i = 0; i < CGROUP_CONTROLLERS; i++)
		snprintf(tree->parents[i], PATH_MAX, "%s",
		    hands_down(path, v2_names[i]) ? directory : "");
	if (cgroup_tree_has(tree, CGROUP_MEMORY) ||
	    cgroup_tree_has(tree, CGROUP_PIDS)) {
		if (finish(tree) == 0)
			return 0;
	} else {
		errno = EPERM;
		(void)fail(
		    tree, "no memory or pids controller below", directory);
		snprintf(tree->parents[0], PATH_MAX, "%s", directory);
	}
failed:
	remove_directories(tree);
	return -1;
}

static int
open_v2(struct cgroup_tree *tree, const char *own)
{
	char parent[PATH_MAX];
	char *slash;

	if (own[0] == '\0') {
		errno = ENOENT;
		return fail(tree, "find", "the worker's control group");
	}
	if (open_v2_in(tree, own, true) == 0)
		return 0;
	snprintf(parent, sizeof(parent), "%s", own);
	slash = strrchr(parent, '/');
	if (slash == NULL || slash == parent)
		return -1;
	*slash = '\0';
	/* Above the hierarchy's own directory. */
	if (!has_file(parent, "cgroup.procs"))
		return -1;
	return open_v2_in(tree, parent, false);
}

/* --- open and close ------------------------------------------------------- */

static void
find_host(struct cgroup_host *host)
{
	struct buffer groups;
	struct buffer mounts;
	struct error err;

	buffer_init(&groups, TEXT_MAX);
	buffer_init(&mounts, TEXT_MAX);
	/* Where one cannot be read, nothing is found. */
	(void)file_read_all("/proc/self/cgroup", &groups, &err);
	(void)file_read_all("/proc/self/mountinfo", &mounts, &err);
	cgroup_host_parse(host, buffer_str(&groups), buffer_str(&mounts));
	buffer_clear(&groups);
	buffer_clear(&mounts);
}

struct cgroup_tree *
cgroup_tree_open(void)
{
	struct cgroup_tree *tree = xcalloc(1, sizeof(*tree));
	struct cgroup_host *host = xcalloc(1, sizeof(*host));
	int rc;

	tree->lock = -1;
	find_host(host);
	if (host->v1[CGROUP_MEMORY][0] != '\0' ||
	    host->v1[CGROUP_PIDS][0] != '\0')
		rc = open_v1(tree, host);
	else
		rc = open_v2(tree, host->v2);
	if (rc < 0)
		tree->kind = CGROUP_NONE;
	free(host);
	return tree;
}

void
cgroup_tree_close(struct cgroup_tree *tree)
{
	if (tree == NULL)
		return;
	if (tree->kind != CGROUP_NONE)
		remove_directories(tree);
	file_close(&tree->lock);
	free(tree->idle);
	free(tree);
}
