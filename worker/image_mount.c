/* SPDX-License-Identifier: Apache-2.0 */
/* The mount interface of Linux 6.15, where layers are given as descriptors, and
 * that of 6.12, where they are given as the paths of descriptors. */
#include "worker/image_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"

#define WHOLE "whole"
#define PATH_LEN 32

static void
path_of(int fd, char path[static PATH_LEN])
{
	snprintf(path, PATH_LEN, "/proc/self/fd/%d", fd);
}

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
image_mount_attach(int mount, int directory, struct error *err)
{
	if (move_mount(mount, "", directory, "",
		MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == -1)
		return error_set_errno(err, errno, "attach a mount");
	return 0;
}

void
image_mount_detach(int mount)
{
	char path[PATH_LEN];

	path_of(mount, path);
	/* Not attached: no harm. */
	(void)umount2(path, MNT_DETACH);
}

/* In a directory of that name in place, if there is a place. */
static int
attach_in(int place, const char *name, int mount, struct error *err)
{
	int directory;
	int rc;

	if (place == -1)
		return 0;
	if (mkdirat(place, name, 0700) == -1 && errno != EEXIST)
		return error_set_errno(err, errno, "make a place for a mount");
	directory =
	    openat(place, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (directory == -1)
		return error_set_errno(err, errno, "open a place for a mount");
	rc = image_mount_attach(mount, directory, err);
	file_close(&directory);
	return rc;
}

static int
mount_lower(int image, int *mount, struct error *err)
{
	int context = fsopen("erofs", FSOPEN_CLOEXEC);
	char source[PATH_LEN];
	int rc = 0;

	*mount = -1;
	path_of(image, source);
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

int
image_mount_lower(int image, int place, int *mount, struct error *err)
{
	if (mount_lower(image, mount, err) < 0)
		return -1;
	if (attach_in(place, IMAGE_MOUNT_LOWER, *mount, err) == 0)
		return 0;
	file_close(mount);
	return -1;
}

/* An overlay in the making. */
struct overlay {
	int context;
	bool by_path;
};

static bool
add_layer(const struct overlay *overlay, const char *option, int directory)
{
	char path[PATH_LEN];

	if (!overlay->by_path)
		return fsconfig(overlay->context, FSCONFIG_SET_FD, option, NULL,
			   directory) == 0;
	path_of(directory, path);
	return fsconfig(
		   overlay->context, FSCONFIG_SET_STRING, option, path, 0) == 0;
}

static bool
add_bodies(const struct overlay *overlay, int directory)
{
	return directory == -1 || add_layer(overlay, "datadir+", directory);
}

/* Layers with data alone are below all others. */
static bool
add_lowers(const struct overlay *overlay, const struct image_layers *layers)
{
	bool added = true;

	for (size_t i = 0; i < layers->lower_count && added; i++)
		added =
		    add_layer(overlay, "lowerdir+", layers->lowers[i].mount);
	added = added && add_bodies(overlay, layers->bodies);
	for (size_t i = 0; i < layers->lower_count && added; i++)
		added = add_bodies(overlay, layers->lowers[i].bodies);
	return added;
}

static bool
add_scratch(const struct overlay *overlay, int scratch)
{
	int context = overlay->context;
	int upper = openat(scratch, IMAGE_MOUNT_UPPER,
	    O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int work = openat(scratch, IMAGE_MOUNT_WORK,
	    O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	/* Directories of the image can be renamed; nothing has to outlive a
	 * crash. */
	bool added =
	    upper != -1 && work != -1 &&
	    add_layer(overlay, "upperdir", upper) &&
	    add_layer(overlay, "workdir", work) &&
	    fsconfig(context, FSCONFIG_SET_STRING, "redirect_dir", "on", 0) ==
		0 &&
	    fsconfig(context, FSCONFIG_SET_FLAG, "volatile", NULL, 0) == 0;

	file_close(&upper);
	file_close(&work);
	return added;
}

/* Without other layers metacopy is off: a file that an action changes the mode
 * of becomes a whole one. With them it must be on: the way from a name to a
 * body in a data layer leads past them, and off means that it ends there
 * (EPERM). By path it is on always: kernels that need that find no body
 * without. */
static bool
set_metacopy(const struct overlay *overlay, const struct image_layers *layers)
{
	bool on = overlay->by_path || layers->lower_count > 0;

	return fsconfig(overlay->context, FSCONFIG_SET_STRING, "metacopy",
		   on ? "on" : "off", 0) == 0;
}

static int
mount_overlay(
    const struct image_layers *layers, int lower, int *mount, struct error *err)
{
	const struct overlay overlay = {
	    fsopen("overlay", FSOPEN_CLOEXEC), layers->place != -1};
	int context = overlay.context;
	unsigned attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
	int rc = 0;

	if (layers->scratch == -1)
		attributes |= MOUNT_ATTR_RDONLY;
	if (context == -1 || !add_layer(&overlay, "lowerdir+", lower) ||
	    !add_lowers(&overlay, layers) || !set_metacopy(&overlay, layers) ||
	    (layers->scratch != -1 &&
		!add_scratch(&overlay, layers->scratch)) ||
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

/* The part of the overlay that is wanted. */
static int
show(const struct image_layers *layers, struct image_mounts *mounts,
    struct error *err)
{
	if (layers->top[0] == '\0') {
		mounts->shown = mounts->whole;
		mounts->whole = -1;
		return 0;
	}
	if (attach_in(layers->place, WHOLE, mounts->whole, err) < 0)
		return -1;
	mounts->shown = open_tree(
	    mounts->whole, layers->top, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (mounts->shown == -1)
		return error_set_errno(
		    err, errno, "clone a part of an overlay");
	return 0;
}

int
image_mount(const struct image_layers *layers, struct image_mounts *mounts,
    struct error *err)
{
	*mounts = IMAGE_MOUNTS_NONE;
	if (image_mount_lower(
		layers->image, layers->place, &mounts->lower, err) == 0 &&
	    mount_overlay(layers, mounts->lower, &mounts->whole, err) == 0 &&
	    show(layers, mounts, err) == 0)
		return 0;
	if (layers->place != -1)
		image_mounts_detach(mounts);
	image_mounts_close(mounts);
	return -1;
}

void
image_mounts_detach(const struct image_mounts *mounts)
{
	if (mounts->whole != -1)
		image_mount_detach(mounts->whole);
	if (mounts->lower != -1)
		image_mount_detach(mounts->lower);
}

void
image_mounts_close(struct image_mounts *mounts)
{
	file_close(&mounts->shown);
	file_close(&mounts->whole);
	file_close(&mounts->lower);
}
