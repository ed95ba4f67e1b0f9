/* SPDX-License-Identifier: Apache-2.0 */
/* A short list under a lock; clients are opened outside of it. */
#include "worker/cas_clients.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "base/memory.h"
#include "client/cas_client.h"
#include "worker/input_fetch.h"

struct entry {
	char *instance;
	enum digest_function function;
	struct cas_peer peer;
	SLIST_ENTRY(entry) link;
};

struct cas_clients {
	struct rpc_channel *channel;
	size_t threads;
	bool compress;
	struct store *store;
	bool servers_own;
	pthread_mutex_t lock; /* guards entries */
	SLIST_HEAD(, entry) entries;
};

struct cas_clients *
cas_clients_new(struct rpc_channel *channel, size_t threads, bool compress)
{
	struct cas_clients *clients = xcalloc(1, sizeof(*clients));

	clients->channel = channel;
	clients->threads = threads;
	clients->compress = compress;
	pthread_mutex_init(&clients->lock, NULL);
	SLIST_INIT(&clients->entries);
	return clients;
}

static void
entry_free(struct entry *entry)
{
	input_fetch_free(entry->peer.fetch);
	cas_client_close(entry->peer.client);
	free(entry->instance);
	free(entry);
}

static void
close_all(struct cas_clients *clients)
{
	struct entry *entry;

	while ((entry = SLIST_FIRST(&clients->entries)) != NULL) {
		SLIST_REMOVE_HEAD(&clients->entries, link);
		entry_free(entry);
	}
}

void
cas_clients_reset(
    struct cas_clients *clients, struct store *store, bool servers_own)
{
	close_all(clients);
	clients->store = store;
	clients->servers_own = servers_own;
}

void
cas_clients_free(struct cas_clients *clients)
{
	if (clients == NULL)
		return;
	close_all(clients);
	pthread_mutex_destroy(&clients->lock);
	free(clients);
}

/* Under the lock. */
static struct entry *
find(struct cas_clients *clients, struct str instance,
    enum digest_function function)
{
	struct entry *entry;

	SLIST_FOREACH (entry, &clients->entries, link)
		if (entry->function == function &&
		    str_equal(str_from(entry->instance), instance))
			return entry;
	return NULL;
}

/* Puts it into the list, unless another thread was faster: returns the one
 * that is in the list, frees the other. */
static struct cas_peer
insert(struct cas_clients *clients, struct entry *entry)
{
	struct entry *other;

	pthread_mutex_lock(&clients->lock);
	other = find(clients, str_from(entry->instance), entry->function);
	if (other == NULL)
		SLIST_INSERT_HEAD(&clients->entries, entry, link);
	pthread_mutex_unlock(&clients->lock);
	if (other == NULL)
		return entry->peer;
	entry_free(entry);
	return other->peer;
}

int
cas_clients_get(struct cas_clients *clients, struct str instance,
    enum digest_function function, struct cas_peer *peer, struct error *err)
{
	struct cas_client_options options = {.channel = clients->channel,
	    .function = function,
	    .threads = clients->threads,
	    .compress = clients->compress};
	struct entry *entry;

	pthread_mutex_lock(&clients->lock);
	entry = find(clients, instance, function);
	pthread_mutex_unlock(&clients->lock);
	if (entry != NULL) {
		*peer = entry->peer;
		return 0;
	}
	entry = xcalloc(1, sizeof(*entry));
	entry->instance = xstrndup(instance.data, instance.len);
	entry->function = function;
	options.instance = entry->instance;
	entry->peer.client = cas_client_open(&options, err);
	if (entry->peer.client == NULL) {
		entry_free(entry);
		return -1;
	}
	entry->peer.fetch = input_fetch_new(
	    clients->store, clients->servers_own ? NULL : entry->peer.client);
	*peer = insert(clients, entry);
	return 0;
}
