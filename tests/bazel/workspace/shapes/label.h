// SPDX-License-Identifier: Apache-2.0
// Words about a polygon.
#ifndef SHAPES_LABEL_H
#define SHAPES_LABEL_H

#include <string>

#include "shapes/polygon.h"

namespace shapes
{

std::string Label(const std::string &title, const Polygon &polygon);

} // namespace shapes

#endif
