/* SPDX-License-Identifier: Apache-2.0 */
#include <extra.h>
#include <stdio.h>

#include "hermetic/tide.h"

int
main(void)
{
	printf("edition %d, high water at %d\n", EXTRA, tide_minute(1));
	return 0;
}
