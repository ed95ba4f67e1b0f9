// SPDX-License-Identifier: Apache-2.0
#include "shapes/label.h"

int
main()
{
	shapes::Polygon nothing;

	return shapes::Label("a boat", nothing) ==
		"a boat (1 words): twice the area is 0" ? 0 : 1;
}
