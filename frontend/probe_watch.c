/* SPDX-License-Identifier: Apache-2.0 */
/* Two atomics. */
#include "frontend/probe_watch.h"

void
probe_watch_begin(struct probe_watch *watch, int64_t now_ms)
{
	atomic_store(&watch->begun_ms, now_ms);
}

bool
probe_watch_end(struct probe_watch *watch)
{
	atomic_store(&watch->begun_ms, 0);
	return atomic_exchange(&watch->told, false);
}

bool
probe_watch_late(const struct probe_watch *watch, int64_t now_ms)
{
	int64_t begun_ms = atomic_load(&watch->begun_ms);

	return begun_ms != 0 && now_ms - begun_ms > PROBE_LATE_MS;
}

bool
probe_watch_tell(struct probe_watch *watch, int64_t now_ms)
{
	return probe_watch_late(watch, now_ms) &&
	       !atomic_exchange(&watch->told, true);
}
