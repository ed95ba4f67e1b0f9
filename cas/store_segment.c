/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records and the table of segments open for reading. Any thread; the table's
 * lock guards all of it.
 */
#include "cas/store_segment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/map.h"
#include "base/memory.h"
#include "cas/crc32c.h"
#include "cas/little_endian.h"

/* --- records -------------------------------------------------------------- */

void
record_encode(const struct commit_blob *blob, uint32_t payload_crc,
    uint8_t header[static RECORD_HEADER_SIZE])
{
	for (size_t i = 0; i < RECORD_MAGIC_LENGTH; i++)
		header[i] = (uint8_t)RECORD_MAGIC[i];
	header[4] = (uint8_t)blob->digest.function;
	header[5] = (uint8_t)blob->encoding;
	little_endian_put16(header + 6, blob->owner);
	little_endian_put64(header + 8, blob->digest.size);
	little_endian_put64(header + 16, blob->stored_size);
	little_endian_put32(header + 24, payload_crc);
	memcpy(header + 28, blob->digest.hash, DIGEST_HASH_MAX);
	little_endian_put32(header + 92, crc32c(0, header, 92));
}

int
record_decode(const uint8_t header[static RECORD_HEADER_SIZE],
    struct digest *digest, struct place *place)
{
	size_t length = digest_hash_length((enum digest_function)header[4]);

	if (memcmp(header, RECORD_MAGIC, RECORD_MAGIC_LENGTH) != 0 ||
	    little_endian_get32(header + 92) != crc32c(0, header, 92) ||
	    length == 0 || header[5] > ENCODING_ZSTD)
		return -1;
	memset(digest, 0, sizeof(*digest));
	digest->function = (enum digest_function)header[4];
	digest->size = little_endian_get64(header + 8);
	memcpy(digest->hash, header + 28, length);
	place->size = digest->size;
	place->owner = little_endian_get16(header + 6);
	place->stored_size = little_endian_get64(header + 16);
	place->encoding = (enum encoding)header[5];
	return place->stored_size <= STORE_SMALL_LIMIT_MAX ? 0 : -1;
}

int
record_check(const uint8_t header[static RECORD_HEADER_SIZE],
    const struct digest *digest, const struct place *place, const void *payload,
    struct error *err)
{
	const char *fault = NULL;
	char text[DIGEST_TEXT_MAX];

	if (memcmp(header, RECORD_MAGIC, RECORD_MAGIC_LENGTH) != 0)
		fault = "no record is there";
	else if (little_endian_get32(header + 92) != crc32c(0, header, 92))
		fault = "the header's checksum is wrong";
	else if (header[4] != digest->function ||
		 memcmp(header + 28, digest->hash, DIGEST_HASH_MAX) != 0)
		fault = "the record is another blob's";
	else if (header[5] != place->encoding ||
		 little_endian_get64(header + 8) != digest->size ||
		 little_endian_get64(header + 16) != place->stored_size)
		fault = "the record has another size or encoding";
	else if (little_endian_get32(header + 24) !=
		 crc32c(0, payload, place->stored_size))
		fault = "the content's checksum is wrong";
	if (fault == NULL)
		return 0;
	return error_set(err, ERROR_DATA_LOSS,
	    "blob %s is damaged (segment %08" PRIu32 " at %" PRIu64
	    ": %s) and was dropped; upload it again",
	    digest_format(digest, text), place->segment, place->offset, fault);
}

/* --- the table ------------------------------------------------------------ */

struct segment {
	uint32_t number; /* the key in the table */
	int fd;
	unsigned int references;
	bool forgotten; /* not in the table: goes with the last reference */
	uint64_t used;  /* the table's clock when it was last asked for */
};

struct segment_table {
	int directory; /* borrowed */
	size_t limit;
	pthread_mutex_t lock; /* guards the rest and all segments in it */
	struct map open;      /* by number */
	uint64_t clock;
};

struct segment_table *
segment_table_new(int directory, size_t limit)
{
	struct segment_table *table = xcalloc(1, sizeof(*table));

	table->directory = directory;
	table->limit = limit;
	pthread_mutex_init(&table->lock, NULL);
	map_init(&table->open);
	return table;
}

static void
segment_free(struct segment *segment)
{
	if (segment == NULL)
		return;
	file_close(&segment->fd);
	free(segment);
}

void
segment_table_free(struct segment_table *table)
{
	size_t position = 0;
	struct segment *segment;

	if (table == NULL)
		return;
	while ((segment = map_next(&table->open, &position)) != NULL)
		segment_free(segment);
	map_clear(&table->open);
	pthread_mutex_destroy(&table->lock);
	free(table);
}

static struct str
segment_key(const uint32_t *number)
{
	return (struct str){(const char *)number, sizeof(*number)};
}

/* Under the lock. */
static struct segment *
segment_table_get(struct segment_table *table, uint32_t number)
{
	struct segment *segment = map_get(&table->open, segment_key(&number));

	if (segment == NULL)
		return NULL;
	segment->references++;
	segment->used = ++table->clock;
	return segment;
}

/* Takes the one out that was not used for longest. Under the lock. */
static struct segment *
segment_table_evict(struct segment_table *table)
{
	size_t position = 0;
	struct segment *segment, *oldest = NULL;

	if (table->open.count < table->limit)
		return NULL;
	while ((segment = map_next(&table->open, &position)) != NULL) {
		if (segment->references == 0 &&
		    (oldest == NULL || segment->used < oldest->used))
			oldest = segment;
	}
	if (oldest != NULL)
		map_remove(&table->open, segment_key(&oldest->number));
	return oldest;
}

static int
segment_open_file(int directory, uint32_t number, int *fd, struct error *err)
{
	char name[16];

	snprintf(name, sizeof(name), "%08" PRIu32, number);
	*fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	if (*fd != -1)
		return 1;
	if (errno == ENOENT)
		return 0;
	return error_set_errno(err, errno, "open segment %s", name);
}

void
segment_table_forget(struct segment_table *table, uint32_t number)
{
	struct segment *segment;

	pthread_mutex_lock(&table->lock);
	segment = map_remove(&table->open, segment_key(&number));
	if (segment != NULL && segment->references > 0) {
		segment->forgotten = true;
		segment = NULL;
	}
	pthread_mutex_unlock(&table->lock);
	segment_free(segment);
}

/* References to those that nobody reads now, at most count. */
static size_t
segment_table_idle(
    struct segment_table *table, struct segment **idle, size_t count)
{
	size_t position = 0, used = 0;
	struct segment *segment;

	pthread_mutex_lock(&table->lock);
	while (used < count &&
	       (segment = map_next(&table->open, &position)) != NULL) {
		if (segment->references == 0) {
			segment->references++;
			idle[used++] = segment;
		}
	}
	pthread_mutex_unlock(&table->lock);
	return used;
}

static void
segment_table_prune(struct segment_table *table)
{
	struct segment **idle = xcalloc(table->limit, sizeof(*idle));
	size_t count = segment_table_idle(table, idle, table->limit);
	struct stat status;

	for (size_t i = 0; i < count; i++) {
		bool gone =
		    fstat(idle[i]->fd, &status) == 0 && status.st_nlink == 0;

		if (gone)
			segment_table_forget(table, idle[i]->number);
		segment_unref(table, idle[i]);
	}
	free(idle);
}

int
segment_ref(struct segment_table *table, uint32_t number,
    struct segment **segment, struct error *err)
{
	struct segment *fresh, *unwanted;
	int fd, found;

	pthread_mutex_lock(&table->lock);
	*segment = segment_table_get(table, number);
	pthread_mutex_unlock(&table->lock);
	if (*segment != NULL)
		return 1;
	found = segment_open_file(table->directory, number, &fd, err);
	if (found != 1)
		return found;
	segment_table_prune(table);
	fresh = xcalloc(1, sizeof(*fresh));
	fresh->number = number;
	fresh->fd = fd;
	pthread_mutex_lock(&table->lock);
	*segment = segment_table_get(table, number);
	if (*segment != NULL) {
		/* Another thread was quicker. */
		unwanted = fresh;
	} else {
		unwanted = segment_table_evict(table);
		map_put(&table->open, segment_key(&fresh->number), fresh);
		*segment = segment_table_get(table, number);
	}
	pthread_mutex_unlock(&table->lock);
	segment_free(unwanted);
	return 1;
}

void
segment_unref(struct segment_table *table, struct segment *segment)
{
	bool last;

	pthread_mutex_lock(&table->lock);
	last = --segment->references == 0 && segment->forgotten;
	pthread_mutex_unlock(&table->lock);
	if (last)
		segment_free(segment);
}

int
segment_descriptor(const struct segment *segment)
{
	return segment->fd;
}
