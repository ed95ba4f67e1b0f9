/* SPDX-License-Identifier: Apache-2.0 */
/* The table of uploads: a map by name, and a list of the interrupted ones in
 * the order of their interruption. Any thread. */
#include "frontend/upload_table.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/container.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "cas/store.h"

struct upload {
	struct str name; /* allocated */
	_Atomic uint64_t received;
	struct blob_writer *writer; /* while interrupted, else NULL */
	size_t memory;              /* of it */
	int64_t expires_ms;         /* while interrupted */
	TAILQ_ENTRY(upload) link;   /* in table->idle while interrupted */
};

TAILQ_HEAD(upload_list, upload);

struct upload_table {
	struct upload_table_options options;
	struct task free_task; /* on the pool: frees `gone` */
	/* Guards what follows and the uploads' fields but received. */
	pthread_mutex_t lock;
	struct map uploads;      /* running and interrupted, by name */
	struct upload_list idle; /* interrupted, oldest first */
	size_t idle_count;
	size_t idle_memory;
	struct upload_list gone; /* swept; their files are still there */
	bool freeing;            /* free_task is on its way */
};

static void
upload_free(struct upload *upload)
{
	blob_writer_free(upload->writer);
	free((char *)(uintptr_t)upload->name.data);
	free(upload);
}

/* Under the lock. */
static void
upload_table_remove_idle(struct upload_table *table, struct upload *upload)
{
	TAILQ_REMOVE(&table->idle, upload, link);
	table->idle_count--;
	table->idle_memory -= upload->memory;
}

/* Under the lock. */
static bool
upload_table_must_drop(const struct upload_table *table,
    const struct upload *oldest, int64_t now_ms)
{
	return oldest->expires_ms <= now_ms ||
	       table->idle_count > table->options.count ||
	       table->idle_memory > table->options.memory;
}

/* Moves interrupted uploads that are too old or too many to `gone`. Under the
 * lock; upload_table_hand_over follows. */
static void
upload_table_sweep(struct upload_table *table, int64_t now_ms)
{
	struct upload *oldest;

	while ((oldest = TAILQ_FIRST(&table->idle)) != NULL &&
	       upload_table_must_drop(table, oldest, now_ms)) {
		upload_table_remove_idle(table, oldest);
		map_remove(&table->uploads, oldest->name);
		TAILQ_INSERT_TAIL(&table->gone, oldest, link);
	}
}

static void
upload_list_free(struct upload_list *list)
{
	struct upload *upload;

	while ((upload = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, upload, link);
		upload_free(upload);
	}
}

static void
upload_table_free_gone(struct task *task)
{
	struct upload_table *table =
	    CONTAINER_OF(task, struct upload_table, free_task);
	struct upload_list gone = TAILQ_HEAD_INITIALIZER(gone);

	pthread_mutex_lock(&table->lock);
	TAILQ_CONCAT(&gone, &table->gone, link);
	table->freeing = false;
	pthread_mutex_unlock(&table->lock);
	upload_list_free(&gone);
}

/* Under the lock, which it releases: what was swept goes to the pool. */
static void
upload_table_hand_over(struct upload_table *table)
{
	bool start = !TAILQ_EMPTY(&table->gone) && !table->freeing;

	table->freeing |= start;
	pthread_mutex_unlock(&table->lock);
	if (start)
		thread_pool_submit(table->options.pool, &table->free_task);
}

struct upload_table *
upload_table_new(const struct upload_table_options *options)
{
	struct upload_table *table = xcalloc(1, sizeof(*table));

	table->options = *options;
	table->free_task.run = upload_table_free_gone;
	pthread_mutex_init(&table->lock, NULL);
	map_init(&table->uploads);
	TAILQ_INIT(&table->idle);
	TAILQ_INIT(&table->gone);
	return table;
}

void
upload_table_free(struct upload_table *table)
{
	if (table == NULL)
		return;
	upload_list_free(&table->idle);
	map_clear(&table->uploads);
	pthread_mutex_destroy(&table->lock);
	free(table);
}

struct upload *
upload_table_begin(
    struct upload_table *table, struct str name, struct blob_writer **writer)
{
	struct upload *upload;

	*writer = NULL;
	pthread_mutex_lock(&table->lock);
	upload = map_get(&table->uploads, name);
	if (upload == NULL) {
		upload = xcalloc(1, sizeof(*upload));
		upload->name.data = xstrndup(name.data, name.len);
		upload->name.len = name.len;
		map_put(&table->uploads, upload->name, upload);
	} else if (upload->writer != NULL) {
		*writer = upload->writer;
		upload->writer = NULL;
		upload_table_remove_idle(table, upload);
	} else {
		upload = NULL;
	}
	pthread_mutex_unlock(&table->lock);
	return upload;
}

void
upload_progress(struct upload *upload, uint64_t received)
{
	atomic_store(&upload->received, received);
}

void
upload_table_end(struct upload_table *table, struct upload *upload,
    struct blob_writer *writer)
{
	int64_t now_ms = clock_monotonic_ms();

	if (writer != NULL)
		blob_writer_suspend(writer);
	pthread_mutex_lock(&table->lock);
	if (writer != NULL) {
		upload->writer = writer;
		upload->memory = blob_writer_memory(writer);
		upload->expires_ms = now_ms + table->options.keep_ms;
		TAILQ_INSERT_TAIL(&table->idle, upload, link);
		table->idle_count++;
		table->idle_memory += upload->memory;
	} else {
		map_remove(&table->uploads, upload->name);
		upload_free(upload); /* without a writer: only memory */
	}
	upload_table_sweep(table, now_ms);
	upload_table_hand_over(table);
}

bool
upload_table_query(
    struct upload_table *table, struct str name, uint64_t *received)
{
	struct upload *upload;

	pthread_mutex_lock(&table->lock);
	upload = map_get(&table->uploads, name);
	if (upload != NULL)
		*received = atomic_load(&upload->received);
	pthread_mutex_unlock(&table->lock);
	return upload != NULL;
}

void
upload_table_expire(struct upload_table *table)
{
	pthread_mutex_lock(&table->lock);
	upload_table_sweep(table, clock_monotonic_ms());
	upload_table_hand_over(table);
}

bool
upload_table_has_interrupted(struct upload_table *table)
{
	bool has;

	pthread_mutex_lock(&table->lock);
	has = table->idle_count > 0;
	pthread_mutex_unlock(&table->lock);
	return has;
}

size_t
upload_table_running(struct upload_table *table)
{
	size_t running;

	pthread_mutex_lock(&table->lock);
	running = table->uploads.count - table->idle_count;
	pthread_mutex_unlock(&table->lock);
	return running;
}
