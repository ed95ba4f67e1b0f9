/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "hermetic/tide.h"

int
main(void)
{
	for (int day = 0; day < 30; day++)
		printf("%d\n", tide_minute(day));
	return 0;
}
