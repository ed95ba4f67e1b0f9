// SPDX-License-Identifier: Apache-2.0
// A point of the plane, on a grid.
#ifndef SHAPES_POINT_H
#define SHAPES_POINT_H

namespace shapes
{

struct Point {
	long x;
	long y;
};

// Twice the area of the triangle of a, b and the origin, with its sign.
long Cross(const Point &a, const Point &b);

} // namespace shapes

#endif
