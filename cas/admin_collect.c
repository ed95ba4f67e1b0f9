/* SPDX-License-Identifier: Apache-2.0 */
/* Collect. */
#include "base/arena.h"
#include "base/error.h"
#include "cas/admin_internal.h"
#include "cas/collector.h"
#include "cas/store.h"

static void
collect_fill_wish(const Adminapi__CollectRequest *request, uint64_t used,
    struct collection_wish *wish)
{
	*wish = (struct collection_wish){
	    .run = request->run, .max_age_ms = request->max_age_ms};
	if (request->target_case ==
	    ADMINAPI__COLLECT_REQUEST__TARGET_MAX_BYTES) {
		wish->sized = true;
		wish->target_size = request->max_bytes;
	}
	if (request->target_case ==
	    ADMINAPI__COLLECT_REQUEST__TARGET_FREE_BYTES) {
		wish->sized = true;
		wish->target_size =
		    used > request->free_bytes ? used - request->free_bytes : 0;
	}
	if (request->one_instance)
		wish->instance = admin_str(request->instance_name);
}

static void
collect_fill_response(
    const struct collection_report *report, Adminapi__CollectResponse *response)
{
	response->bytes_before = report->bytes_before;
	response->bytes_after = report->bytes_after;
	response->limit_bytes = report->max_bytes;
	response->blobs = report->blobs;
	response->blob_bytes = report->blob_bytes;
	response->large_blobs = report->files;
	response->action_results = report->results;
	response->action_result_bytes = report->result_bytes;
	response->segments_removed = report->segments_removed;
	response->segments_compacted = report->segments_compacted;
	response->moved_bytes = report->moved_bytes;
	response->pinned_blobs = report->kept_blobs;
	response->pinned_bytes = report->kept_bytes;
	response->young_blobs = report->young_blobs;
	response->young_bytes = report->young_bytes;
	response->roots = report->roots;
	response->youngest_age_ms = report->youngest_age_ms;
	response->oldest_young_age_ms = report->oldest_age_ms;
	response->min_age_ms = report->min_age_ms;
	response->short_of = report->short_of;
}

const ProtobufCMessage *
admin_collect(const struct admin_target *target, const ProtobufCMessage *base,
    struct arena *arena, struct error *err)
{
	const Adminapi__CollectRequest *request =
	    (const Adminapi__CollectRequest *)base;
	Adminapi__CollectResponse *response =
	    arena_alloc(arena, sizeof(*response));
	struct collection_report report;
	struct collection_wish wish;
	struct store_usage usage;

	if (response == NULL)
		return admin_no_memory(err);
	if (request->max_age_ms < 0) {
		error_set(
		    err, ERROR_INVALID_ARGUMENT, "max_age_ms is negative");
		return NULL;
	}
	store_usage(target->store, &usage);
	collect_fill_wish(request, usage.bytes, &wish);
	if (collector_collect(target->collector, &wish, &report, err) < 0)
		return NULL;
	adminapi__collect_response__init(response);
	collect_fill_response(&report, response);
	return &response->base;
}
