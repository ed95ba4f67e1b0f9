/* SPDX-License-Identifier: Apache-2.0 */
/* /proc/self/statm and glibc's malloc. No state. */
#include "base/process_memory.h"

#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include "base/str.h"

/* The next number of the line, which is in pages, as bytes. */
static bool
take_pages(struct str *line, uint64_t *bytes)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (!str_to_uint64(str_cut(line, ' '), INT64_MAX / page, bytes))
		return false;
	*bytes *= page;
	return true;
}

int
process_memory_open(void)
{
	return open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
}

bool
process_memory_read(int source, struct process_memory *memory)
{
	char text[256];
	ssize_t len = pread(source, text, sizeof(text), 0);
	struct str line = {text, len > 0 ? (size_t)len : 0};
	uint64_t files;

	if (!take_pages(&line, &memory->virtual) ||
	    !take_pages(&line, &memory->resident) || !take_pages(&line, &files))
		return false;
	memory->anonymous =
	    memory->resident > files ? memory->resident - files : 0;
	return true;
}

uint64_t
process_memory_allocated(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

void
process_memory_trim(void)
{
	malloc_trim(0);
}
