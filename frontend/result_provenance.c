/* SPDX-License-Identifier: Apache-2.0 */
/* From RequestMetadata and the connection. */
#include "frontend/result_provenance.h"

#include "base/memory.h"
#include "cas/provenance.h"
#include "frontend/request_metadata.h"
#include "rpc/call.h"

/* Ports differ with each connection and name nobody. */
static struct str
address_without_port(struct str peer)
{
	size_t end = peer.len;

	if (!str_starts_with(peer, STR("ipv")))
		return peer;
	while (end > 0 && peer.data[end - 1] != ':')
		end--;
	if (end > 5)
		peer.len = end - 1;
	return peer;
}

char *
result_provenance_writer(struct rpc_call *call)
{
	struct str name = rpc_call_identity(call);

	if (name.len == 0)
		name = address_without_port(rpc_call_peer(call));
	return xstrndup(name.data, name.len);
}

void
result_provenance_read(struct str request_metadata, struct store *store,
    const struct digest *action, struct provenance *provenance)
{
	struct request_metadata metadata;

	memset(provenance, 0, sizeof(*provenance));
	request_metadata_parse(request_metadata, &metadata);
	provenance->target = metadata.target_id;
	provenance->mnemonic = metadata.action_mnemonic;
	provenance->invocation = metadata.tool_invocation_id;
	provenance_find_toolchains(store, action, provenance);
}
