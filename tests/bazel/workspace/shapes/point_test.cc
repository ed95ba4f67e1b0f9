// SPDX-License-Identifier: Apache-2.0
#include "shapes/point.h"

int
main()
{
	return shapes::Cross({2, 0}, {0, 3}) == 6 ? 0 : 1;
}
