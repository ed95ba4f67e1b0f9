/* SPDX-License-Identifier: Apache-2.0 */
/* Start and end of gRPC in this process. Runs on the main thread. */
#include "rpc/runtime.h"

#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

#include "base/log.h"

/* With glibc's defaults every received MiB is mapped, faulted in and unmapped
 * again: that halves the throughput. Memory stays near its peak instead, but
 * what a thread's heap keeps at its end is bounded: malloc_trim leaves that
 * alone. */
#define RUNTIME_MMAP_THRESHOLD (256 << 20)
#define RUNTIME_TRIM_THRESHOLD (16 << 20)
#define RUNTIME_TOP_PAD (4 << 20)

static void
runtime_log(gpr_log_func_args *args)
{
	/* What gRPC calls an error is mostly a peer's: a handshake that
	 * failed. That it cannot listen we report in our own words. */
	bool told = strstr(args->message, "No address added") != NULL;
	enum log_level level = args->severity == GPR_LOG_SEVERITY_ERROR && !told
				   ? LOG_INFO
				   : LOG_DEBUG;

	log_write(level, "grpc", "message=\"%s\"", args->message);
}

void
rpc_init(void)
{
	mallopt(M_MMAP_THRESHOLD, RUNTIME_MMAP_THRESHOLD);
	mallopt(M_TRIM_THRESHOLD, RUNTIME_TRIM_THRESHOLD);
	mallopt(M_TOP_PAD, RUNTIME_TOP_PAD);
	signal(SIGPIPE, SIG_IGN);
	gpr_set_log_function(runtime_log);
	grpc_init();
}

void
rpc_shutdown(void)
{
	grpc_shutdown_blocking();
}
