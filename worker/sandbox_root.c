/* SPDX-License-Identifier: Apache-2.0 */
/* Mount calls on the way to an action's root. No state. */
#include "worker/sandbox_root.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "worker/run_spec.h"

/* Of the template, and of a root that is replaced. */
#define NEW "/new"
#define HOST "/host"

/* For the calling process's PID namespace. */
static int
make_proc(int *mount, struct error *err)
{
	int context = fsopen("proc", FSOPEN_CLOEXEC);

	*mount = -1;
	if (context == -1 ||
	    fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == -1) {
		error_set_errno(err, errno, "make /proc of the sandbox");
		file_close(&context);
		return -1;
	}
	*mount = fsmount(context, FSMOUNT_CLOEXEC,
	    MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (*mount == -1)
		error_set_errno(err, errno, "mount /proc of the sandbox");
	file_close(&context);
	return *mount == -1 ? -1 : 0;
}

static int
clone_mount(const char *path, int *mount, struct error *err)
{
	*mount = open_tree(
	    AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	if (*mount == -1)
		return error_set_errno(err, errno, "clone %s", path);
	return 0;
}

/* Those that a template without --host-root has: none. */
static int
take_host(struct sandbox_root *root, struct error *err)
{
	DIR *stream = opendir(HOST);
	const struct dirent *entry;
	char path[32];
	int rc = 0;

	if (stream == NULL)
		return error_set_errno(err, errno, "read " HOST);
	while (rc == 0 && (entry = readdir(stream)) != NULL &&
	       root->host_count < HOST_ROOT_MAX) {
		size_t i = root->host_count;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(root->host[i].name, sizeof(root->host[i].name),
		    "%.15s", entry->d_name);
		snprintf(path, sizeof(path), HOST "/%s", root->host[i].name);
		rc = clone_mount(path, &root->host[i].mount, err);
		root->host_count += rc == 0;
	}
	closedir(stream);
	return rc;
}

int
sandbox_root_attach(
    struct sandbox_root *root, int mount, const char *target, struct error *err)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC,
	    .resolve =
		RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
	int place =
	    (int)syscall(SYS_openat2, root->fd, target, &how, sizeof(how));
	int rc = 0;

	if (place == -1)
		return error_set_errno(
		    err, errno, "find /%s to mount on", target);
	if (move_mount(mount, "", place, "",
		MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == -1)
		rc = error_set_errno(err, errno, "mount on /%s", target);
	file_close(&place);
	return rc;
}

static int
pivot(const struct sandbox_root *root, struct error *err)
{
	if (fchdir(root->fd) == -1)
		return error_set_errno(err, errno, "enter the root");
	if (syscall(SYS_pivot_root, ".", ".") == -1)
		return error_set_errno(err, errno, "make it the root");
	if (umount2(".", MNT_DETACH) == -1)
		return error_set_errno(err, errno, "detach the old root");
	if (chdir("/") == -1)
		return error_set_errno(err, errno, "enter the root");
	return 0;
}

/* proc and dev are detached mounts. */
static int
move_in(
    struct sandbox_root *root, int mount, int proc, int dev, struct error *err)
{
	if (move_mount(mount, "", AT_FDCWD, NEW, MOVE_MOUNT_F_EMPTY_PATH) == -1)
		return error_set_errno(err, errno, "attach the root");
	file_close(&root->fd);
	root->fd = open(NEW, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root->fd == -1)
		return error_set_errno(err, errno, "open the root");
	if (sandbox_root_attach(root, proc, "proc", err) < 0 ||
	    sandbox_root_attach(root, dev, "dev", err) < 0)
		return -1;
	return pivot(root, err);
}

int
sandbox_root_enter(struct sandbox_root *root, int mount, struct error *err)
{
	int proc = -1;
	int dev = -1;
	int rc = -1;

	root->fd = -1;
	root->host_count = 0;
	if (take_host(root, err) == 0 && make_proc(&proc, err) == 0 &&
	    clone_mount("/dev", &dev, err) == 0)
		rc = move_in(root, mount, proc, dev, err);
	file_close(&proc);
	file_close(&dev);
	return rc;
}

int
sandbox_root_replace(struct sandbox_root *root, int mount, struct error *err)
{
	int proc = -1;
	int dev = -1;
	int rc = -1;

	if (mkdir(NEW, 0700) == -1)
		return error_set_errno(err, errno, "make " NEW);
	if (clone_mount("/proc", &proc, err) == 0 &&
	    clone_mount("/dev", &dev, err) == 0)
		rc = move_in(root, mount, proc, dev, err);
	file_close(&proc);
	file_close(&dev);
	return rc;
}

static int
attach_host(
    struct sandbox_root *root, const struct run_mount *mount, struct error *err)
{
	for (size_t i = 0; i < root->host_count; i++)
		if (strcmp(root->host[i].name, mount->source) == 0)
			return sandbox_root_attach(
			    root, root->host[i].mount, mount->target, err);
	return error_set(err, ERROR_INTERNAL,
	    "the sandbox has no /%s of the host", mount->source);
}

int
sandbox_root_attach_known(
    struct sandbox_root *root, const struct run_spec *spec, struct error *err)
{
	for (size_t i = 0; i < spec->mount_count; i++)
		if (spec->mounts[i].kind == RUN_MOUNT_HOST &&
		    attach_host(root, &spec->mounts[i], err) < 0)
			return -1;
	return 0;
}
