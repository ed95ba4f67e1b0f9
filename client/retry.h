/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trying again: what is worth it, how often, and with what pauses (growing,
 * with chance in them, or what the server asked for). For the things that
 * rpc_channel_call does not repeat by itself: streams, and single blobs of a
 * batch. One thread at a time.
 */
#ifndef TOOLROOT_CLIENT_RETRY_H
#define TOOLROOT_CLIENT_RETRY_H

#include <stdatomic.h>
#include <stdbool.h>

struct error;

struct retry {
	unsigned left;  /* tries that may still be made after a failure */
	unsigned limit; /* what left starts from */
	const atomic_bool *cancelled; /* NULL = never */
};

void retry_init(
    struct retry *retry, unsigned limit, const atomic_bool *cancelled);
/* Waits and returns true when err is worth another try and one is left. */
bool retry_again(struct retry *retry, const struct error *err);
/* The last try got further: failures are counted from here anew. */
void retry_progress(struct retry *retry);
/* The code alone: passing conditions, and streams that broke. */
bool retry_worth(const struct error *err);

#endif
