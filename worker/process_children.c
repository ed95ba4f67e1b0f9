/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a list that the kernel keeps. No state. */
#include "worker/process_children.h"

#include <stdio.h>
#include <unistd.h>

void
process_children_each(void (*each)(void *cookie, pid_t child), void *cookie)
{
	char path[64];
	FILE *children;
	long child;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	children = fopen(path, "re");
	if (children == NULL)
		return;
	/* The kernel's own numbers. */
	while (fscanf(children, "%ld", &child) == 1) /* NOLINT */
		each(cookie, (pid_t)child);
	fclose(children);
}
