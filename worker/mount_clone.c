/* SPDX-License-Identifier: Apache-2.0 */
/* open_tree and mount_setattr. No state. */
#include "worker/mount_clone.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>

#include "base/error.h"
#include "worker/fd_message.h"

int
mount_clone(
    const struct fd_message *in, struct fd_message *out, struct error *err)
{
	struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY |
					      MOUNT_ATTR_NOSUID |
					      MOUNT_ATTR_NODEV};

	for (size_t i = 0; i < in->fd_count; i++) {
		int mount = open_tree(in->fds[i], "",
		    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

		if (mount == -1)
			return error_set_errno(err, errno, "bind an input");
		out->fds[out->fd_count++] = mount;
		if (mount_setattr(
			mount, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == -1)
			return error_set_errno(
			    err, errno, "make an input read-only");
	}
	return 0;
}
