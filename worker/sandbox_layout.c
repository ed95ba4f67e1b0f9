/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the directories of an empty root. No state. */
#include "worker/sandbox_layout.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/str.h"
#include "cas/directory.h"
#include "worker/namespaces.h"

static int
make_directory(int parent, const char *name, mode_t mode, struct error *err)
{
	struct stat status;

	if (mkdirat(parent, name, 0755) == -1) {
		if (errno != EEXIST)
			return error_set_errno(err, errno, "make /%s", name);
		/* An input of that name is there. */
		if (fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) == -1 ||
		    !S_ISDIR(status.st_mode))
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "the input %s stands where the sandbox needs a "
			    "directory of its own",
			    name);
	}
	if (mode != 0755 && fchmodat(parent, name, mode, 0) == -1)
		return error_set_errno(err, errno, "set up /%s", name);
	return 0;
}

static int
show_host(struct sandbox_layout *layout, int root, struct error *err)
{
	size_t count = host_root_list(layout->host);

	for (size_t i = 0; i < count; i++) {
		const struct host_root_entry *entry = &layout->host[i];

		if (entry->target[0] != '\0') {
			if (symlinkat(entry->target, root, entry->name) == -1)
				return error_set_errno(
				    err, errno, "make /%s", entry->name);
			continue;
		}
		if (make_directory(root, entry->name, 0755, err) < 0)
			return -1;
		layout->mounts[layout->mount_count++] = (struct run_mount){
		    RUN_MOUNT_HOST, entry->name, entry->name};
	}
	return 0;
}

/* Whether the path's first name is one that we made. */
static bool
is_taken(const struct sandbox_layout *layout, struct str name)
{
	if (layout->fenced &&
	    (str_equal(name, STR("dev")) || str_equal(name, STR("proc"))))
		return true;
	for (size_t i = 0; i < layout->mount_count; i++)
		if (str_equal(name, str_from(layout->mounts[i].target)))
			return true;
	return false;
}

/* Opens name below parent, made if absent, and closes parent. */
static int
descend(int parent, struct str name, bool give, struct error *err)
{
	char text[DIRECTORY_NAME_MAX + 1];
	int fd = -1;

	if (directory_check_name(name, err) < 0)
		goto out;
	memcpy(text, name.data, name.len);
	text[name.len] = '\0';
	if (mkdirat(parent, text, 0755) == -1 && errno != EEXIST) {
		error_set_errno(err, errno, "make the input root");
		goto out;
	}
	fd = openat(
	    parent, text, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "the input root cannot be there: %s is no directory", text);
	else if (give && fchown(fd, SANDBOX_UID, SANDBOX_GID) == -1) {
		error_set_errno(err, errno, "give away the input root");
		file_close(&fd);
	}
out:
	file_close(&parent);
	return fd;
}

static int
make_input_root(
    const struct sandbox_layout *layout, int root, struct error *err)
{
	struct str rest = str_from(layout->input_root);
	int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool first = true;

	if (fd == -1)
		return error_set_errno(err, errno, "open the root");
	if (rest.len == 0 && layout->chown &&
	    fchown(fd, SANDBOX_UID, SANDBOX_GID) == -1) {
		error_set_errno(err, errno, "give away the root");
		file_close(&fd);
	}
	while (rest.len > 0 && fd != -1) {
		struct str name = str_cut(&rest, '/');

		if (first && is_taken(layout, name)) {
			file_close(&fd);
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "the input root cannot be below /%.*s, which the "
			    "sandbox provides",
			    STR_ARG(name));
		}
		first = false;
		fd = descend(fd, name, layout->chown && rest.len == 0, err);
	}
	if (fd == -1 || layout->inputs == -1)
		return fd;
	file_close(&fd);
	fd = openat(layout->inputs, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1)
		error_set_errno(err, errno, "open the inputs");
	return fd;
}

/* Whether a tree is the root itself. */
static bool
has_root(const struct sandbox_grafts *grafts)
{
	return grafts->count > 0 && grafts->items[0].path.len == 0;
}

static int
check_grafts(const struct sandbox_layout *layout, struct error *err)
{
	const struct sandbox_grafts *grafts = &layout->grafts;

	if (has_root(grafts) && layout->input_root[0] == '\0')
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the input root (InputRootAbsolutePath) and a toolchain "
		    "tree are both to be at /");
	for (size_t i = 0; i < grafts->count; i++) {
		struct str rest = grafts->items[i].path;
		struct str name = str_cut(&rest, '/');

		if (is_taken(layout, name))
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "a toolchain tree cannot be at or below /%.*s, "
			    "which the worker provides",
			    STR_ARG(name));
	}
	return 0;
}

static int
show_trees(struct sandbox_layout *layout, int root, struct error *err)
{
	const struct str places[] = {
	    STR("dev"), STR("proc"), STR("tmp"), str_from(layout->input_root)};
	size_t count = sizeof(places) / sizeof(*places);

	if (layout->grafts.count == 0)
		return 0;
	if (check_grafts(layout, err) < 0)
		return -1;
	layout->grafts.places = places;
	layout->grafts.inputs = layout->inputs;
	layout->grafts.input_root = str_from(layout->input_root);
	layout->grafts.place_count =
	    layout->input_root[0] != '\0' ? count : count - 1;
	return sandbox_graft_all(&layout->grafts, root, err);
}

int
sandbox_layout_furnish(int root, struct error *err)
{
	if (make_directory(root, "dev", 0755, err) < 0 ||
	    make_directory(root, "proc", 0555, err) < 0)
		return -1;
	return make_directory(root, "tmp", 01777, err);
}

int
sandbox_layout_make(struct sandbox_layout *layout, int root, struct error *err)
{
	layout->mount_count = 0;
	if (layout->fenced) {
		if (layout->new_root && sandbox_layout_furnish(root, err) < 0)
			return -1;
		if (layout->host_root && layout->input_root[0] != '\0' &&
		    !has_root(&layout->grafts) &&
		    show_host(layout, root, err) < 0)
			return -1;
	}
	if (show_trees(layout, root, err) < 0)
		return -1;
	return make_input_root(layout, root, err);
}
