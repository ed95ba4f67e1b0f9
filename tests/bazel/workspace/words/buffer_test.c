/* SPDX-License-Identifier: Apache-2.0 */
#include "words/buffer.h"

int
main(void)
{
	struct buffer buffer;

	buffer_clear(&buffer);
	for (int i = 0; i < BUFFER_LIMIT; i++)
		if (buffer_add(&buffer, 'x') != 0)
			return 1;
	return buffer_add(&buffer, 'x') == -1 ? 0 : 1;
}
