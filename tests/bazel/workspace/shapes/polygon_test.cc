// SPDX-License-Identifier: Apache-2.0
#include "shapes/polygon.h"

int
main()
{
	shapes::Polygon triangle;

	triangle.Add({0, 0});
	triangle.Add({4, 0});
	triangle.Add({0, 4});
	return triangle.TwiceArea() == 16 ? 0 : 1;
}
