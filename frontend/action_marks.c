/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/action_marks.h"

#include <stdlib.h>

#include "base/memory.h"

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
