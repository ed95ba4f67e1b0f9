/* SPDX-License-Identifier: Apache-2.0 */
/* Decides; base/process_memory.h measures and acts. */
#include "rpc/memory_trim.h"

#include <stdbool.h>

#include "base/clock.h"
#include "base/process_memory.h"

/* While memory is short, between two times: while the allocator holds more that
 * is free than this part of the limit, otherwise, and while the process has not
 * grown since by this part of the limit. */
#define TRIM_URGENT_MS 20
#define TRIM_URGENT_PART 4
#define TRIM_MS 250
#define TRIM_AGAIN_MS 5000
#define TRIM_PART 32
/* While it is not: what is worth it, and how often in a row it has to be there
 * when we look. */
#define TRIM_WORTH (4u << 20)
#define TRIM_LOOK_MS 1000
#define TRIM_LOOKS 5
#define TRIM_LOOKS_MAX 320

void
memory_trim_init(struct memory_trim *trim, int memory)
{
	*trim = (struct memory_trim){.memory = memory, .wanted = TRIM_LOOKS};
}

static bool
has_free(uint64_t anonymous)
{
	return anonymous > process_memory_allocated() + TRIM_WORTH;
}

void
memory_trim_idle(struct memory_trim *trim)
{
	struct process_memory memory;

	trim->looks = 0;
	trim->wanted = TRIM_LOOKS;
	trim->after = 0;
	if (process_memory_read(trim->memory, &memory) &&
	    has_free(memory.anonymous))
		process_memory_trim();
}

/* Free memory comes fast: what one connection gave up lies in its thread's part
 * of the heap, and what the next one receives is taken from another's. */
static bool
is_due(const struct memory_trim *trim, uint64_t anonymous, uint64_t limit)
{
	int64_t since_ms = clock_monotonic_ms() - trim->short_ms;
	uint64_t in_use = process_memory_allocated();

	if (anonymous < trim->short_after + limit / TRIM_PART)
		return since_ms >= TRIM_AGAIN_MS;
	if (anonymous > in_use + limit / TRIM_URGENT_PART)
		return since_ms >= TRIM_URGENT_MS;
	return since_ms >= TRIM_MS;
}

void
memory_trim_short(struct memory_trim *trim, uint64_t anonymous, uint64_t limit)
{
	struct process_memory after;

	if (!is_due(trim, anonymous, limit))
		return;
	process_memory_trim();
	trim->short_ms = clock_monotonic_ms();
	if (process_memory_read(trim->memory, &after))
		trim->short_after = after.anonymous;
}

/* Has the process taken again what it gave back, or did it give nothing? */
static void
set_pace(struct memory_trim *trim, uint64_t anonymous)
{
	uint64_t taken = anonymous > trim->after ? anonymous - trim->after : 0;

	if (trim->after == 0 || 2 * taken < trim->given)
		trim->wanted = TRIM_LOOKS;
	else if (trim->wanted < TRIM_LOOKS_MAX)
		trim->wanted *= 2;
}

void
memory_trim_spare(struct memory_trim *trim, uint64_t anonymous)
{
	int64_t now_ms = clock_monotonic_ms();
	struct process_memory after;

	if (now_ms - trim->looked_ms < TRIM_LOOK_MS)
		return;
	trim->looked_ms = now_ms;
	trim->looks = has_free(anonymous) ? trim->looks + 1 : 0;
	if (trim->looks < trim->wanted)
		return;
	trim->looks = 0;
	set_pace(trim, anonymous);
	process_memory_trim();
	if (!process_memory_read(trim->memory, &after))
		return;
	trim->after = after.anonymous;
	trim->given =
	    anonymous > after.anonymous ? anonymous - after.anonymous : 0;
}
