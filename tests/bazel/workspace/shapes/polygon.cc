// SPDX-License-Identifier: Apache-2.0
#include "shapes/polygon.h"

#include <cstdlib>

namespace shapes
{

void
Polygon::Add(Point point)
{
	points_.push_back(point);
}

long
Polygon::TwiceArea() const
{
	long sum = 0;

	for (std::size_t i = 0; i < points_.size(); i++)
		sum += Cross(points_[i], points_[(i + 1) % points_.size()]);
	return std::labs(sum);
}

} // namespace shapes
