/* SPDX-License-Identifier: Apache-2.0 */
/* Encoding: a header of counts, then NUL-terminated strings in a fixed order.
 * No state. */
#include "worker/run_spec.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

/* Far above what execve takes, so that the limit that counts is its own. */
#define RUN_SPEC_MAX ((size_t)64 << 20)

struct header {
	uint64_t argument_count;
	uint64_t environment_count;
	uint64_t mount_count;
	uint64_t new_root;
	uint64_t network;
	struct action_limits limits;
};

static int
add_string(struct buffer *out, const char *text)
{
	return buffer_append(out, text, strlen(text) + 1);
}

static int
add_strings(struct buffer *out, const char **strings, size_t count)
{
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		rc = add_string(out, strings[i]);
	return rc;
}

static int
encode(const struct run_spec *spec, struct buffer *out)
{
	struct header header = {spec->argument_count, spec->environment_count,
	    spec->mount_count, spec->new_root, spec->network, spec->limits};

	if (buffer_append(out, &header, sizeof(header)) < 0 ||
	    add_strings(out, spec->arguments, spec->argument_count) < 0 ||
	    add_strings(out, spec->environment, spec->environment_count) < 0 ||
	    add_string(out, spec->search_path) < 0 ||
	    add_string(out, spec->working_directory) < 0)
		return -1;
	for (size_t i = 0; i < spec->mount_count; i++) {
		char kind = (char)spec->mounts[i].kind;

		if (buffer_append(out, &kind, 1) < 0 ||
		    add_string(out, spec->mounts[i].source) < 0 ||
		    add_string(out, spec->mounts[i].target) < 0)
			return -1;
	}
	return 0;
}

int
run_spec_write(const struct run_spec *spec, int *fd, struct error *err)
{
	struct buffer out;
	int rc = -1;

	*fd = -1;
	buffer_init(&out, RUN_SPEC_MAX);
	if (encode(spec, &out) < 0) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "arguments and environment exceed %zu bytes", RUN_SPEC_MAX);
		goto out;
	}
	*fd = memfd_create("run", MFD_CLOEXEC);
	if (*fd == -1) {
		error_set_errno(err, errno, "make a memory file");
		goto out;
	}
	rc = file_write(*fd, out.data, out.len, err);
out:
	if (rc < 0)
		file_close(fd);
	buffer_clear(&out);
	return rc;
}

/* The string at *next, which moves behind it; NULL when none ends before end.
 */
static const char *
next_string(const char **next, const char *end)
{
	const char *text = *next;
	const char *nul = memchr(text, '\0', (size_t)(end - text));

	if (nul == NULL)
		return NULL;
	*next = nul + 1;
	return text;
}

static const char **
next_strings(const char **next, const char *end, size_t count)
{
	const char **strings = xcalloc(count + 1, sizeof(*strings));

	for (size_t i = 0; i < count; i++) {
		strings[i] = next_string(next, end);
		if (strings[i] == NULL) {
			free(strings);
			return NULL;
		}
	}
	return strings;
}

static int
decode(const char *data, size_t size, struct run_spec *spec)
{
	const char *next = data + sizeof(struct header);
	const char *end = data + size;
	struct header header;

	if (size < sizeof(header))
		return -1;
	memcpy(&header, data, sizeof(header));
	if (header.argument_count > size || header.environment_count > size ||
	    header.mount_count > size)
		return -1;
	spec->argument_count = (size_t)header.argument_count;
	spec->environment_count = (size_t)header.environment_count;
	spec->mount_count = (size_t)header.mount_count;
	spec->new_root = header.new_root != 0;
	spec->network = header.network != 0;
	spec->limits = header.limits;
	spec->arguments = next_strings(&next, end, spec->argument_count);
	if (spec->arguments == NULL)
		return -1;
	spec->environment = next_strings(&next, end, spec->environment_count);
	if (spec->environment == NULL)
		return -1;
	spec->search_path = next_string(&next, end);
	if (spec->search_path == NULL)
		return -1;
	spec->working_directory = next_string(&next, end);
	if (spec->working_directory == NULL)
		return -1;
	spec->mounts = xcalloc(spec->mount_count + 1, sizeof(*spec->mounts));
	for (size_t i = 0; i < spec->mount_count; i++) {
		struct run_mount *mount = &spec->mounts[i];

		if (next == end)
			return -1;
		mount->kind = (enum run_mount_kind) * next++;
		mount->source = next_string(&next, end);
		if (mount->source == NULL)
			return -1;
		mount->target = next_string(&next, end);
		if (mount->target == NULL)
			return -1;
	}
	return 0;
}

int
run_spec_read(int fd, struct run_spec *spec, struct error *err)
{
	struct stat status;
	void *data;

	if (fstat(fd, &status) == -1)
		return error_set_errno(err, errno, "read what to run");
	data =
	    mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		return error_set_errno(err, errno, "read what to run");
	memset(spec, 0, sizeof(*spec));
	if (decode(data, (size_t)status.st_size, spec) < 0)
		return error_set(
		    err, ERROR_INTERNAL, "what to run was garbled on its way");
	return 0;
}
