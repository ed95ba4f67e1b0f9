// SPDX-License-Identifier: Apache-2.0
#include "shapes/label.h"

#include "words/count.h"

namespace shapes
{

std::string
Label(const std::string &title, const Polygon &polygon)
{
	return title + " (" + std::to_string(count_words(title.c_str())) +
	       " words): twice the area is " +
	       std::to_string(polygon.TwiceArea());
}

} // namespace shapes
