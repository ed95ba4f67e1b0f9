/* SPDX-License-Identifier: Apache-2.0 */
/* Start and end of gRPC in this process. Runs on the main thread. */
#include "rpc/runtime.h"

#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/support/log.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "rpc/channel_core.h"

/* With glibc's defaults every received MiB is mapped, faulted in and unmapped
 * again: that halves the throughput. Memory stays near its peak instead, but
 * what a thread's heap keeps at its end is bounded: malloc_trim leaves that
 * alone. */
#define RUNTIME_MMAP_THRESHOLD (256 << 20)
#define RUNTIME_TRIM_THRESHOLD (16 << 20)
#define RUNTIME_TOP_PAD (4 << 20)
/* A bound for what takes no time. */
#define RUNTIME_WAKE_MS 1000
/* Less than any socket takes without its peer, headers included. */
#define RUNTIME_NEVER_WAITS 4096

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

/* A call over this connection, which has ended; returns when gRPC has seen
 * that. Takes the socket. */
static void
runtime_call_nobody(int fd)
{
	grpc_channel_credentials *plain = grpc_insecure_credentials_create();
	grpc_channel *channel =
	    grpc_channel_create_from_fd("nobody", fd, plain, NULL);
	grpc_completion_queue *queue =
	    grpc_completion_queue_create_for_pluck(NULL);
	gpr_timespec end =
	    rpc_core_time(clock_monotonic_ms() + RUNTIME_WAKE_MS);
	struct rpc_client_status status;
	grpc_call *call;
	grpc_op ops[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}};

	rpc_client_status_init(&status);
	call = grpc_channel_create_call(channel, NULL, 0, queue,
	    grpc_slice_from_static_string("/wake"), NULL, end, NULL);
	ops[1] = rpc_client_status_op(&status);
	rpc_core_start(call, ops, 2, &status);
	grpc_completion_queue_pluck(
	    queue, &status, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
	grpc_call_unref(call);
	rpc_client_status_clear(&status);
	grpc_completion_queue_shutdown(queue);
	grpc_completion_queue_destroy(queue);
	grpc_channel_destroy(channel);
	grpc_channel_credentials_release(plain);
}

/* After a send that had to wait for its peer, a thread of gRPC's polls for
 * 10 s, and looks only then whether it is still wanted. gRPC's end would wait
 * for it. All its threads poll one set: anything that happens there wakes it.
 */
static void
runtime_wake(void)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		ends) == -1)
		return;
	file_close(&ends[1]);
	runtime_call_nobody(ends[0]);
}

void
rpc_shutdown(void)
{
	/* It takes a millisecond, which small commands would feel. */
	if (rpc_core_sent() > RUNTIME_NEVER_WAITS)
		runtime_wake();
	grpc_shutdown_blocking();
}
