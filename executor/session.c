/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions and their leases. */
#include "executor/session.h"

#include <stdlib.h>
#include <uuid/uuid.h>

#include "base/error.h"
#include "base/memory.h"

#define SESSION_NAME_MAX 255

static void
session_make_id(char id[static LEASE_ID_SIZE])
{
	uuid_t uuid;

	uuid_generate_random(uuid);
	uuid_unparse_lower(uuid, id);
}

static const char *const sandbox_names[SANDBOX_KINDS] = {
    [SANDBOX_KIND_UNKNOWN] = "unknown",
    [SANDBOX_KIND_NONE] = "none",
    [SANDBOX_KIND_USER_NAMESPACES] = "user-namespaces",
    [SANDBOX_KIND_NAMESPACES] = "namespaces",
};

const char *
session_sandbox_name(enum session_sandbox sandbox)
{
	return sandbox_names[sandbox];
}

enum session_sandbox
session_sandbox_parse(struct str name)
{
	for (int i = 0; i < SANDBOX_KINDS; i++) {
		if (str_equal(name, str_from(sandbox_names[i])))
			return (enum session_sandbox)i;
	}
	return SANDBOX_KIND_UNKNOWN;
}

struct worker_session *
worker_session_new(const struct session_options *options, struct error *err)
{
	struct worker_session *session;

	if (options->slots == 0 || options->slots > SESSION_SLOTS_MAX) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "a worker must have 1 to %d slots, not %zu",
		    SESSION_SLOTS_MAX, options->slots);
		return NULL;
	}
	if (options->worker_name.len == 0 ||
	    options->worker_name.len > SESSION_NAME_MAX ||
	    !str_is_utf8(options->worker_name)) {
		error_set(err, ERROR_INVALID_ARGUMENT,
		    "a worker's name must be UTF-8 of 1 to %d bytes",
		    SESSION_NAME_MAX);
		return NULL;
	}
	session = xcalloc(1, sizeof(*session));
	if (platform_init(&session->offered, options->properties,
		options->property_count, err) < 0) {
		free(session);
		return NULL;
	}
	atomic_init(&session->references, 1);
	session_make_id(session->id);
	session->worker_name.data =
	    xstrndup(options->worker_name.data, options->worker_name.len);
	session->worker_name.len = options->worker_name.len;
	session->slots = options->slots;
	session->sandbox = options->sandbox;
	session->cookie = options->cookie;
	session->release = options->release;
	session->deadline.position = HEAP_OUTSIDE;
	LIST_INIT(&session->leases);
	return session;
}

struct worker_session *
worker_session_ref(struct worker_session *session)
{
	atomic_fetch_add_explicit(
	    &session->references, 1, memory_order_relaxed);
	return session;
}

static void
session_clear_roots(struct worker_session *session)
{
	for (size_t i = 0; i < session->held_root_count; i++)
		free((char *)(uintptr_t)session->held_roots[i].data);
	free(session->held_roots);
	session->held_roots = NULL;
	session->held_root_count = 0;
}

void
worker_session_unref(struct worker_session *session)
{
	if (session == NULL || atomic_fetch_sub_explicit(&session->references,
				   1, memory_order_acq_rel) != 1)
		return;
	if (session->release != NULL)
		session->release(session->cookie);
	session_clear_roots(session);
	platform_clear(&session->offered);
	free((char *)(uintptr_t)session->worker_name.data);
	free(session);
}

static int
session_compare_roots(const void *left, const void *right)
{
	return str_compare(
	    *(const struct str *)left, *(const struct str *)right);
}

void
worker_session_set_held_roots(
    struct worker_session *session, const struct str *roots, size_t count)
{
	session_clear_roots(session);
	if (count > SESSION_HELD_ROOTS_MAX)
		count = SESSION_HELD_ROOTS_MAX;
	session->held_roots = xcalloc(count + 1, sizeof(*roots));
	session->held_root_count = count;
	for (size_t i = 0; i < count; i++)
		session->held_roots[i] = (struct str){
		    xstrndup(roots[i].data, roots[i].len), roots[i].len};
	qsort(
	    session->held_roots, count, sizeof(*roots), session_compare_roots);
}

size_t
worker_session_held(
    const struct worker_session *session, const struct platform *platform)
{
	size_t held = 0;

	if (session->held_root_count == 0)
		return 0;
	for (size_t i = 0; i < platform->count; i++) {
		const struct platform_property *p = &platform->properties[i];

		if (platform_is_root(p->name) &&
		    bsearch(&p->value, session->held_roots,
			session->held_root_count, sizeof(struct str),
			session_compare_roots) != NULL)
			held++;
	}
	return held;
}

size_t
worker_session_free_slots(const struct worker_session *session)
{
	return session->draining ? 0 : session->slots - session->lease_count;
}

struct lease *
worker_session_find_lease(const struct worker_session *session, struct str id)
{
	struct lease *lease;

	LIST_FOREACH (lease, &session->leases, link) {
		if (str_equal(str_from(lease->id), id))
			return lease;
	}
	return NULL;
}

struct lease *
lease_new(struct worker_session *session, struct operation *operation)
{
	struct lease *lease = xcalloc(1, sizeof(*lease));

	session_make_id(lease->id);
	lease->session = session;
	lease->operation = operation;
	lease->stage = LEASE_FETCHING;
	LIST_INSERT_HEAD(&session->leases, lease, link);
	session->lease_count++;
	return lease;
}

void
lease_free(struct lease *lease)
{
	LIST_REMOVE(lease, link);
	lease->session->lease_count--;
	free(lease);
}
