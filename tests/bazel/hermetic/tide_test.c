/* SPDX-License-Identifier: Apache-2.0 */
#include "hermetic/tide.h"

int
main(void)
{
	return tide_minute(29) == 10 ? 0 : 1;
}
