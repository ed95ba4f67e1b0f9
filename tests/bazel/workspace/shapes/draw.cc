// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "shapes/label.h"

int
main()
{
	shapes::Polygon square;

	square.Add({0, 0});
	square.Add({3, 0});
	square.Add({3, 3});
	square.Add({0, 3});
	std::cout << shapes::Label("the small square", square) << "\n";
	return 0;
}
