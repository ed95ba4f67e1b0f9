/* SPDX-License-Identifier: Apache-2.0 */
/* Glue between image, large bodies and the tree's directory. */
#include "worker/tree_image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/store.h"
#include "worker/image_build.h"
#include "worker/image_mount.h"
#include "worker/stage_file.h"
#include "worker/tree_build.h"

#define IMAGE "image"
#define BODIES "bodies"
#define ROOT "root"

struct work {
	struct tree_build *build;
	int bodies;
};

/* Takes the blob. */
static int
write_body(const struct work *work, const char *name, struct blob *blob,
    struct error *err)
{
	int fd = openat(
	    work->bodies, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
	int rc;

	if (fd == -1) {
		blob_free(blob);
		return error_set_errno(err, errno, "make %s", name);
	}
	rc = stage_file_fill(fd, blob, err);
	file_close(&fd);
	return rc;
}

/* Takes the blob. */
static int
keep_body(void *cookie, struct blob *blob,
    char name[static IMAGE_BODY_NAME_MAX], struct error *err)
{
	const struct work *work = cookie;
	const struct digest *digest = blob_digest(blob);
	struct stat status;
	char hash[DIGEST_TEXT_MAX];

	snprintf(name, IMAGE_BODY_NAME_MAX, "%s-%s",
	    digest_function_name(digest->function),
	    digest_format_hash(digest, hash));
	/* The same content may be there twice. */
	if (fstatat(work->bodies, name, &status, AT_SYMLINK_NOFOLLOW) == 0) {
		blob_free(blob);
		return 0;
	}
	if (tree_build_count(work->build, digest->size, err) < 0) {
		blob_free(blob);
		return -1;
	}
	if (!stage_file_link(blob_descriptor(blob), work->bodies, name))
		return write_body(work, name, blob, err);
	blob_free(blob);
	return 0;
}

static int
open_parts(int directory, struct work *work, int *image, struct error *err)
{
	if (mkdirat(directory, BODIES, 0700) == -1)
		return error_set_errno(err, errno, "make a tree's directory");
	work->bodies =
	    openat(directory, BODIES, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*image = openat(
	    directory, IMAGE, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (work->bodies == -1 || *image == -1)
		return error_set_errno(err, errno, "make a tree's image");
	return 0;
}

int
tree_image_build(struct tree_build *build, const struct tree_image *tree,
    const struct digest *root, struct error *err)
{
	struct work work = {.build = build, .bodies = -1};
	struct image_build image = {.store = build->store,
	    .what = "tree",
	    .cancel_fd = build->cancel_fd,
	    .missing = build->missing,
	    .max_bytes = build->max_bytes,
	    .limit = "tree-cache-size",
	    .uid = tree->uid,
	    .gid = tree->gid,
	    .image = -1,
	    .keep_body = keep_body,
	    .cookie = &work,
	    .top = tree->top};
	int rc;

	build->bytes = 0;
	rc = open_parts(tree->directory, &work, &image.image, err);
	if (rc == 0)
		rc = image_build(&image, root, err);
	if (rc == 0)
		rc = tree_build_count(build, image.bytes, err);
	file_close(&image.image);
	file_close(&work.bodies);
	return rc;
}

static int
place_of(const struct tree_image *tree)
{
	return tree->by_path ? tree->directory : -1;
}

static int
open_image(const struct tree_image *tree, struct error *err)
{
	int image = openat(tree->directory, IMAGE, O_RDONLY | O_CLOEXEC);

	return image != -1 ? image
			   : error_set_errno(err, errno, "open a tree's image");
}

static int
open_bodies(const struct tree_image *tree, struct error *err)
{
	int bodies =
	    openat(tree->directory, BODIES, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return bodies != -1
		   ? bodies
		   : error_set_errno(err, errno, "open a tree's bodies");
}

int
tree_image_mount(const struct tree_image *tree, struct error *err)
{
	struct image_layers layers = {.top = tree->top,
	    .place = place_of(tree),
	    .image = -1,
	    .bodies = -1,
	    .scratch = -1};
	struct image_mounts mounts = IMAGE_MOUNTS_NONE;
	int rc = -1;

	layers.image = open_image(tree, err);
	if (layers.image != -1)
		layers.bodies = open_bodies(tree, err);
	if (layers.bodies != -1)
		rc = image_mount(&layers, &mounts, err);
	if (rc == 0 && move_mount(mounts.shown, "", tree->directory, ROOT,
			   MOVE_MOUNT_F_EMPTY_PATH) == -1)
		rc = error_set_errno(err, errno, "attach a tree");
	if (tree->by_path)
		image_mounts_detach(&mounts);
	image_mounts_close(&mounts);
	file_close(&layers.image);
	file_close(&layers.bodies);
	return rc;
}

/* A directory that nothing is in need not be kept open. */
static bool
is_empty(int directory)
{
	int again = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = again != -1 ? fdopendir(again) : NULL;
	const struct dirent *entry;
	bool empty = stream != NULL;

	if (stream == NULL)
		file_close(&again);
	while (empty && (entry = readdir(stream)) != NULL)
		empty = strcmp(entry->d_name, ".") == 0 ||
			strcmp(entry->d_name, "..") == 0;
	if (stream != NULL)
		closedir(stream);
	return empty;
}

int
tree_image_open_layer(
    const struct tree_image *tree, struct image_lower *lower, struct error *err)
{
	int image = open_image(tree, err);
	int rc = -1;

	*lower = (struct image_lower){-1, -1};
	if (image != -1)
		lower->bodies = open_bodies(tree, err);
	if (lower->bodies != -1)
		rc = image_mount_lower(
		    image, place_of(tree), &lower->mount, err);
	if (lower->bodies != -1 && (rc < 0 || is_empty(lower->bodies)))
		file_close(&lower->bodies);
	file_close(&image);
	return rc;
}

void
tree_image_unmount(const char *path)
{
	static const char *const places[] = {ROOT, IMAGE_MOUNT_LOWER};

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		char *place = xasprintf("%s/%s", path, places[i]);

		/* Not mounted: no harm. */
		(void)umount2(place, MNT_DETACH | UMOUNT_NOFOLLOW);
		free(place);
	}
}
