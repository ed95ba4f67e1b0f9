/* SPDX-License-Identifier: Apache-2.0 */
/* Three kinds of bytes behind one read. */
#include "client/blob_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "cas/store.h"
#include "client/cas_client.h"

struct blob_source {
	const struct cas_upload *upload;
	uint64_t offset;            /* of the next byte */
	int fd;                     /* of a file */
	struct blob_stream *stream; /* of a store */
};

static int
open_file(struct blob_source *source, struct error *err)
{
	const struct cas_upload *upload = source->upload;
	struct stat status;

	source->fd =
	    upload->beneath
		? file_open_beneath(upload->directory, upload->path,
		      O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
		: open(upload->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (source->fd == -1 || fstat(source->fd, &status) == -1) {
		int number = errno;

		error_set_errno(err, number, "%s", upload->path);
		/* It is gone, or a link that is not followed. */
		if (err->code == ERROR_NOT_FOUND ||
		    (upload->beneath && (number == ELOOP || number == EXDEV)))
			err->code = ERROR_FAILED_PRECONDITION;
		return -1;
	}
	if (!S_ISREG(status.st_mode))
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "%s is no regular file", upload->path);
	if ((uint64_t)status.st_size != upload->digest.size)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "%s has %lld bytes now: it was changed", upload->path,
		    (long long)status.st_size);
	return 0;
}

static int
open_store(struct blob_source *source, struct error *err)
{
	const struct cas_upload *upload = source->upload;
	struct blob_stream_options options = {
	    .encoding = ENCODING_IDENTITY, .offset = source->offset};
	struct blob *blob;
	int found = store_open_blob(upload->store, &upload->digest, &blob, err);

	if (found == 0)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "the local store does not have it");
	if (found < 0)
		return -1;
	source->stream = blob_stream_open(blob, &options, err);
	return source->stream != NULL ? 0 : -1;
}

struct blob_source *
blob_source_open(
    const struct cas_upload *upload, uint64_t offset, struct error *err)
{
	struct blob_source *source = xcalloc(1, sizeof(*source));
	int rc = 0;

	source->upload = upload;
	source->offset = offset;
	source->fd = -1;
	if (upload->from == CAS_UPLOAD_FILE)
		rc = open_file(source, err);
	else if (upload->from == CAS_UPLOAD_STORE)
		rc = open_store(source, err);
	else if (upload->content.len != upload->digest.size)
		rc = error_set(err, ERROR_FAILED_PRECONDITION,
		    "the content has %zu bytes", upload->content.len);
	if (rc == 0)
		return source;
	blob_source_close(source);
	return NULL;
}

static int
read_stream(
    struct blob_source *source, char *data, size_t len, struct error *err)
{
	while (len > 0) {
		size_t got;

		if (blob_stream_next(source->stream, data, len, &got, err) < 0)
			return -1;
		if (got == 0)
			return error_set(err, ERROR_DATA_LOSS,
			    "the local store's copy ends early");
		data += got;
		len -= got;
	}
	return 0;
}

int
blob_source_read(
    struct blob_source *source, void *data, size_t len, struct error *err)
{
	const struct cas_upload *upload = source->upload;
	int rc = 0;

	if (upload->from == CAS_UPLOAD_FILE) {
		rc = file_pread(source->fd, data, len, source->offset, err);
		if (rc < 0)
			error_prefix(err, "%s", upload->path);
	} else if (upload->from == CAS_UPLOAD_STORE) {
		rc = read_stream(source, data, len, err);
	} else if (len > 0) {
		memcpy(data, upload->content.data + source->offset, len);
	}
	source->offset += len;
	return rc;
}

void
blob_source_close(struct blob_source *source)
{
	if (source == NULL)
		return;
	file_close(&source->fd);
	blob_stream_free(source->stream);
	free(source);
}
