/* SPDX-License-Identifier: Apache-2.0 */
/* The table of refused calls and its compilation by libseccomp. No state. */
#include "worker/seccomp_filter.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

/* By name, since not every architecture and header has all of them. */
static const char *const refused[] = {"_sysctl", "acct", "add_key", "adjtimex",
    "bpf", "clock_adjtime", "clock_settime", "create_module", "delete_module",
    "fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick",
    "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup",
    "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl",
    "lookup_dcookie", "mount", "mount_setattr", "move_mount", "move_pages",
    "name_to_handle_at", "nfsservctl", "open_by_handle_at", "open_tree",
    "perf_event_open", "pivot_root", "quotactl", "quotactl_fd", "reboot",
    "request_key", "setdomainname", "sethostname", "setns", "settimeofday",
    "stime", "swapoff", "swapon", "syslog", "umount", "umount2", "unshare",
    "userfaultfd", "uselib", "ustat", "vhangup", "vm86", "vm86old"};

#define NAMESPACE_FLAGS \
	(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | \
	    CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

static const int refused_families[] = {AF_VSOCK, AF_ALG};

static int
refuse_by_name(scmp_filter_ctx filter)
{
	int rc = 0;

	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused) && rc == 0;
	     i++) {
		int number = seccomp_syscall_resolve_name(refused[i]);

		if (number != __NR_SCMP_ERROR)
			rc = seccomp_rule_add(
			    filter, SCMP_ACT_ERRNO(EPERM), number, 0);
	}
	return rc;
}

/* One rule a flag: clone with any of them is refused. */
static int
refuse_namespaces(scmp_filter_ctx filter)
{
	int rc = 0;

	for (unsigned bit = 0; bit < 31 && rc == 0; bit++) {
		unsigned flag = 1u << bit;

		if ((flag & NAMESPACE_FLAGS) != 0)
			rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM),
			    SCMP_SYS(clone), 1,
			    SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
	}
	if (rc == 0)
		rc = seccomp_rule_add(
		    filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return rc;
}

static int
refuse_families(scmp_filter_ctx filter)
{
	size_t count = sizeof(refused_families) / sizeof(*refused_families);
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM),
		    SCMP_SYS(socket), 1,
		    SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)refused_families[i], 0));
	return rc;
}

static int
add_rules(scmp_filter_ctx filter)
{
	int rc = 0;

	/* Programs of the 32-bit sister architecture run under the same
	 * rules; anything else is killed, libseccomp's default. */
#if defined(__x86_64__)
	rc = seccomp_arch_add(filter, SCMP_ARCH_X86);
#elif defined(__aarch64__)
	rc = seccomp_arch_add(filter, SCMP_ARCH_ARM);
#endif
	if (rc == 0)
		rc = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (rc == 0)
		rc = refuse_by_name(filter);
	if (rc == 0)
		rc = refuse_namespaces(filter);
	if (rc == 0)
		rc = refuse_families(filter);
	return rc;
}

/* libseccomp writes the program to a descriptor only. */
static int
export_program(
    scmp_filter_ctx filter, struct sock_fprog *program, struct error *err)
{
	struct stat status;
	int fd = memfd_create("seccomp", MFD_CLOEXEC);
	int rc = -1;

	if (fd == -1)
		return error_set_errno(err, errno, "make a memory file");
	rc = seccomp_export_bpf(filter, fd);
	if (rc < 0 || fstat(fd, &status) == -1) {
		rc = error_set_errno(
		    err, rc < 0 ? -rc : errno, "export the seccomp filter");
		goto out;
	}
	program->len =
	    (unsigned short)((size_t)status.st_size / sizeof(*program->filter));
	program->filter = xmalloc((size_t)status.st_size);
	rc = file_pread(fd, program->filter, (size_t)status.st_size, 0, err);
out:
	file_close(&fd);
	return rc;
}

int
seccomp_filter_build(struct sock_fprog *program, struct error *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int rc;

	if (filter == NULL)
		return error_set(
		    err, ERROR_INTERNAL, "cannot make a seccomp filter");
	rc = add_rules(filter);
	if (rc < 0)
		rc = error_set_errno(err, -rc, "make the seccomp filter");
	else
		rc = export_program(filter, program, err);
	seccomp_release(filter);
	return rc;
}

int
seccomp_filter_install(const struct sock_fprog *program)
{
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0);
}
