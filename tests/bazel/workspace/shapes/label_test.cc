// SPDX-License-Identifier: Apache-2.0
#include "shapes/label.h"

int
main()
{
	const std::string wanted = "a boat (1 words): twice the area is 0";
	shapes::Polygon nothing;

	return shapes::Label("a boat", nothing) == wanted ? 0 : 1;
}
