/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at the host's top directories. No state. */
#include "worker/host_root.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const names[HOST_ROOT_MAX] = {
    "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc"};

size_t
host_root_list(struct host_root_entry entries[static HOST_ROOT_MAX])
{
	size_t count = 0;

	for (size_t i = 0; i < HOST_ROOT_MAX; i++) {
		struct host_root_entry *entry = &entries[count];
		struct stat status;
		char path[16];
		ssize_t len;

		snprintf(path, sizeof(path), "/%s", names[i]);
		if (lstat(path, &status) == -1)
			continue;
		entry->name = names[i];
		entry->target[0] = '\0';
		if (S_ISLNK(status.st_mode)) {
			len = readlink(
			    path, entry->target, sizeof(entry->target) - 1);
			if (len <= 0)
				continue;
			entry->target[len] = '\0';
		} else if (!S_ISDIR(status.st_mode)) {
			continue;
		}
		count++;
	}
	return count;
}
