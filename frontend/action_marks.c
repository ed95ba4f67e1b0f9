/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/action_marks.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/memory.h"

/* So few bytes are never refused, nor given in part, once the machine has
 * started. */
void
action_marks_secret_init(struct action_marks_secret *secret)
{
	if (getrandom(secret, sizeof(*secret), 0) != sizeof(*secret))
		abort();
	secret->instance |= 1;
	secret->digest |= 1;
}

void
action_marks_init(struct action_marks *marks, size_t slots)
{
	marks->tags = xcalloc(slots, sizeof(marks->tags[0]));
	marks->mask = slots - 1;
}

void
action_marks_clear(struct action_marks *marks)
{
	free(marks->tags);
	marks->tags = NULL;
}
