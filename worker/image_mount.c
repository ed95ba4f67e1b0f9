/* SPDX-License-Identifier: Apache-2.0 */
/* The mount interface of Linux 6.15: layers are given as descriptors. */
#include "worker/image_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

/* What the kernel says of a failed file system context, or strerror. */
static int
refused(int context, const char *what, struct error *err)
{
	int number = errno;
	char text[256];
	ssize_t len =
	    context != -1 ? read(context, text, sizeof(text) - 1) : -1;

	if (len <= 0)
		return error_set_errno(err, number, "mount %s", what);
	text[len] = '\0';
	return error_set(err, ERROR_INTERNAL, "mount %s: %s (%s)", what,
	    strerror(number), text);
}

int
image_mount_lower(int image, int *mount, struct error *err)
{
	int context = fsopen("erofs", FSOPEN_CLOEXEC);
	char source[32];
	int rc = 0;

	*mount = -1;
	snprintf(source, sizeof(source), "/proc/self/fd/%d", image);
	if (context == -1 ||
	    fsconfig(context, FSCONFIG_SET_STRING, "source", source, 0) == -1 ||
	    fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == -1) {
		rc = refused(context, "an EROFS image", err);
	} else {
		*mount = fsmount(context, FSMOUNT_CLOEXEC,
		    MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
		if (*mount == -1)
			rc = refused(context, "an EROFS image", err);
	}
	file_close(&context);
	return rc;
}

static bool
add_layer(int context, const char *option, int directory)
{
	return fsconfig(context, FSCONFIG_SET_FD, option, NULL, directory) == 0;
}

static bool
add_bodies(int context, int directory)
{
	return directory == -1 || add_layer(context, "datadir+", directory);
}

/* Layers with data alone are below all others. */
static bool
add_lowers(int context, const struct image_layers *layers)
{
	bool added = true;

	for (size_t i = 0; i < layers->lower_count && added; i++)
		added =
		    add_layer(context, "lowerdir+", layers->lowers[i].mount);
	added = added && add_bodies(context, layers->bodies);
	for (size_t i = 0; i < layers->lower_count && added; i++)
		added = add_bodies(context, layers->lowers[i].bodies);
	return added;
}

static bool
add_scratch(int context, int scratch)
{
	int upper = openat(scratch, IMAGE_MOUNT_UPPER,
	    O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int work = openat(scratch, IMAGE_MOUNT_WORK,
	    O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	/* Directories of the image can be renamed; nothing has to outlive a
	 * crash. */
	bool added =
	    upper != -1 && work != -1 &&
	    add_layer(context, "upperdir", upper) &&
	    add_layer(context, "workdir", work) &&
	    fsconfig(context, FSCONFIG_SET_STRING, "redirect_dir", "on", 0) ==
		0 &&
	    fsconfig(context, FSCONFIG_SET_FLAG, "volatile", NULL, 0) == 0;

	file_close(&upper);
	file_close(&work);
	return added;
}

static int
mount_overlay(
    const struct image_layers *layers, int lower, int *mount, struct error *err)
{
	int context = fsopen("overlay", FSOPEN_CLOEXEC);
	unsigned attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
	int rc = 0;

	if (layers->scratch == -1)
		attributes |= MOUNT_ATTR_RDONLY;
	/* Without other layers metacopy is off: a file that an action changes
	 * the mode of becomes a whole one. With them it must be on: the way
	 * from a name to a body in a data layer leads past them, and off means
	 * that it ends there (EPERM). */
	if (context == -1 || !add_layer(context, "lowerdir+", lower) ||
	    !add_lowers(context, layers) ||
	    fsconfig(context, FSCONFIG_SET_STRING, "metacopy",
		layers->lower_count > 0 ? "on" : "off", 0) == -1 ||
	    (layers->scratch != -1 && !add_scratch(context, layers->scratch)) ||
	    fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == -1) {
		rc = refused(context, "an overlay", err);
	} else {
		*mount = fsmount(context, FSMOUNT_CLOEXEC, attributes);
		if (*mount == -1)
			rc = refused(context, "an overlay", err);
	}
	file_close(&context);
	return rc;
}

int
image_mount(const struct image_layers *layers, struct image_mounts *mounts,
    struct error *err)
{
	*mounts = IMAGE_MOUNTS_NONE;
	if (image_mount_lower(layers->image, &mounts->lower, err) < 0 ||
	    mount_overlay(layers, mounts->lower, &mounts->whole, err) < 0)
		goto failed;
	mounts->shown = open_tree(
	    mounts->whole, layers->top, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (mounts->shown != -1)
		return 0;
	error_set_errno(err, errno, "clone a part of an overlay");
failed:
	image_mounts_close(mounts);
	return -1;
}

void
image_mounts_close(struct image_mounts *mounts)
{
	file_close(&mounts->shown);
	file_close(&mounts->whole);
	file_close(&mounts->lower);
}
