/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file system in memory becomes the root; what the old root has is bound
 * into it entry by entry, then the fixed paths are; the old root goes.
 */
#include "client/cargo_namespace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/capture_rust.h"
#include "client/cargo_strings.h"

/* Any directory that is there on every machine: nothing stays in it. */
#define STAND "/tmp"
#define OLD "/.toolroot-old"

static int
fail(struct error *err, const char *what, const char *path)
{
	error_set_errno(
	    err, errno, "no namespace for local compilers: %s %s", what, path);
	err->code = ERROR_FAILED_PRECONDITION;
	return -1;
}

/* --- namespaces ----------------------------------------------------------- */

static int
write_text(const char *path, const char *text, struct error *err)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int rc = fd == -1 ? -1 : file_write(fd, text, strlen(text), err);

	if (rc < 0)
		fail(err, "write", path);
	file_close(&fd);
	return rc;
}

static int
map_user(uid_t user, gid_t group, struct error *err)
{
	char text[64];
	int rc;

	snprintf(text, sizeof(text), "%u %u 1", (unsigned)user, (unsigned)user);
	rc = write_text("/proc/self/setgroups", "deny", err);
	if (rc == 0)
		rc = write_text("/proc/self/uid_map", text, err);
	snprintf(
	    text, sizeof(text), "%u %u 1", (unsigned)group, (unsigned)group);
	return rc == 0 ? write_text("/proc/self/gid_map", text, err) : -1;
}

static int
unshare_all(struct error *err)
{
	uid_t user = geteuid();
	gid_t group = getegid();

	if (unshare(CLONE_NEWNS) == -1) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) == -1)
			return fail(err, "make", "a user namespace");
		if (map_user(user, group, err) < 0)
			return -1;
	}
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1)
		return fail(err, "keep apart", "mounts");
	return 0;
}

/* --- the root ------------------------------------------------------------- */

static int
enter_new_root(struct error *err)
{
	if (mount("tmpfs", STAND, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") ==
	    -1)
		return fail(err, "mount", STAND);
	if (mkdir(STAND OLD, 0700) == -1 ||
	    syscall(SYS_pivot_root, STAND, STAND OLD) == -1 || chdir("/") == -1)
		return fail(err, "change to", STAND);
	return 0;
}

/* Each binds from -> to, where it makes what is bound upon. */
static int
bind_directory(const char *from, const char *to, struct error *err)
{
	if (mkdir(to, 0755) == -1 && errno != EEXIST)
		return fail(err, "make", to);
	if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) == -1)
		return fail(err, "bind", to);
	return 0;
}

static int
bind_file(const char *from, const char *to, struct error *err)
{
	int fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd == -1)
		return fail(err, "make", to);
	file_close(&fd);
	if (mount(from, to, NULL, MS_BIND, NULL) == -1)
		return fail(err, "bind", to);
	return 0;
}

static int
copy_link(const char *from, const char *to, struct error *err)
{
	char target[4096];
	ssize_t length = readlink(from, target, sizeof(target) - 1);

	if (length == -1)
		return fail(err, "read", from);
	target[length] = '\0';
	return symlink(target, to) == -1 ? fail(err, "make", to) : 0;
}

static int
bring_entry(const char *name, struct error *err)
{
	char *from = xasprintf(OLD "/%s", name);
	char *to = xasprintf("/%s", name);
	struct stat status;
	int rc = 0;

	if (lstat(from, &status) == -1)
		goto out; /* gone meanwhile */
	if (S_ISLNK(status.st_mode))
		rc = copy_link(from, to, err);
	else if (S_ISDIR(status.st_mode))
		rc = bind_directory(from, to, err);
	else if (S_ISREG(status.st_mode))
		rc = bind_file(from, to, err);
out:
	free(from);
	free(to);
	return rc;
}

static int
bring_all(struct error *err)
{
	DIR *directory = opendir(OLD);
	struct dirent *entry;
	int rc = 0;

	if (directory == NULL)
		return fail(err, "read", "/");
	while (rc == 0 && (entry = readdir(directory)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			rc = bring_entry(entry->d_name, err);
	}
	closedir(directory);
	return rc;
}

/* --- fixed paths ---------------------------------------------------------- */

static int
make_directories(const char *path, struct error *err)
{
	char *text = xstrdup(path);
	int rc = 0;

	for (char *at = strchr(text + 1, '/'); rc == 0; at = strchr(at, '/')) {
		if (at != NULL)
			*at = '\0';
		if (mkdir(text, 0755) == -1 && errno != EEXIST)
			rc = fail(err, "make", text);
		if (at == NULL)
			break;
		*at++ = '/';
	}
	free(text);
	return rc;
}

/* A toolchain has no sources in it: with them, paths in the standard library
 * are written otherwise. */
static int
hide_sources(struct error *err)
{
	static const char *const sources[] = {"/" CAPTURE_RUST_SYSROOT
					      "/lib/rustlib/src",
	    "/" CAPTURE_RUST_SYSROOT "/lib/rustlib/rustc-src"};

	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		if (access(sources[i], F_OK) == 0 &&
		    mount("tmpfs", sources[i], "tmpfs", MS_RDONLY, NULL) == -1)
			return fail(err, "cover", sources[i]);
	}
	return 0;
}

static int
bind_fixed(const struct cargo_strings *paths, struct error *err)
{
	int rc = 0;

	for (size_t i = 0; i + 1 < paths->count && rc == 0; i += 2) {
		const char *real = paths->items[i];
		const char *fixed = paths->items[i + 1];
		char *from;

		if (strcmp(real, fixed) == 0 || access(real, F_OK) == -1)
			continue;
		/* Links in it lead into the new root, which has all. */
		from = realpath(real, NULL);
		if (from == NULL)
			rc = fail(err, "find", real);
		if (rc == 0)
			rc = make_directories(fixed, err);
		if (rc == 0)
			rc = bind_directory(from, fixed, err);
		free(from);
	}
	return rc;
}

/* What stands there now would be hidden, and cannot be written below. */
static int
check_free(const struct cargo_strings *paths, struct error *err)
{
	for (size_t i = 0; i + 1 < paths->count; i += 2) {
		const char *fixed = paths->items[i + 1];
		char *top;
		bool taken;

		if (strcmp(paths->items[i], fixed) == 0)
			continue;
		top =
		    xasprintf("/%.*s", (int)strcspn(fixed + 1, "/"), fixed + 1);
		taken = access(top, F_OK) == 0;
		if (taken)
			error_set(err, ERROR_FAILED_PRECONDITION,
			    "no namespace for local compilers: this machine "
			    "has a %s of its own",
			    top);
		free(top);
		if (taken)
			return -1;
	}
	return 0;
}

int
cargo_namespace_enter(const struct cargo_strings *paths, struct error *err)
{
	if (check_free(paths, err) < 0 || unshare_all(err) < 0 ||
	    enter_new_root(err) < 0 || bring_all(err) < 0 ||
	    bind_fixed(paths, err) < 0 || hide_sources(err) < 0)
		return -1;
	if (umount2(OLD, MNT_DETACH) == -1 || rmdir(OLD) == -1)
		return fail(err, "leave", "the old root");
	return 0;
}
