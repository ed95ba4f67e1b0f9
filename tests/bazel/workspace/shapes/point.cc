// SPDX-License-Identifier: Apache-2.0
#include "shapes/point.h"

namespace shapes
{

long
Cross(const Point &a, const Point &b)
{
	return a.x * b.y - a.y * b.x;
}

} // namespace shapes
