// SPDX-License-Identifier: Apache-2.0
// A closed chain of points.
#ifndef SHAPES_POLYGON_H
#define SHAPES_POLYGON_H

#include <vector>

#include "shapes/point.h"

namespace shapes
{

class Polygon
{
      public:
	void Add(Point point);
	long TwiceArea() const;

      private:
	std::vector<Point> points_;
};

} // namespace shapes

#endif
