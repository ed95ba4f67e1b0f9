/* SPDX-License-Identifier: Apache-2.0 */
/* One child process, once. Main thread. */
#include "frontend/first_toolchain.h"

#include <signal.h>
#include <sys/wait.h>

#include "base/child.h"
#include "base/log.h"
#include "base/memory.h"

int
first_toolchain_start(struct first_toolchain *toolchain,
    const struct first_toolchain_options *options, struct error *err)
{
	struct child_arguments arguments = {NULL, 0};
	int rc;

	child_arguments_add(&arguments, xstrdup("toolroot"));
	child_arguments_add(&arguments, xstrdup("toolchain"));
	child_arguments_add(&arguments, xstrdup("add"));
	child_arguments_add(&arguments, xstrdup("default"));
	child_arguments_add(&arguments, xstrdup("--cc"));
	child_arguments_add(
	    &arguments, xasprintf("--server=%s", options->server));
	child_arguments_add(
	    &arguments, xasprintf("--instance=%s", options->instance));
	child_arguments_add(&arguments,
	    xasprintf("--digest-function=%s", options->digest_function));
	rc = child_start(&arguments,
	    &(struct child_options){.output_to_errors = true}, &toolchain->pid,
	    err);
	child_arguments_clear(&arguments);
	return rc;
}

void
first_toolchain_tend(struct first_toolchain *toolchain)
{
	int status;

	if (toolchain->pid == -1 ||
	    waitpid(toolchain->pid, &status, WNOHANG) != toolchain->pid)
		return;
	toolchain->pid = -1;
	if (status != 0)
		log_error("default_toolchain_not_captured",
		    "remedy=\"toolroot toolchain add default --cc tells why; "
		    "install a compiler, or add another toolchain\"");
}

void
first_toolchain_stop(struct first_toolchain *toolchain)
{
	if (toolchain->pid == -1)
		return;
	kill(toolchain->pid, SIGTERM);
	waitpid(toolchain->pid, NULL, 0);
	toolchain->pid = -1;
}
