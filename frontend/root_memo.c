/* SPDX-License-Identifier: Apache-2.0 */
/* A short list, searched from end to end. */
#include "frontend/root_memo.h"

void
root_memo_init(struct root_memo *memo)
{
	pthread_mutex_init(&memo->lock, NULL);
	memo->count = 0;
}

void
root_memo_clear(struct root_memo *memo)
{
	pthread_mutex_destroy(&memo->lock);
}

bool
root_memo_has(struct root_memo *memo, const struct digest *root, int64_t now_ms)
{
	bool has = false;

	pthread_mutex_lock(&memo->lock);
	for (size_t i = 0; i < memo->count && !has; i++)
		has = digest_equal(&memo->items[i].root, root) &&
		      now_ms - memo->items[i].checked_ms < ROOT_MEMO_MS;
	pthread_mutex_unlock(&memo->lock);
	return has;
}

void
root_memo_add(struct root_memo *memo, const struct digest *root, int64_t now_ms)
{
	size_t place = 0;

	pthread_mutex_lock(&memo->lock);
	for (size_t i = 0; i < memo->count; i++) {
		if (digest_equal(&memo->items[i].root, root)) {
			place = i;
			goto found;
		}
		if (memo->items[i].checked_ms < memo->items[place].checked_ms)
			place = i;
	}
	if (memo->count < ROOT_MEMO_MAX)
		place = memo->count++;
found:
	memo->items[place].root = *root;
	memo->items[place].checked_ms = now_ms;
	pthread_mutex_unlock(&memo->lock);
}
