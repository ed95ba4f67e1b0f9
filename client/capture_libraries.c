/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What programs need to run: for every ELF file its loader and libraries, for
 * every script its interpreter. Libraries are looked for as the loader does
 * (ld.so(8)): run paths, then the system's directories. The captured root has
 * no ld.so.cache, so a library that this machine finds through ld.so.conf gets
 * a link beside the loader.
 */
#include "client/capture_host.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "client/capture_notes.h"
#include "client/capture_tree.h"
#include "client/elf_needed.h"

#define CONFIG_BYTES_MAX (1u << 20)
#define CONFIG_DEPTH_MAX 4

/* --- mapping files -------------------------------------------------------- */

/* The bytes of a file, read-only; len 0 for what cannot be mapped. */
static struct str
map_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct str bytes = {NULL, 0};
	struct stat status;
	void *mapped;

	if (fd == -1)
		return bytes;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
	    status.st_size > 0) {
		mapped = mmap(NULL, (size_t)status.st_size, PROT_READ,
		    MAP_PRIVATE, fd, 0);
		if (mapped != MAP_FAILED)
			bytes = (struct str){mapped, (size_t)status.st_size};
	}
	file_close(&fd);
	return bytes;
}

static void
unmap_file(struct str bytes)
{
	if (bytes.len > 0)
		(void)munmap((void *)(uintptr_t)bytes.data, bytes.len);
}

/* --- finding a library ---------------------------------------------------- */

/* One look for one library. */
struct search {
	struct capture_host *host;
	struct str user; /* the file that needs it, by its path in the tree */
	const struct elf_needed *needed; /* of that file */
	struct str name;
	struct error *err;
};

/* Where the GNU loader looks without being told, by multiarch name. */
static const char *
multiarch(uint16_t machine)
{
	switch (machine) {
	case EM_X86_64:
		return "x86_64-linux-gnu";
	case EM_386:
		return "i386-linux-gnu";
	case EM_AARCH64:
		return "aarch64-linux-gnu";
	case EM_ARM:
		return "arm-linux-gnueabihf";
	case EM_RISCV:
		return "riscv64-linux-gnu";
	case EM_PPC64:
		return "powerpc64le-linux-gnu";
	case EM_S390:
		return "s390x-linux-gnu";
	default:
		return "unknown";
	}
}

static bool
fits(const struct search *search, const char *path)
{
	struct str bytes = map_file(path);
	struct elf_needed *found = xmalloc(sizeof(*found));
	struct error ignored;
	bool ok = elf_needed_read(bytes, found, &ignored) == 1 &&
		  found->class == search->needed->class &&
		  found->machine == search->needed->machine;

	/* The loader itself needs nothing, and counts. */
	free(found);
	unmap_file(bytes);
	return ok;
}

/* 1 when path (absolute) is in the tree, or on this machine and then added. */
static int
try_path(const struct search *search, const char *path)
{
	char *source, *resolved;
	bool there;
	int rc = 0;

	resolved = capture_tree_resolve(
	    search->host->tree, str_from(path + 1), search->err);
	if (resolved == NULL)
		return -1;
	there =
	    capture_tree_find(search->host->tree, str_from(resolved)) != NULL;
	free(resolved);
	if (there)
		return 1;
	source = xasprintf("%s%s", search->host->root, path);
	if (fits(search, source))
		rc = capture_host_add(search->host, path, NULL, search->err);
	free(source);
	return rc;
}

static int
try_directory(const struct search *search, struct str directory)
{
	char *path;
	int rc;

	if (directory.len == 0 || directory.data[0] != '/')
		return 0;
	path =
	    xasprintf("%.*s/%.*s", STR_ARG(directory), STR_ARG(search->name));
	rc = try_path(search, path);
	free(path);
	return rc;
}

/* The directory of the file that needs it. */
static struct str
origin(const struct search *search)
{
	struct str directory = search->user;

	while (directory.len > 0 && directory.data[directory.len - 1] != '/')
		directory.len--;
	return directory.len > 0
		   ? (struct str){directory.data, directory.len - 1}
		   : directory;
}

/* A list of directories with ":" between, in which $ORIGIN may stand. */
static int
try_run_path(const struct search *search, struct str list)
{
	int rc = 0;

	while (list.data != NULL && rc == 0) {
		struct str item = str_cut(&list, ':');
		struct str mark = STR("$ORIGIN");
		struct str braced = STR("${ORIGIN}");
		char *directory;

		if (str_starts_with(item, braced))
			mark = braced;
		if (!str_starts_with(item, mark)) {
			rc = try_directory(search, item);
			continue;
		}
		item.data += mark.len;
		item.len -= mark.len;
		directory = xasprintf(
		    "/%.*s%.*s", STR_ARG(origin(search)), STR_ARG(item));
		rc = try_directory(search, str_from(directory));
		free(directory);
	}
	return rc;
}

static int
try_system(const struct search *search)
{
	static const char *const patterns[] = {"/lib/%s", "/usr/lib/%s",
	    "/lib64", "/usr/lib64", "/lib", "/usr/lib"};
	const char *name = multiarch(search->needed->machine);
	int rc = 0;

	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		char directory[64];
		size_t len = strcspn(patterns[i], "%");

		memcpy(directory, patterns[i], len);
		directory[len] = '\0';
		if (patterns[i][len] == '%')
			(void)strncat(
			    directory, name, sizeof(directory) - len - 1);
		rc = try_directory(search, str_from(directory));
		if (rc != 0)
			break;
	}
	return rc;
}

/* --- ld.so.conf ----------------------------------------------------------- */

/* Found through the configuration alone: a link where the loader looks. */
static int
link_beside_loader(const struct search *search, struct str directory)
{
	char *link, *target;
	int rc = 0;

	if (search->host->loader == NULL)
		return 1;
	link = xasprintf(
	    "%s/%.*s", search->host->loader + 1, STR_ARG(search->name));
	target =
	    xasprintf("%.*s/%.*s", STR_ARG(directory), STR_ARG(search->name));
	if (capture_tree_find(search->host->tree, str_from(link)) == NULL)
		rc = capture_tree_add_symlink(search->host->tree,
		    str_from(link), str_from(target), search->err);
	free(link);
	free(target);
	return rc < 0 ? -1 : 1;
}

static int try_config(
    const struct search *search, const char *path, unsigned depth);

static int
try_include(const struct search *search, struct str pattern, unsigned depth)
{
	char *full = xasprintf("%s%s%.*s", search->host->root,
	    pattern.data[0] == '/' ? "" : "/etc/", STR_ARG(pattern));
	glob_t found;
	int rc = 0;

	if (glob(full, 0, NULL, &found) == 0) {
		for (size_t i = 0; i < found.gl_pathc && rc == 0; i++)
			rc = try_config(search, found.gl_pathv[i], depth + 1);
		globfree(&found);
	}
	free(full);
	return rc;
}

static struct str
trim_blanks(struct str line)
{
	while (line.len > 0 && (line.data[0] == ' ' || line.data[0] == '\t')) {
		line.data++;
		line.len--;
	}
	while (line.len > 0 && (line.data[line.len - 1] == ' ' ||
				   line.data[line.len - 1] == '\t'))
		line.len--;
	return line;
}

static int
try_config(const struct search *search, const char *path, unsigned depth)
{
	struct buffer content;
	struct error ignored;
	struct str rest;
	int rc = 0;

	buffer_init(&content, CONFIG_BYTES_MAX);
	/* A machine without the file has no such directories. */
	if (depth > CONFIG_DEPTH_MAX ||
	    file_read_all(path, &content, &ignored) < 0)
		goto out;
	rest = buffer_str(&content);
	while (rest.data != NULL && rc == 0) {
		struct str line = trim_blanks(str_cut(&rest, '\n'));
		struct str include = STR("include ");

		if (str_starts_with(line, include)) {
			line.data += include.len;
			line.len -= include.len;
			rc = try_include(search, trim_blanks(line), depth);
			continue;
		}
		rc = try_directory(search, line);
		if (rc == 1)
			rc = link_beside_loader(search, line);
	}
out:
	buffer_clear(&content);
	return rc;
}

/* --- the closure ---------------------------------------------------------- */

static int
find_library(const struct search *search)
{
	char *config;
	int rc;

	if (memchr(search->name.data, '/', search->name.len) != NULL)
		return search->name.data[0] == '/'
			   ? capture_host_add(search->host, search->name.data,
				 NULL, search->err)
			   : 0;
	rc = search->needed->runpath.data == NULL
		 ? try_run_path(search, search->needed->rpath)
		 : try_run_path(search, search->needed->runpath);
	if (rc == 0)
		rc = try_system(search);
	if (rc == 0) {
		config = xasprintf("%s/etc/ld.so.conf", search->host->root);
		rc = try_config(search, config, 0);
		free(config);
	}
	return rc;
}

static int
add_loader(struct capture_host *host, struct str interpreter, struct error *err)
{
	char *path = xstrndup(interpreter.data, interpreter.len);
	char *real = NULL;
	int rc = 0;

	if (path[0] == '/')
		rc = capture_host_add(host, path, &real, err);
	if (rc == 0)
		capture_notes_add(
		    host->notes, "the loader %s is not on this machine", path);
	if (rc == 1 && host->loader == NULL) {
		*strrchr(real, '/') = '\0';
		host->loader = real;
		real = NULL;
	}
	free(real);
	free(path);
	return rc < 0 ? -1 : 0;
}

static int
close_elf(struct capture_host *host, const char *path, struct str bytes,
    struct error *err)
{
	struct elf_needed *needed = xmalloc(sizeof(*needed));
	int rc = elf_needed_read(bytes, needed, err);

	if (rc < 0) {
		/* Compilers keep damaged files for their own tests. */
		capture_notes_add(host->notes, "/%s: %s", path, err->text);
		rc = 0;
	}
	if (rc == 1 && needed->interpreter.data != NULL)
		rc = add_loader(host, needed->interpreter, err);
	for (size_t i = 0; i < needed->count && rc >= 0; i++) {
		const struct search search = {
		    host, str_from(path), needed, needed->names[i], err};

		rc = find_library(&search);
		if (rc == 0)
			capture_notes_add(host->notes,
			    "/%s needs %.*s, which is not on this machine",
			    path, STR_ARG(needed->names[i]));
	}
	free(needed);
	return rc < 0 ? -1 : 0;
}

static int
close_script(struct capture_host *host, const char *path, struct str bytes,
    struct error *err)
{
	const char *end = memchr(bytes.data, '\n', bytes.len);
	struct str line = {
	    bytes.data + 2, end != NULL ? (size_t)(end - bytes.data) - 2 : 0};
	char *interpreter;
	int rc = 1;

	line = trim_blanks(line);
	for (size_t i = 0; i < line.len; i++) {
		if (line.data[i] == ' ' || line.data[i] == '\t')
			line.len = i;
	}
	interpreter = xstrndup(line.data, line.len);
	if (interpreter[0] == '/')
		rc = capture_host_add(host, interpreter, NULL, err);
	if (rc == 0)
		capture_notes_add(host->notes,
		    "/%s is for %s, which is not on this machine", path,
		    interpreter);
	free(interpreter);
	return rc < 0 ? -1 : 0;
}

static bool
may_need(const struct capture_entry *entry)
{
	return entry->kind == CAPTURE_FILE && entry->source != NULL &&
	       entry->size > 3 &&
	       (entry->executable || strstr(entry->path, ".so") != NULL);
}

static int
close_file(struct capture_host *host, const char *path, const char *source,
    struct error *err)
{
	struct str bytes = map_file(source);
	int rc = 0;

	if (bytes.len > 3 && memcmp(bytes.data, ELFMAG, SELFMAG) == 0)
		rc = close_elf(host, path, bytes, err);
	else if (bytes.len > 3 && memcmp(bytes.data, "#!", 2) == 0)
		rc = close_script(host, path, bytes, err);
	unmap_file(bytes);
	return rc;
}

/* One pass over the tree; *news counts the files looked into. */
static int
close_pass(struct capture_host *host, size_t *news, struct error *err)
{
	size_t count;
	struct capture_entry **list = capture_tree_list(host->tree, &count);
	int rc = 0;

	*news = 0;
	for (size_t i = 0; i < count && rc == 0; i++) {
		const struct capture_entry *entry = list[i];
		char *path;

		if (!may_need(entry) ||
		    map_get(&host->scanned, str_from(entry->path)) != NULL)
			continue;
		path = xstrdup(entry->path);
		map_put(&host->scanned, str_from(path), path);
		++*news;
		/* The tree only grows here, so that entries stay. */
		rc = close_file(host, path, entry->source, err);
	}
	free(list);
	return rc;
}

/* --- links to directories that were not captured -------------------------- */

/* The directories of the list in which something is. */
static void
find_parents(struct capture_entry **list, size_t count, struct map *parents)
{
	for (size_t i = 0; i < count; i++) {
		const char *slash = strrchr(list[i]->path, '/');
		size_t len =
		    slash != NULL ? (size_t)(slash - list[i]->path) : 0;

		(void)map_put(
		    parents, (struct str){list[i]->path, len}, list[i]);
	}
}

static void
note_link(struct capture_host *host, const struct capture_entry *link,
    const struct map *parents)
{
	struct error ignored; /* a loop leads to no directory */
	/* With a name behind it the link itself is followed, too. */
	char *below = xasprintf("%s/.", link->path);
	char *real =
	    capture_tree_resolve(host->tree, str_from(below), &ignored);
	const struct capture_entry *target =
	    real != NULL ? capture_tree_find(host->tree, str_from(real)) : NULL;

	if (target != NULL && target->kind == CAPTURE_DIRECTORY &&
	    map_get(parents, str_from(real)) == NULL)
		capture_notes_add(host->notes,
		    "/%s leads to /%s, whose content is not captured; --also "
		    "adds it",
		    link->path, real);
	free(below);
	free(real);
}

static void
note_links(struct capture_host *host)
{
	size_t count;
	struct capture_entry **list = capture_tree_list(host->tree, &count);
	struct map parents;

	map_init(&parents);
	find_parents(list, count, &parents);
	for (size_t i = 0; i < count; i++) {
		if (map_get(&host->links, str_from(list[i]->path)) != NULL)
			note_link(host, list[i], &parents);
	}
	map_clear(&parents);
	free(list);
}

int
capture_host_close(struct capture_host *host, struct error *err)
{
	size_t news;

	do {
		if (close_pass(host, &news, err) < 0)
			return -1;
	} while (news > 0);
	note_links(host);
	return 0;
}
