/* SPDX-License-Identifier: Apache-2.0 */
/* Matches the lines of /proc/self/cgroup with those of mountinfo. No state. */
#include "worker/cgroup_host.h"

#include <stdbool.h>
#include <stdio.h>

/* Names of the controllers of version 1. */
static const char *const v1_names[CGROUP_CONTROLLERS] = {
    [CGROUP_MEMORY] = "memory",
    [CGROUP_PIDS] = "pids",
    [CGROUP_CPU] = "cpu",
    [CGROUP_IO] = "blkio"};

/* Whether name is in the list with commas. */
static bool
lists(struct str list, struct str name)
{
	while (list.len > 0)
		if (str_equal(str_cut(&list, ','), name))
			return true;
	return false;
}

/* The group's path of the line "id:controllers:path" with the controller, or
 * without any for "" (version 2); data NULL without such a line. */
static struct str
path_of_group(struct str groups, struct str controller)
{
	while (groups.len > 0) {
		struct str path = str_cut(&groups, '\n');
		struct str list;

		(void)str_cut(&path, ':');
		list = str_cut(&path, ':');
		if (controller.len == 0 ? list.len == 0
					: lists(list, controller))
			return path;
	}
	return (struct str){NULL, 0};
}

struct mount_line {
	struct str root; /* of the hierarchy, what is mounted */
	struct str place;
	struct str type;
	struct str options; /* of the file system */
};

/* "36 35 0:30 root place rw,relatime shared:1 - cgroup cgroup rw,memory" */
static void
parse_mount(struct str line, struct mount_line *mount)
{
	for (int i = 0; i < 3; i++)
		(void)str_cut(&line, ' ');
	mount->root = str_cut(&line, ' ');
	mount->place = str_cut(&line, ' ');
	while (line.len > 0 && !str_equal(str_cut(&line, ' '), STR("-")))
		;
	mount->type = str_cut(&line, ' ');
	(void)str_cut(&line, ' ');
	mount->options = line;
}

/* Where path is, if below the mount's root. */
static bool
find_below(
    const struct mount_line *mount, struct str path, char out[static PATH_MAX])
{
	struct str root = mount->root;
	int len;

	if (str_equal(root, STR("/")))
		root.len = 0;
	if (!str_starts_with(path, root) || str_starts_with(path, STR("/..")) ||
	    (path.len > root.len && path.data[root.len] != '/'))
		return false;
	path.data += root.len;
	path.len -= root.len;
	if (str_equal(path, STR("/")))
		path.len = 0;
	len = snprintf(
	    out, PATH_MAX, "%.*s%.*s", STR_ARG(mount->place), STR_ARG(path));
	if (len > 0 && len < PATH_MAX)
		return true;
	out[0] = '\0';
	return false;
}

static void
find(struct str groups, struct str mounts, struct str controller,
    char out[static PATH_MAX])
{
	struct str type = controller.len == 0 ? STR("cgroup2") : STR("cgroup");
	struct str path = path_of_group(groups, controller);

	out[0] = '\0';
	while (path.len > 0 && mounts.len > 0) {
		struct mount_line mount;

		parse_mount(str_cut(&mounts, '\n'), &mount);
		if (str_equal(mount.type, type) &&
		    (controller.len == 0 || lists(mount.options, controller)) &&
		    find_below(&mount, path, out))
			return;
	}
}

void
cgroup_host_parse(
    struct cgroup_host *host, struct str groups, struct str mounts)
{
	for (size_t i = 0; i < CGROUP_CONTROLLERS; i++)
		find(groups, mounts, str_from(v1_names[i]), host->v1[i]);
	find(groups, mounts, STR(""), host->v2);
}
