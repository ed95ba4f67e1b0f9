/* SPDX-License-Identifier: Apache-2.0 */
#include "hermetic/tide.h"

/* The minute of high water: each day some 50 minutes later. */
int
tide_minute(int day)
{
	return day * 50 % (24 * 60);
}
