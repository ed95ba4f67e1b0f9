/* SPDX-License-Identifier: Apache-2.0 */
#include "words/count.h"

int
main(void)
{
	return count_words("the tide and the gulls") == 2 ? 0 : 1;
}
