/* SPDX-License-Identifier: Apache-2.0 */
/* One pass over the entries, each checked before it enters the tree. */
#include "client/capture_archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "cas/directory.h"
#include "client/capture_spool.h"
#include "client/capture_tree.h"

#define READ_BLOCK (1u << 20)
/* No honest toolchain packs better than this; below the floor anything may. */
#define RATIO_MAX 2000u
#define RATIO_FLOOR (UINT64_C(256) << 20)
#define WHITEOUT ".wh."
#define WHITEOUT_OPAQUE ".wh..wh..opq"

struct reading {
	const struct capture_archive_options *options;
	struct archive *archive;
	uint64_t unpacked;
};

static int
archive_fail(struct reading *reading, struct error *err)
{
	const char *text = archive_error_string(reading->archive);

	return error_set(err, ERROR_INVALID_ARGUMENT, "%s",
	    text != NULL ? text : "the archive cannot be read");
}

/* --- names ---------------------------------------------------------------- */

static int
check_relative(struct str path, const char *what, struct error *err)
{
	char printable[DIRECTORY_PRINTABLE_MAX];
	struct str rest = path;

	if (path.len > 0 && path.data[0] == '/')
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "%s \"%s\" is absolute", what,
		    directory_printable(path, printable));
	while (rest.data != NULL) {
		if (str_equal(str_cut(&rest, '/'), STR("..")))
			return error_set(err, ERROR_INVALID_ARGUMENT,
			    "%s \"%s\" leads out of the archive by \"..\"",
			    what, directory_printable(path, printable));
	}
	return 0;
}

/* Without "." and empty names; the caller frees it. */
static char *
clean_path(struct str path)
{
	char *clean = xmalloc(path.len + 1);
	size_t len = 0;

	while (path.data != NULL) {
		struct str name = str_cut(&path, '/');

		if (name.len == 0 || str_equal(name, STR(".")))
			continue;
		if (len > 0)
			clean[len++] = '/';
		memcpy(clean + len, name.data, name.len);
		len += name.len;
	}
	clean[len] = '\0';
	return clean;
}

/* Where a path of the archive is in the tree; the caller frees it. NULL on
 * error. */
static char *
entry_path(const struct reading *reading, const char *name, const char *what,
    struct error *err)
{
	char *clean, *path;

	if (name == NULL) {
		error_set(
		    err, ERROR_INVALID_ARGUMENT, "%s is no valid text", what);
		return NULL;
	}
	/* Layers are made with absolute names by some tools. */
	while (reading->options->layer && *name == '/')
		name++;
	if (check_relative(str_from(name), what, err) < 0)
		return NULL;
	clean = clean_path(str_from(name));
	if (!reading->options->layer)
		return clean;
	path =
	    capture_tree_resolve(reading->options->tree, str_from(clean), err);
	free(clean);
	return path;
}

/* --- entries -------------------------------------------------------------- */

static int
check_ratio(const struct reading *reading, struct error *err)
{
	int64_t packed = archive_filter_bytes(reading->archive, -1);

	if (reading->unpacked > RATIO_FLOOR && packed > 0 &&
	    reading->unpacked / RATIO_MAX > (uint64_t)packed)
		return error_set(err, ERROR_RESOURCE_EXHAUSTED,
		    "it unpacks to more than %u times its size: not a "
		    "toolchain but a bomb",
		    RATIO_MAX);
	return 0;
}

/* Files of sparse archives have holes between their blocks. */
static int
spool_zeros(struct reading *reading, uint64_t count, struct error *err)
{
	static const char zeros[65536];

	while (count > 0) {
		size_t piece =
		    count < sizeof(zeros) ? (size_t)count : sizeof(zeros);

		if (capture_spool_append(
			reading->options->spool, zeros, piece, err) < 0)
			return -1;
		count -= piece;
	}
	return 0;
}

/* One block of a file that has *size bytes so far. */
static int
spool_block(struct reading *reading, struct str block, uint64_t offset,
    uint64_t *size, struct error *err)
{
	const struct capture_archive_options *options = reading->options;

	if (offset < *size || offset > INT64_MAX - block.len)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "the blocks of the file overlap");
	if (capture_tree_check_room(options->tree, offset + block.len, err) < 0)
		return -1;
	if (spool_zeros(reading, offset - *size, err) < 0 ||
	    capture_spool_append(options->spool, block.data, block.len, err) <
		0)
		return -1;
	reading->unpacked += offset + block.len - *size;
	*size = offset + block.len;
	return check_ratio(reading, err);
}

static int
spool_content(struct reading *reading, uint64_t *size, struct error *err)
{
	const void *data;
	int64_t offset;
	size_t len;
	int rc;

	while ((rc = archive_read_data_block(
		    reading->archive, &data, &len, &offset)) == ARCHIVE_OK) {
		if (spool_block(reading, (struct str){data, len},
			(uint64_t)offset, size, err) < 0)
			return -1;
	}
	return rc == ARCHIVE_EOF ? 0 : archive_fail(reading, err);
}

/* A file that ends in a hole has no block there. */
static int
spool_file(struct reading *reading, struct archive_entry *entry, uint64_t *size,
    struct error *err)
{
	int64_t declared =
	    archive_entry_size_is_set(entry) ? archive_entry_size(entry) : 0;

	*size = 0;
	if (declared > 0 && capture_tree_check_room(reading->options->tree,
				(uint64_t)declared, err) < 0)
		return -1;
	if (spool_content(reading, size, err) < 0)
		return -1;
	if (declared > 0 && (uint64_t)declared > *size)
		return spool_block(
		    reading, STR(""), (uint64_t)declared, size, err);
	return 0;
}

static int
add_file(struct reading *reading, struct archive_entry *entry, struct str path,
    struct error *err)
{
	struct capture_file file = {
	    .executable = (archive_entry_perm(entry) & 0111) != 0};
	struct digest digest;

	if (archive_entry_is_data_encrypted(entry))
		return error_set(
		    err, ERROR_INVALID_ARGUMENT, "the file is encrypted");
	if (spool_file(reading, entry, &file.size, err) < 0) {
		capture_spool_drop(reading->options->spool);
		return -1;
	}
	capture_spool_finish(reading->options->spool, &digest, &file.offset);
	file.digest = &digest;
	return capture_tree_add_file(reading->options->tree, path, &file, err);
}

static int
add_hard_link(struct reading *reading, const char *link, struct str path,
    struct error *err)
{
	char *existing =
	    entry_path(reading, link, "the hard link's target", err);
	int rc;

	if (existing == NULL)
		return -1;
	rc = capture_tree_add_link(
	    reading->options->tree, path, str_from(existing), err);
	if (rc < 0)
		err->code = ERROR_INVALID_ARGUMENT;
	free(existing);
	return rc;
}

/* 1 when the entry was a whiteout, else 0. */
static int
apply_whiteout(struct reading *reading, char *path)
{
	struct capture_tree *tree = reading->options->tree;
	char *slash = strrchr(path, '/');
	char *name = slash != NULL ? slash + 1 : path;
	size_t parent = slash != NULL ? (size_t)(slash - path) : 0;

	if (!reading->options->layer ||
	    strncmp(name, WHITEOUT, strlen(WHITEOUT)) != 0)
		return 0;
	if (strcmp(name, WHITEOUT_OPAQUE) == 0) {
		capture_tree_hide_below(tree, (struct str){path, parent});
		return 1;
	}
	/* The name without its mark. */
	memmove(
	    name, name + strlen(WHITEOUT), strlen(name + strlen(WHITEOUT)) + 1);
	if (*name != '\0')
		capture_tree_hide(tree, str_from(path));
	return 1;
}

static int
add_by_type(struct reading *reading, struct archive_entry *entry,
    struct str path, struct error *err)
{
	const char *link = archive_entry_hardlink(entry);
	const char *target;

	if (link != NULL)
		return add_hard_link(reading, link, path, err);
	switch (archive_entry_filetype(entry)) {
	case AE_IFDIR:
		return capture_tree_add_directory(
		    reading->options->tree, path, err);
	case AE_IFREG:
		return add_file(reading, entry, path, err);
	case AE_IFLNK:
		target = archive_entry_symlink(entry);
		return capture_tree_add_symlink(
		    reading->options->tree, path, str_from(target), err);
	default:
		/* Images have them below /dev, which a sandbox makes itself. */
		if (reading->options->layer)
			return 0;
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "it is a device, FIFO or socket, which no toolchain needs");
	}
}

static int
add_entry(
    struct reading *reading, struct archive_entry *entry, struct error *err)
{
	const char *name = archive_entry_pathname(entry);
	char printable[DIRECTORY_PRINTABLE_MAX];
	char *path = entry_path(reading, name, "the path", err);
	int rc;

	if (path == NULL)
		return -1;
	rc = apply_whiteout(reading, path);
	if (rc == 0 && *path == '\0' &&
	    archive_entry_filetype(entry) != AE_IFDIR)
		rc = error_set(
		    err, ERROR_INVALID_ARGUMENT, "an entry has no name");
	else if (rc == 0)
		rc = add_by_type(reading, entry, str_from(path), err);
	free(path);
	if (rc < 0)
		error_prefix(err, "entry %s",
		    directory_printable(str_from(name), printable));
	return rc < 0 ? -1 : 0;
}

/* --- the whole ------------------------------------------------------------ */

/* Not all that libarchive knows: some formats read other files of this machine
 * (mtree), some filters run programs. */
static int
support_formats(struct archive *archive)
{
	static int (*const supports[])(struct archive *) = {
	    archive_read_support_format_tar,
	    archive_read_support_format_zip,
	    archive_read_support_filter_gzip,
	    archive_read_support_filter_bzip2,
	    archive_read_support_filter_compress,
	    archive_read_support_filter_lzip,
	    archive_read_support_filter_lzma,
	    archive_read_support_filter_lz4,
	    archive_read_support_filter_xz,
	    archive_read_support_filter_zstd,
	};

	for (size_t i = 0; i < sizeof(supports) / sizeof(supports[0]); i++) {
		if (supports[i](archive) != ARCHIVE_OK)
			return -1;
	}
	return 0;
}

static int
open_archive(struct reading *reading, struct error *err)
{
	const struct capture_archive_options *options = reading->options;
	struct stat status;
	int rc;

	if (support_formats(reading->archive) < 0)
		return archive_fail(reading, err);
	if (options->bytes.data == NULL && stat(options->path, &status) == 0 &&
	    S_ISDIR(status.st_mode))
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "it is a directory, which --dir captures");
	/* libarchive does not say why it cannot open a file. */
	if (options->bytes.data == NULL && access(options->path, R_OK) == -1)
		return error_set_errno(err, errno, "cannot be read");
	if (options->bytes.data != NULL)
		rc = archive_read_open_memory(
		    reading->archive, options->bytes.data, options->bytes.len);
	else
		rc = archive_read_open_filename(
		    reading->archive, options->path, READ_BLOCK);
	return rc == ARCHIVE_OK ? 0 : archive_fail(reading, err);
}

static int
read_entries(struct reading *reading, struct error *err)
{
	struct archive_entry *entry;
	int rc;

	for (;;) {
		rc = archive_read_next_header(reading->archive, &entry);
		if (rc == ARCHIVE_EOF)
			return 0;
		/* A warning is about a name or a time; names are checked. */
		if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
			return archive_fail(reading, err);
		if (add_entry(reading, entry, err) < 0)
			return -1;
	}
}

int
capture_archive(
    const struct capture_archive_options *options, struct error *err)
{
	struct reading reading = {
	    .options = options, .archive = archive_read_new()};
	/* Names in archives are UTF-8, whatever the user's locale is. */
	locale_t locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	locale_t before = uselocale(locale);
	int rc;

	if (reading.archive == NULL)
		rc =
		    error_set(err, ERROR_INTERNAL, "libarchive does not start");
	else
		rc = open_archive(&reading, err);
	if (options->layer)
		capture_tree_next_layer(options->tree);
	if (rc == 0)
		rc = read_entries(&reading, err);
	(void)archive_read_free(reading.archive);
	(void)uselocale(before);
	if (locale != (locale_t)0)
		freelocale(locale);
	if (rc < 0)
		error_prefix(err, "archive %s", options->path);
	return rc;
}
