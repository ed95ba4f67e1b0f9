/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pins: names that keep blobs in the store, whatever their age. A pin is a
 * value of the table meta (docs/store-format.md); it is durable and survives
 * what it names: the collector keeps what hangs below a pin for as long as it
 * is there. Any thread; changes block.
 */
#ifndef TOOLROOT_CAS_PINS_H
#define TOOLROOT_CAS_PINS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "cas/digest.h"

struct error;
struct store;

/* LMDB's keys are short. */
#define PIN_NAME_MAX 200

enum pin_kind {
	PIN_BLOB = 1, /* this blob alone */
	PIN_TREE = 2, /* a Directory and all below it */
};

struct pin {
	struct str name;
	enum pin_kind kind;
	struct digest digest;
	int64_t created_ns; /* wall clock */
};

/* Replaces a pin of that name. The whole of it must be in the store:
 * FAILED_PRECONDITION names what is not. INVALID_ARGUMENT: the name is empty,
 * too long or has control characters, or the tree is malformed. */
int pin_set(struct store *store, const struct pin *pin, struct error *err);
/* 1, 0 when there is no such pin, -1. */
int pin_remove(struct store *store, struct str name, struct error *err);
/* In the order of names. The pin is borrowed for the call; -1 ends the list,
 * with err set. No transaction is open meanwhile. */
typedef int pin_visit_fn(
    void *cookie, const struct pin *pin, struct error *err);
int pins_list(
    struct store *store, pin_visit_fn *visit, void *cookie, struct error *err);
/* Whether an entry of the table meta is a pin, and well-formed. */
bool pin_entry_is_sound(struct str key, struct str value);

#endif
