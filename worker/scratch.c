/* SPDX-License-Identifier: Apache-2.0 */
/* Mount calls for a tmpfs. No state. */
#include "worker/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "worker/image_mount.h"

#define ROOT "root"

static int
mount_tmpfs(const struct scratch_options *options, int *mount)
{
	int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
	char bytes[32];
	char files[32];

	snprintf(
	    bytes, sizeof(bytes), "%llu", (unsigned long long)options->bytes);
	snprintf(
	    files, sizeof(files), "%llu", (unsigned long long)options->files);
	if (context != -1 &&
	    fsconfig(context, FSCONFIG_SET_STRING, "mode", "0755", 0) == 0 &&
	    fsconfig(context, FSCONFIG_SET_STRING, "size", bytes, 0) == 0 &&
	    fsconfig(context, FSCONFIG_SET_STRING, "nr_inodes", files, 0) ==
		0 &&
	    fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		*mount = fsmount(context, FSMOUNT_CLOEXEC,
		    MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	file_close(&context);
	return *mount != -1 ? 0 : -1;
}

/* The root becomes a mount of its own, of one directory. */
static int
split(int mount, int *root)
{
	if (mkdirat(mount, ROOT, 0755) == -1 ||
	    mkdirat(mount, IMAGE_MOUNT_UPPER, 0755) == -1 ||
	    mkdirat(mount, IMAGE_MOUNT_WORK, 0700) == -1)
		return -1;
	*root = open_tree(mount, ROOT, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	return *root != -1 ? 0 : -1;
}

/* *mount is attached meanwhile, and another one of the same afterwards. */
static int
split_attached(int *mount, int place, int *root, struct error *err)
{
	int again = -1;
	int rc = -1;

	if (image_mount_attach(*mount, place, err) < 0)
		return -1;
	if (split(*mount, root) == 0)
		again = open_tree(*mount, "",
		    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (again != -1)
		rc = 0;
	else
		error_set_errno(err, errno, "divide a file system in memory");
	image_mount_detach(*mount);
	file_close(mount);
	*mount = again;
	return rc;
}

int
scratch_make(const struct scratch_options *options, int *root, int *layers,
    struct error *err)
{
	int mount = -1;
	int rc = 0;

	*root = *layers = -1;
	if (mount_tmpfs(options, &mount) == -1)
		return error_set_errno(err, errno,
		    "make a file system in memory of %llu bytes",
		    (unsigned long long)options->bytes);
	if (!options->layers) {
		*root = mount;
		return 0;
	}
	if (options->place != -1)
		rc = split_attached(&mount, options->place, root, err);
	else if (split(mount, root) == -1)
		rc = error_set_errno(
		    err, errno, "divide a file system in memory");
	if (rc < 0) {
		file_close(root);
		file_close(&mount);
		return -1;
	}
	*layers = mount;
	return 0;
}
