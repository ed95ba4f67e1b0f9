/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a plan of a collection tells beside its figures: whose results would go
 * (by target, toolchain and instance), and what stays although it is old, and
 * why. The collecting thread fills it, its owner reads it afterwards.
 */
#ifndef TOOLROOT_CAS_COLLECTOR_DETAILS_H
#define TOOLROOT_CAS_COLLECTOR_DETAILS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/map.h"
#include "cas/digest.h"

#define COLLECTION_LABEL_MAX 256

/* What would go of one target, toolchain or instance. A blob that several of
 * them name is counted for each. */
struct collection_share {
	char label[COLLECTION_LABEL_MAX];
	uint64_t results;
	uint64_t bytes; /* of results and their blobs that go */
};

/* Shares by label. Beyond some thousands of labels, the rest is one. */
struct collection_shares {
	struct map map;
	struct collection_share **items; /* owned */
	size_t count;
	size_t capacity;
};

enum collection_root_kind { ROOT_PIN, ROOT_TOOLCHAIN, ROOT_OPERATIONS };

/* Something that keeps blobs. */
struct collection_root {
	enum collection_root_kind kind;
	char name[COLLECTION_LABEL_MAX];
	struct digest digest; /* not of operations */
	uint64_t blobs;
	uint64_t bytes; /* as their digests say; not of operations */
	/* A toolchain beyond those that are to be kept: its name goes. */
	bool dropped;
};

struct collection_details {
	struct collection_shares targets;
	struct collection_shares toolchains;
	struct collection_shares instances;
	struct collection_root *roots; /* owned */
	size_t root_count;
	size_t root_capacity;
};

void collection_details_init(struct collection_details *details);
void collection_details_clear(struct collection_details *details);

void collection_shares_add(
    struct collection_shares *shares, struct str label, uint64_t bytes);
/* Sorts items, the largest first. */
void collection_shares_sort(struct collection_shares *shares);
/* One more, zeroed but for its name; valid until the next. */
struct collection_root *collection_details_root(
    struct collection_details *details, enum collection_root_kind kind,
    struct str name);
/* The name of a toolchain with this root, or NULL. */
const char *collection_details_toolchain(
    const struct collection_details *details, const struct digest *root);

#endif
