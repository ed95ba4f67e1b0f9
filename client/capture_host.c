/* SPDX-License-Identifier: Apache-2.0 */
/* Paths of this machine, with their links; capture_libraries.c finds what
 * programs need. */
#include "client/capture_host.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/memory.h"
#include "cas/directory.h"
#include "client/capture_directory.h"
#include "client/capture_notes.h"
#include "client/capture_tree.h"

/* Links that are followed for one path, as Linux does. */
#define LINKS_MAX 40
#define PATH_BYTES_MAX 65536u

void
capture_host_init(struct capture_host *host, struct capture_tree *tree,
    struct capture_notes *notes, const char *root)
{
	*host =
	    (struct capture_host){.tree = tree, .notes = notes, .root = root};
	map_init(&host->scanned);
	map_init(&host->links);
}

static void
clear_paths(struct map *paths)
{
	size_t position = 0;
	char *path;

	while ((path = map_next(paths, &position)) != NULL)
		free(path);
	map_clear(paths);
}

void
capture_host_clear(struct capture_host *host)
{
	clear_paths(&host->scanned);
	clear_paths(&host->links);
	free(host->loader);
}

/* --- one path ------------------------------------------------------------- */

/* A path on its way to the end of its links. */
struct passing {
	struct capture_host *host;
	struct buffer done; /* real so far: "/usr/bin"; "" = the root */
	char *held;         /* owned; what rest points into */
	struct str rest;    /* names still to come; data NULL = none */
	unsigned links;
};

static void
drop_last_name(struct buffer *path)
{
	while (path->len > 0 && path->data[path->len - 1] != '/')
		path->len--;
	if (path->len > 0)
		path->len--;
	if (path->data != NULL)
		path->data[path->len] = '\0';
}

/* done as a path in the tree. */
static struct str
tree_path(const struct passing *passing)
{
	return (struct str){passing->done.data + 1, passing->done.len - 1};
}

static int
pass_link(struct passing *passing, const char *source, struct error *err)
{
	char target[DIRECTORY_TARGET_MAX + 1];
	ssize_t len = readlink(source, target, sizeof(target) - 1);
	char *held;

	if (len == -1)
		return error_set_errno(err, errno, "read link %s", source);
	target[len] = '\0';
	if (++passing->links > LINKS_MAX)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "%s goes through too many symbolic links", source);
	/* What stands there stays: others hold its entry. */
	if (capture_tree_find(passing->host->tree, tree_path(passing)) ==
		NULL &&
	    capture_tree_add_symlink(passing->host->tree, tree_path(passing),
		str_from(target), err) < 0)
		return -1;
	drop_last_name(&passing->done);
	if (target[0] == '/')
		buffer_reset(&passing->done);
	held = passing->rest.data != NULL
		   ? xasprintf("%s/%.*s", target, STR_ARG(passing->rest))
		   : xstrdup(target);
	free(passing->held);
	passing->held = held;
	passing->rest = str_from(held);
	return 1;
}

static int
pass_file(struct passing *passing, const char *source,
    const struct stat *status, struct error *err)
{
	const struct capture_file file = {
	    .executable = (status->st_mode & 0111) != 0,
	    .source = source,
	    .size = (uint64_t)status->st_size,
	};
	struct str path = tree_path(passing);

	if (passing->rest.data != NULL)
		return 0; /* something below a file */
	if (capture_tree_find(passing->host->tree, path) != NULL)
		return 1;
	return capture_tree_add_file(passing->host->tree, path, &file, err) < 0
		   ? -1
		   : 1;
}

/* The next name. 1, 0 when it does not exist, -1. */
static int
pass_name(struct passing *passing, struct str name, struct error *err)
{
	struct stat status;
	char *source;
	int rc = 1;

	if (name.len == 0 || str_equal(name, STR(".")))
		return 1;
	if (str_equal(name, STR(".."))) {
		drop_last_name(&passing->done);
		return 1;
	}
	if (buffer_printf(&passing->done, "/%.*s", STR_ARG(name)) < 0)
		return error_set(
		    err, ERROR_INVALID_ARGUMENT, "a path is too long");
	source = xasprintf("%s%s", passing->host->root, passing->done.data);
	if (lstat(source, &status) == -1)
		rc = errno == ENOENT || errno == ENOTDIR
			 ? 0
			 : error_set_errno(err, errno, "stat %s", source);
	else if (S_ISLNK(status.st_mode))
		rc = pass_link(passing, source, err);
	else if (S_ISREG(status.st_mode))
		rc = pass_file(passing, source, &status, err);
	else if (S_ISDIR(status.st_mode))
		rc = capture_tree_add_directory(
			 passing->host->tree, tree_path(passing), err) < 0
			 ? -1
			 : 1;
	else
		rc = 0;
	free(source);
	return rc;
}

int
capture_host_add(
    struct capture_host *host, const char *path, char **real, struct error *err)
{
	struct passing passing = {.host = host, .held = xstrdup(path)};
	int rc = 1;

	passing.rest = str_from(passing.held);
	buffer_init(&passing.done, PATH_BYTES_MAX);
	while (rc == 1 && passing.rest.data != NULL)
		rc = pass_name(&passing, str_cut(&passing.rest, '/'), err);
	if (rc == 1 && real != NULL)
		*real = xstrdup(passing.done.len > 0 ? passing.done.data : "/");
	free(passing.held);
	buffer_clear(&passing.done);
	return rc;
}

/* --- directories ---------------------------------------------------------- */

static void
remember_link(struct capture_host *host, const char *path)
{
	char *copy;

	if (map_get(&host->links, str_from(path)) != NULL)
		return;
	copy = xstrdup(path);
	map_put(&host->links, str_from(copy), copy);
}

/* Files that the links at or below a directory lead to. */
static int
follow_links(struct capture_host *host, struct str below, struct error *err)
{
	size_t count;
	struct capture_entry **list = capture_tree_list(host->tree, &count);
	int rc = 0;

	for (size_t i = 0; i < count && rc >= 0; i++) {
		struct str path = str_from(list[i]->path);
		char *absolute;

		if (list[i]->kind != CAPTURE_SYMLINK ||
		    !str_starts_with(path, below))
			continue;
		absolute = xasprintf("/%s", list[i]->path);
		remember_link(host, list[i]->path);
		rc = capture_host_add(host, absolute, NULL, err);
		if (rc == 0)
			capture_notes_add(host->notes,
			    "%s is a link that leads nowhere", absolute);
		free(absolute);
	}
	free(list);
	return rc < 0 ? -1 : 0;
}

int
capture_host_add_content(struct capture_host *host, const char *path,
    bool (*wanted)(void *cookie, struct str path, bool directory),
    struct error *err)
{
	struct capture_directory_options options = {
	    .wanted = wanted, .notes = host->notes};
	char *real = NULL, *source;
	struct stat status;
	int rc = capture_host_add(host, path, &real, err);

	if (rc != 1)
		return rc;
	source = xasprintf("%s%s", host->root, real);
	options.path = source;
	options.into = str_from(real + 1);
	if (lstat(source, &status) == -1 || !S_ISDIR(status.st_mode))
		rc = 0;
	else if (capture_directory(host->tree, &options, err) < 0 ||
		 follow_links(host, options.into, err) < 0)
		rc = -1;
	free(source);
	free(real);
	return rc;
}
