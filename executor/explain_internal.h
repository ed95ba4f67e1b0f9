/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the explanation share. explain.c: reading, actions and
 * settings; explain_command.c: commands and platforms; explain_tree.c: Merkle
 * trees. Not for other modules.
 */
#ifndef TOOLROOT_EXECUTOR_EXPLAIN_INTERNAL_H
#define TOOLROOT_EXECUTOR_EXPLAIN_INTERNAL_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "base/buffer.h"
#include "executor/explain.h"

/* As Execute has them. */
#define EXPLAIN_MESSAGE_MAX (16u << 20)

struct explainer_work {
	struct explanation *out;
	const struct closure_source *source;
	struct explain_limits left; /* of the limits */
	struct arena scratch;       /* messages */
	bool differs[EXPLAIN_CAUSES];
};

/* UTF-8 in the explanation's arena, cut where it is long; NULL when there is
 * no memory. */
const char *explain_text(struct explainer_work *work, struct str text);
/* One change of a cause. Name and texts are in the explanation's arena. Past
 * the limit it is only counted. */
void explain_add(struct explainer_work *work, enum explain_cause cause,
    const struct explain_change *change);
/* Notes that not all can be told. The first note counts. */
void explain_incomplete(struct explainer_work *work, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The blob in content, whose limit is observed. 1, 0 when it is absent, -1. */
int explain_read(struct explainer_work *work, const struct digest *digest,
    struct buffer *content, struct error *err);

/* The effective platforms are given; NULL = none. */
int explain_platforms(struct explainer_work *work,
    const Reapi__Platform *before, const Reapi__Platform *after,
    struct error *err);
void explain_commands(struct explainer_work *work, const Reapi__Command *before,
    const Reapi__Command *after);

struct explain_tree {
	enum explain_cause cause;
	enum explain_kind kind;
	const char *prefix; /* of paths: "" or "/usr/" */
	struct digest before;
	struct digest after;
};
int explain_trees(struct explainer_work *work, const struct explain_tree *tree,
    struct error *err);

static inline struct str
explain_str(ProtobufCBinaryData data)
{
	return (struct str){
	    data.data != NULL ? (const char *)data.data : "", data.len};
}

#endif
