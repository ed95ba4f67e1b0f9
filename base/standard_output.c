/* SPDX-License-Identifier: Apache-2.0 */
/* SIGPIPE is ignored, because of sockets; so a pipe that nobody reads any more
 * is seen here. */
#include "base/standard_output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int
standard_output_finish(const char *command)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	if (errno != EPIPE)
		fprintf(stderr, "toolroot %s: standard output: %s\n", command,
		    errno != 0 ? strerror(errno) : "a write failed");
	return -1;
}
