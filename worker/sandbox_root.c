/* SPDX-License-Identifier: Apache-2.0 */
/* Mount calls on the way to an action's root. No state. */
#include "worker/sandbox_root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "worker/run_spec.h"

int
sandbox_root_make_proc(int *mount, struct error *err)
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

int
sandbox_root_open(struct sandbox_root *root, int mount, struct error *err)
{
	if (move_mount(mount, "", AT_FDCWD, "/new", MOVE_MOUNT_F_EMPTY_PATH) ==
	    -1)
		return error_set_errno(err, errno, "attach the root");
	root->fd = open("/new", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root->fd == -1)
		return error_set_errno(err, errno, "open the root");
	return 0;
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
attach_template(struct sandbox_root *root, const char *path, const char *target,
    struct error *err)
{
	int mount = open_tree(
	    AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
	int rc;

	if (mount == -1)
		return error_set_errno(err, errno, "clone %s", path);
	rc = sandbox_root_attach(root, mount, target, err);
	file_close(&mount);
	return rc;
}

static int
attach_one(
    struct sandbox_root *root, const struct run_mount *mount, struct error *err)
{
	char path[64];
	int rc = 0;

	switch (mount->kind) {
	case RUN_MOUNT_PROC:
		rc = sandbox_root_attach(root, root->proc, mount->target, err);
		break;
	case RUN_MOUNT_DEV:
		rc = attach_template(root, "/dev", mount->target, err);
		break;
	case RUN_MOUNT_HOST:
		snprintf(path, sizeof(path), "/host/%s", mount->source);
		rc = attach_template(root, path, mount->target, err);
		break;
	case RUN_MOUNT_FD:
		break;
	}
	return rc;
}

int
sandbox_root_attach_known(
    struct sandbox_root *root, const struct run_spec *spec, struct error *err)
{
	for (size_t i = 0; i < spec->mount_count; i++)
		if (attach_one(root, &spec->mounts[i], err) < 0)
			return -1;
	return 0;
}

int
sandbox_root_enter(struct sandbox_root *root, struct error *err)
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

void
sandbox_root_clear(struct sandbox_root *root)
{
	file_close(&root->fd);
	file_close(&root->proc);
}
