/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why an action has another digest than an earlier one: the difference between
 * two Action messages and what they name. Command, environment, platform and
 * toolchain roots are compared whole, Merkle trees only where their digests
 * differ. Pure but for the reads; any thread.
 *
 * Everything is bounded by the limits given: past them the explanation says
 * that it is incomplete, and the cause, which follows from digests alone, is
 * right all the same. So it is when blobs of the earlier action are gone.
 */
#ifndef TOOLROOT_EXECUTOR_EXPLAIN_H
#define TOOLROOT_EXECUTOR_EXPLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "cas/digest.h"

struct closure_source;
struct error;
struct Reapi__Action;
struct Reapi__Command;

/* When several differ, the first in this order is the cause: a change of what
 * stands earlier often brings the later ones with it. */
enum explain_cause {
	EXPLAIN_TOOLCHAIN,   /* a tree that a platform property names */
	EXPLAIN_PLATFORM,    /* any other platform property */
	EXPLAIN_ENVIRONMENT, /* a variable of the command */
	EXPLAIN_COMMAND,     /* arguments, outputs, timeout and the like */
	EXPLAIN_SOURCE,      /* the input root */
	EXPLAIN_SALT,
	/* Those that no comparison gives. */
	EXPLAIN_FIRST_SEEN, /* nothing like it was seen */
	EXPLAIN_EVICTED,    /* the same action had a result */
	EXPLAIN_UNCACHED,   /* the same action ran; no result was kept */
	EXPLAIN_UNKNOWN,    /* what would tell cannot be read */
	EXPLAIN_CAUSES,     /* how many there are */
};

/* "first-seen" and so on: a metric's label and a log's value. */
const char *explain_cause_name(enum explain_cause cause);
/* EXPLAIN_UNKNOWN for any other text. */
enum explain_cause explain_cause_parse(struct str name);

enum explain_kind {
	EXPLAIN_KIND_TOOLCHAIN, /* a path in a toolchain root */
	EXPLAIN_KIND_PROPERTY,
	EXPLAIN_KIND_VARIABLE,
	EXPLAIN_KIND_ARGUMENT,
	EXPLAIN_KIND_OUTPUT,
	EXPLAIN_KIND_SETTING, /* timeout, working directory and the like */
	EXPLAIN_KIND_INPUT,   /* a path in the input root */
	EXPLAIN_KIND_SALT,
};

const char *explain_kind_name(enum explain_kind kind);

/* Texts are UTF-8, cut where they are long. */
struct explain_change {
	enum explain_cause cause; /* of which this is a part */
	enum explain_kind kind;
	const char *name;   /* path, variable, property; "argument 3" */
	const char *before; /* NULL: was not there */
	const char *after;  /* NULL: is not there any more */
	/* Of files and directories; size and hash count when the flag is
	 * set. */
	struct digest before_digest;
	struct digest after_digest;
	bool has_before_digest;
	bool has_after_digest;
};

struct explain_limits {
	size_t changes;     /* to keep; what is more is counted only */
	size_t directories; /* to read */
	uint64_t bytes;     /* to read */
	bool first_only;    /* what names cause and summary is enough */
};

struct explanation {
	enum explain_cause cause;
	struct explain_change *changes; /* in the arena */
	size_t count;
	size_t total;    /* changes found; may be more than count */
	bool incomplete; /* a limit, or blobs that are gone */
	char note[256];  /* which; "" when complete */
	struct arena arena;
};

/* An action that is to be explained: what it says, and its command. */
struct explain_action {
	struct digest digest;
	struct Reapi__Action *action;   /* NULL: cannot be found */
	struct Reapi__Command *command; /* NULL: the same */
	struct digest command_digest;   /* when action is there */
	struct digest input_root;       /* the same */
	uint64_t bytes;                 /* that were read */
	char note[256];                 /* what cannot be found, and why */
	struct arena arena;             /* of the messages */
};

/* What cannot be found is noted; an unreadable store or a malformed message is
 * an error. Source.function is the action's. To be cleared in any case. */
int explain_action_read(struct explain_action *action,
    const struct closure_source *source, const struct digest *digest,
    struct error *err);
void explain_action_clear(struct explain_action *action);

/* From before to after, which have the same digest function. What cannot be
 * found of before, or in the trees, makes it incomplete; errors as above. To be
 * cleared in any case. */
int explain_action_against(struct explanation *explanation,
    const struct explain_action *after, const struct closure_source *source,
    const struct explain_limits *limits, const struct digest *before,
    struct error *err);
/* The same of two digests. */
int explain_actions(struct explanation *explanation,
    const struct closure_source *source, const struct explain_limits *limits,
    const struct digest *before, const struct digest *after, struct error *err);
void explanation_clear(struct explanation *explanation);

/* One line on what stands for the cause: "input src/a.c changed"; cut to
 * size. */
void explanation_summary(
    const struct explanation *explanation, char *text, size_t size);

#endif
