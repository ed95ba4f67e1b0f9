/* SPDX-License-Identifier: Apache-2.0 */
/* vfork, privileges dropped, execve. The child shares our memory until it
 * executes, hence no library call in it that locks or allocates. */
#include "worker/action_process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "worker/process_children.h"
#include "worker/run_spec.h"
#include "worker/seccomp_filter.h"

#define DESCRIPTORS_MAX 65536
#define STACK_SIZE ((rlim_t)8 << 20)

static int
set_streams(const struct action_process *process)
{
	int null = open("/dev/null", O_RDONLY);

	if (null == -1 || dup2(null, STDIN_FILENO) == -1 ||
	    dup2(process->stdout_fd, STDOUT_FILENO) == -1 ||
	    dup2(process->stderr_fd, STDERR_FILENO) == -1)
		return -1;
	return close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
}

/* Lowers to the wanted value where the inherited limit is above; an inherited
 * limit below stays. */
static int
set_limit(__rlimit_resource_t resource, rlim_t wanted)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) == -1)
		return -1;
	if (limit.rlim_max != RLIM_INFINITY && wanted > limit.rlim_max)
		wanted = limit.rlim_max;
	limit.rlim_cur = wanted;
	if (resource != RLIMIT_STACK)
		limit.rlim_max = wanted;
	return setrlimit(resource, &limit);
}

/* Those of every action. */
static int
set_common_limits(void)
{
	if (set_limit(RLIMIT_CORE, 0) == -1 ||
	    set_limit(RLIMIT_NOFILE, DESCRIPTORS_MAX) == -1 ||
	    set_limit(RLIMIT_STACK, STACK_SIZE) == -1)
		return -1;
	umask(022);
	return 0;
}

/* Raw calls: the library's would want to tell other threads. */
static int
drop_privileges(enum sandbox_tier tier)
{
	struct __user_cap_header_struct header = {
	    .version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	if (tier == SANDBOX_NAMESPACES &&
	    (syscall(SYS_setgroups, 0, NULL) == -1 ||
		syscall(SYS_setresgid, SANDBOX_GID, SANDBOX_GID, SANDBOX_GID) ==
		    -1 ||
		syscall(SYS_setresuid, SANDBOX_UID, SANDBOX_UID, SANDBOX_UID) ==
		    -1))
		return -1;
	if (syscall(SYS_capset, &header, none) == -1)
		return -1;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* Like execvpe, but every path is made in a fixed buffer. Returns only on
 * failure, with errno. */
static void
execute(const struct run_spec *spec)
{
	char *const *arguments = (char *const *)spec->arguments;
	char *const *environment = (char *const *)spec->environment;
	const char *name = arguments[0];
	const char *directory = spec->search_path;
	bool denied = false;
	char path[4096];

	if (strchr(name, '/') != NULL) {
		execve(name, arguments, environment);
		return;
	}
	while (directory != NULL) {
		const char *end = strchr(directory, ':');
		size_t len =
		    end != NULL ? (size_t)(end - directory) : strlen(directory);
		size_t name_len = strlen(name);

		if (len + name_len + 2 <= sizeof(path)) {
			memcpy(path, directory, len); /* NOLINT: ended below */
			if (len > 0)
				path[len++] = '/';
			memcpy(path + len, name, name_len + 1);
			execve(path, arguments, environment);
			if (errno == EACCES)
				denied = true;
			else if (errno != ENOENT && errno != ENOTDIR)
				return;
		}
		directory = end != NULL ? end + 1 : NULL;
	}
	errno = denied ? EACCES : ENOENT;
}

void
action_process_fence(
    const struct action_fence *fence, struct action_failure *failure)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	/* Ours is higher where we may. */
	(void)setpriority(PRIO_PROCESS, 0, fence->priority);
	if (set_common_limits() == 0 && drop_privileges(fence->tier) == 0 &&
	    (fence->tier == SANDBOX_NONE ||
		seccomp_filter_install(fence->filter) == 0))
		return;
	*failure = (struct action_failure){ACTION_STEP_FENCE, errno};
}

void
action_process_become(
    const struct action_process *process, struct action_failure *failure)
{
	enum action_step step = ACTION_STEP_EXECUTE;

	if (set_streams(process) == -1)
		step = ACTION_STEP_STREAMS;
	else if (set_limit(RLIMIT_DATA, process->data_limit) == -1 ||
		 set_limit(RLIMIT_NPROC, process->process_limit) == -1)
		step = ACTION_STEP_LIMITS;
	else if (chdir(process->spec->working_directory) == -1)
		step = ACTION_STEP_DIRECTORY;
	else
		execute(process->spec);
	*failure = (struct action_failure){step, errno};
}

int
action_process_explain(const struct run_spec *spec,
    const struct action_failure *failure, struct error *err)
{
	static const char *const steps[] = {
	    [ACTION_STEP_FENCE] = "drop privileges and install the seccomp "
				  "filter",
	    [ACTION_STEP_STREAMS] = "set up its standard streams",
	    [ACTION_STEP_LIMITS] = "set its limits"};
	const char *why = strerror(failure->number);
	bool bare = strchr(spec->arguments[0], '/') == NULL;

	if (failure->step == ACTION_STEP_DIRECTORY)
		return error_set(err, ERROR_INVALID_ARGUMENT,
		    "cannot enter the working directory %.200s: %s",
		    spec->working_directory, why);
	if (failure->step != ACTION_STEP_EXECUTE)
		return error_set_errno(err, failure->number,
		    "start the action: %s", steps[failure->step]);
	if (failure->number == ENOENT && bare)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "there is no program %.100s in PATH (%.200s) of the "
		    "action: its input root or toolchain must bring it",
		    spec->arguments[0], spec->search_path);
	if (failure->number == ENOENT)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "there is no program %.200s (or no interpreter or loader "
		    "that it names), seen from %.100s: the input root or "
		    "toolchain must bring it",
		    spec->arguments[0], spec->working_directory);
	return error_set(err, ERROR_INVALID_ARGUMENT,
	    "cannot execute %.200s, seen from %.100s: %s", spec->arguments[0],
	    spec->working_directory, why);
}

/* In the parent's memory: no library call that locks or allocates. What stopped
 * us goes through a pipe all the same, which closes when we execute: with the
 * thread sanitizer the memory is a copy. */
static _Noreturn void
child_main(const struct action_fence *fence,
    const struct action_process *process, int pipe_fd)
{
	struct action_failure failure = {ACTION_STEP_NONE, 0};

	action_process_fence(fence, &failure);
	if (failure.step == ACTION_STEP_NONE)
		action_process_become(process, &failure);
	_exit(write(pipe_fd, &failure, sizeof(failure)) == -1 ? 126 : 127);
}

pid_t
action_process_start(const struct action_fence *fence,
    const struct action_process *process, struct error *err)
{
	int pipe_fds[2] = {-1, -1};
	struct action_failure failure;
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) == -1)
		return error_set_errno(err, errno, "make a pipe");
	/* child_main keeps to what a child may do in its parent's memory. */
	pid = vfork(); /* NOLINT */
	if (pid == 0)
		child_main(fence, process, pipe_fds[1]); /* NOLINT */
	file_close(&pipe_fds[1]);
	if (pid == -1) {
		error_set_errno(err, errno, "start the action");
	} else if (read(pipe_fds[0], &failure, sizeof(failure)) > 0) {
		waitpid(pid, NULL, 0);
		pid = action_process_explain(process->spec, &failure, err);
	}
	file_close(&pipe_fds[0]);
	return pid;
}

static void
kill_child(void *cookie, pid_t child)
{
	(void)cookie;
	kill(child, SIGKILL);
}

void
action_process_kill_tree(pid_t pid)
{
	if (pid > 0)
		kill(-pid, SIGKILL);
	process_children_each(kill_child, NULL);
}
