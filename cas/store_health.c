/* SPDX-License-Identifier: Apache-2.0 */
/* What the disk said last, and asking it again. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "cas/store_internal.h"

#define PROBE_NAME "probe"

void
store_note_failure(struct store *store, const struct error *err)
{
	/* A full disk is no broken one: reading goes on. */
	if (err->code == ERROR_RESOURCE_EXHAUSTED)
		return;
	pthread_mutex_lock(&store->usage_lock);
	store->failing = true;
	store->failure = *err;
	pthread_mutex_unlock(&store->usage_lock);
}

bool
store_failing(struct store *store, struct error *err)
{
	bool failing;

	pthread_mutex_lock(&store->usage_lock);
	failing = store->failing;
	if (failing)
		*err = store->failure;
	pthread_mutex_unlock(&store->usage_lock);
	return failing;
}

/* What the store does all the time, small. */
static int
probe(struct store *store, struct error *err)
{
	int fd = openat(store->incoming, PROBE_NAME,
	    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int rc = -1;

	if (fd == -1)
		return error_set_errno(
		    err, errno, "create incoming/%s", PROBE_NAME);
	if (file_write(fd, PROBE_NAME, strlen(PROBE_NAME), err) == 0 &&
	    file_sync(fd, err) == 0)
		rc = 0;
	file_close(&fd);
	if (unlinkat(store->incoming, PROBE_NAME, 0) == -1 && rc == 0)
		rc = error_set_errno(
		    err, errno, "remove incoming/%s", PROBE_NAME);
	return rc;
}

int
store_probe(struct store *store, struct error *err)
{
	if (store->read_only)
		return 0;
	store_measure_disk(store);
	if (probe(store, err) < 0) {
		store_disk_error(store, err);
		return -1;
	}
	/* Why is known already, from what was tried last. */
	if (index_is_broken(store->index) && store_failing(store, err))
		return -1;
	pthread_mutex_lock(&store->usage_lock);
	store->failing = false;
	pthread_mutex_unlock(&store->usage_lock);
	return 0;
}
