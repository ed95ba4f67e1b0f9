/* SPDX-License-Identifier: Apache-2.0 */
/* Tries what staging with images needs, in a directory that is removed. */
#include "worker/staging.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "worker/erofs_image.h"
#include "worker/image_mount.h"
#include "worker/scratch.h"

#define SMALL "small body"
#define LARGE "large body"
#define BODY "body"
#define TOP "top"

static const char *const names[] = {[STAGING_AUTO] = "auto",
    [STAGING_EROFS] = "erofs",
    [STAGING_EROFS_PATH] = "erofs-path",
    [STAGING_TMPFS] = "tmpfs",
    [STAGING_COPIES] = "copies"};

const char *
staging_name(enum staging staging)
{
	return names[staging];
}

bool
staging_parse(const char *name, enum staging *staging)
{
	for (unsigned i = STAGING_AUTO; i <= STAGING_TMPFS; i++) {
		if (strcmp(name, names[i]) != 0)
			continue;
		*staging = (enum staging)i;
		return true;
	}
	return false;
}

bool
staging_has_images(enum staging staging)
{
	return staging == STAGING_EROFS || staging == STAGING_EROFS_PATH;
}

struct probe {
	int directory; /* of the bodies */
	int place;     /* in it, to attach on; -1 where that is not needed */
	int image;
	int root; /* of the scratch */
	int layers;
	struct image_mounts mounts;
};

static int
write_image(void *cookie, uint64_t offset, const void *data, size_t len,
    struct error *err)
{
	const struct probe *probe = cookie;

	return file_pwrite(probe->image, data, len, offset, err);
}

/* A file of either kind. */
static int
fill_top(
    struct erofs_image *image, struct erofs_directory *top, struct error *err)
{
	const struct erofs_attributes attributes = {.mode = 0755};
	uint64_t node;

	erofs_directory_name(top, STR("small"), EROFS_FILE);
	erofs_directory_name(top, STR("large"), EROFS_FILE);
	if (erofs_directory_begin(top, &attributes, err) < 0 ||
	    erofs_image_file(image, &attributes, STR(SMALL), &node, err) < 0)
		return -1;
	erofs_directory_set(top, 0, node);
	if (erofs_image_file_elsewhere(image, &attributes, strlen(LARGE),
		STR("/" BODY), &node, err) < 0)
		return -1;
	erofs_directory_set(top, 1, node);
	return erofs_directory_end(top, err);
}

static int
fill_image(
    struct erofs_image *image, struct erofs_directory *root, struct error *err)
{
	const struct erofs_attributes attributes = {.mode = 0755};
	struct erofs_directory *top;
	uint64_t size;
	int rc;

	erofs_directory_name(root, STR(TOP), EROFS_DIRECTORY);
	if (erofs_directory_begin(root, &attributes, err) < 0)
		return -1;
	top = erofs_directory_new(image, root);
	rc = fill_top(image, top, err);
	if (rc == 0)
		erofs_directory_set(root, 0, erofs_directory_node(top));
	erofs_directory_free(top);
	if (rc < 0 || erofs_directory_end(root, err) < 0)
		return -1;
	return erofs_image_finish(image, &size, err);
}

static int
make_image(struct probe *probe, struct error *err)
{
	const struct erofs_image_options options = {.max_bytes = 1 << 20,
	    .limit = "1M",
	    .write = write_image,
	    .cookie = probe};
	struct erofs_image *image = erofs_image_new(&options);
	struct erofs_directory *root = erofs_directory_new(image, NULL);
	int rc = -1;

	probe->image =
	    openat(probe->directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (probe->image == -1)
		error_set_errno(err, errno,
		    "make a file without a name in the cache directory");
	else
		rc = fill_image(image, root, err);
	erofs_directory_free(root);
	erofs_image_free(image);
	return rc;
}

static int
write_body(const struct probe *probe, struct error *err)
{
	int fd = openat(probe->directory, BODY,
	    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
	int rc = fd == -1 ? error_set_errno(err, errno, "make a body")
			  : file_write(fd, LARGE, strlen(LARGE), err);

	file_close(&fd);
	return rc;
}

static int
expect(int directory, const char *name, const char *content, struct error *err)
{
	char text[32] = "";
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd != -1 ? read(fd, text, sizeof(text) - 1) : -1;
	int number = errno;

	file_close(&fd);
	if (len == -1)
		return error_set_errno(
		    err, number, "read the %s through an overlay", name);
	if (strcmp(text, content) != 0)
		return error_set(err, ERROR_INTERNAL,
		    "%s of a test reads wrongly through an overlay", name);
	return 0;
}

static int
overwrite(int directory, const char *name, struct error *err)
{
	int fd = openat(directory, name, O_WRONLY | O_CLOEXEC);
	int rc = fd == -1
		     ? error_set_errno(err, errno, "open %s for writing", name)
		     : file_write(fd, "changed", 7, err);

	file_close(&fd);
	return rc;
}

/* What an action does: it reads, writes, and changes nothing beneath. */
static int
try_action(struct probe *probe, struct error *err)
{
	const struct scratch_options options = {.bytes = 1 << 20,
	    .files = 100,
	    .layers = true,
	    .place = probe->place};
	struct image_layers layers = {.image = probe->image,
	    .top = TOP,
	    .bodies = probe->directory,
	    .place = -1};

	if (scratch_make(&options, &probe->root, &probe->layers, err) < 0)
		return -1;
	layers.scratch = probe->layers;
	if (probe->place != -1) {
		layers.place = probe->layers;
		if (image_mount_attach(probe->layers, probe->place, err) < 0)
			return -1;
	}
	if (image_mount(&layers, &probe->mounts, err) < 0 ||
	    expect(probe->mounts.shown, "small", SMALL, err) < 0 ||
	    expect(probe->mounts.shown, "large", LARGE, err) < 0 ||
	    overwrite(probe->mounts.shown, "small", err) < 0 ||
	    overwrite(probe->mounts.shown, "large", err) < 0 ||
	    expect(probe->directory, BODY, LARGE, err) < 0)
		return -1;
	image_mounts_close(&probe->mounts);
	image_mount_detach(probe->layers);
	return 0;
}

/* What a tree does: it is attached somewhere and is cloned from there. */
static int
try_tree(struct probe *probe, struct error *err)
{
	const struct image_layers layers = {.image = probe->image,
	    .top = TOP,
	    .bodies = probe->directory,
	    .place = probe->place,
	    .scratch = -1};

	if (mkdirat(probe->directory, "tree", 0700) == -1)
		return error_set_errno(err, errno, "make a directory");
	if (image_mount(&layers, &probe->mounts, err) < 0)
		return -1;
	image_mounts_detach(&probe->mounts);
	if (move_mount(probe->mounts.shown, "", probe->directory, "tree",
		MOVE_MOUNT_F_EMPTY_PATH) == -1)
		return error_set_errno(err, errno, "attach an overlay");
	return expect(probe->directory, "tree/large", LARGE, err);
}

static int
open_place(struct probe *probe, struct error *err)
{
	if (mkdirat(probe->directory, "place", 0700) == -1)
		return error_set_errno(err, errno, "make a directory");
	probe->place = openat(probe->directory, "place",
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (probe->place == -1)
		return error_set_errno(err, errno, "open a directory");
	return 0;
}

static int
try_all(struct probe *probe, enum staging staging, struct error *err)
{
	if (staging == STAGING_EROFS_PATH && open_place(probe, err) < 0)
		return -1;
	if (write_body(probe, err) < 0 || make_image(probe, err) < 0 ||
	    try_action(probe, err) < 0)
		return -1;
	return try_tree(probe, err);
}

static int
probe_in(enum staging staging, const char *path, struct error *err)
{
	struct probe probe = {.directory = -1,
	    .place = -1,
	    .image = -1,
	    .root = -1,
	    .layers = -1,
	    .mounts = IMAGE_MOUNTS_NONE};
	char *tree = xasprintf("%s/tree", path);
	int rc = -1;

	probe.directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (probe.directory == -1)
		error_set_errno(err, errno, "open %s", path);
	else
		rc = try_all(&probe, staging, err);
	image_mounts_detach(&probe.mounts);
	image_mounts_close(&probe.mounts);
	image_mount_detach(probe.layers);
	/* Not mounted: no harm. */
	(void)umount2(tree, MNT_DETACH | UMOUNT_NOFOLLOW);
	file_close(&probe.place);
	file_close(&probe.image);
	file_close(&probe.root);
	file_close(&probe.layers);
	file_close(&probe.directory);
	free(tree);
	return rc;
}

int
staging_probe(enum staging staging, const char *cache, struct error *err)
{
	bool by_path = staging == STAGING_EROFS_PATH;
	char *path = xasprintf("%s/staging-probe", cache);
	struct error ignored;
	int rc = -1;

	/* One may be left from a worker that was killed. */
	if (file_remove_tree(path, err) == 0 &&
	    file_make_directories(path, err) == 0)
		rc = probe_in(staging, path, err);
	if (rc < 0)
		error_prefix(err,
		    "images need root, Linux %s with EROFS (file-backed) "
		    "and overlayfs, and a cache on a disk",
		    by_path ? "6.12" : "6.15");
	(void)file_remove_tree(path, &ignored);
	free(path);
	return rc;
}
