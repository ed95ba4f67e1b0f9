/* SPDX-License-Identifier: Apache-2.0 */
/* Namespaces by the mount and clone system calls. No state. Uses the new mount
 * interface (Linux 5.12). */
#include "worker/namespaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "worker/host_root.h"

/* Any directory that every host has: the template is mounted on it, in a
 * namespace that nobody else sees. */
#define TEMPLATE_PLACE "/tmp"
#define NETWORK_STACK 65536

const char *
sandbox_tier_name(enum sandbox_tier tier)
{
	switch (tier) {
	case SANDBOX_NAMESPACES:
		return "namespaces";
	case SANDBOX_USER_NAMESPACES:
		return "user-namespaces";
	case SANDBOX_NONE:
		break;
	}
	return "none";
}

/* In a container, root may have no user but itself. */
static bool
sandbox_user_exists(void)
{
	int fd = memfd_create("probe", MFD_CLOEXEC);
	bool exists = fd != -1 && fchown(fd, SANDBOX_UID, SANDBOX_GID) == 0;

	file_close(&fd);
	return exists;
}

static int
write_text(const char *path, const char *text, struct error *err)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int rc = -1;

	if (fd == -1)
		return error_set_errno(err, errno, "open %s", path);
	if (write(fd, text, strlen(text)) == (ssize_t)strlen(text))
		rc = 0;
	else
		error_set_errno(err, errno, "write %s", path);
	file_close(&fd);
	return rc;
}

static int
enter_user_namespace(struct error *err)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	char text[64];

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) == -1)
		return error_set(err, ERROR_FAILED_PRECONDITION,
		    "this host forbids user namespaces (%s): allow them "
		    "(sysctl user.max_user_namespaces, "
		    "kernel.unprivileged_userns_clone=1, "
		    "kernel.apparmor_restrict_unprivileged_userns=0), run the "
		    "worker as root with CAP_SYS_ADMIN, or accept actions "
		    "without a fence by --sandbox=none",
		    strerror(errno));
	if (write_text("/proc/self/setgroups", "deny", err) < 0)
		return -1;
	snprintf(text, sizeof(text), "%u %u 1", SANDBOX_UID, uid);
	if (write_text("/proc/self/uid_map", text, err) < 0)
		return -1;
	snprintf(text, sizeof(text), "%u %u 1", SANDBOX_GID, gid);
	return write_text("/proc/self/gid_map", text, err);
}

int
namespaces_enter(enum sandbox_tier *tier, struct error *err)
{
	if (geteuid() == 0 && sandbox_user_exists() &&
	    unshare(CLONE_NEWNS) == 0) {
		*tier = SANDBOX_NAMESPACES;
	} else {
		if (enter_user_namespace(err) < 0)
			return -1;
		*tier = SANDBOX_USER_NAMESPACES;
	}
	if (mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1)
		return error_set_errno(err, errno, "make mounts private%s",
		    errno == EINVAL
			? " (/ is no mount point, as in a chroot: `mount "
			  "--bind DIR DIR` before the chroot makes it one)"
			: "");
	return 0;
}

static int
bind_mount(const char *source, const char *target, struct error *err)
{
	if (mount(source, target, NULL, MS_BIND | MS_REC, NULL) == -1)
		return error_set_errno(
		    err, errno, "bind %s for sandboxes", source);
	return 0;
}

static int
restrict_mount(const char *target, uint64_t attributes, struct error *err)
{
	struct mount_attr attr = {.attr_set = attributes};

	if (mount_setattr(
		AT_FDCWD, target, AT_RECURSIVE, &attr, sizeof(attr)) == -1)
		return error_set_errno(
		    err, errno, "restrict %s in sandboxes", target);
	return 0;
}

static int
make_directory(const char *path, struct error *err)
{
	if (mkdir(path, 0755) == -1 && errno != EEXIST)
		return error_set_errno(err, errno, "make %s", path);
	return 0;
}

/* Relative to the template's root, the working directory. */
static int
make_devices(struct error *err)
{
	static const char *const devices[] = {
	    "null", "zero", "full", "random", "urandom"};
	/* One quota for all that an action writes: shm lives in its /tmp. */
	static const char *const links[][2] = {{"fd", "/proc/self/fd"},
	    {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
	    {"stderr", "/proc/self/fd/2"}, {"shm", "/tmp"}};
	char path[32];
	char source[32];

	if (make_directory("dev", err) < 0)
		return -1;
	if (mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_NOEXEC,
		"mode=0755,size=64k") == -1)
		return error_set_errno(err, errno, "mount /dev of sandboxes");
	for (size_t i = 0; i < sizeof(devices) / sizeof(*devices); i++) {
		int fd;

		snprintf(path, sizeof(path), "dev/%s", devices[i]);
		snprintf(source, sizeof(source), "/dev/%s", devices[i]);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
		if (fd == -1)
			return error_set_errno(err, errno, "make %s", path);
		file_close(&fd);
		if (bind_mount(source, path, err) < 0)
			return -1;
	}
	for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++) {
		snprintf(path, sizeof(path), "dev/%s", links[i][0]);
		if (symlink(links[i][1], path) == -1)
			return error_set_errno(err, errno, "make %s", path);
	}
	return restrict_mount("dev", MOUNT_ATTR_RDONLY, err);
}

static int
bind_host(struct error *err)
{
	struct host_root_entry entries[HOST_ROOT_MAX];
	size_t count = host_root_list(entries);
	char source[32];
	char target[32];

	for (size_t i = 0; i < count; i++) {
		if (entries[i].target[0] != '\0')
			continue;
		snprintf(source, sizeof(source), "/%s", entries[i].name);
		snprintf(target, sizeof(target), "host/%s", entries[i].name);
		if (make_directory(target, err) < 0 ||
		    bind_mount(source, target, err) < 0 ||
		    restrict_mount(target,
			MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
			    MOUNT_ATTR_NODEV,
			err) < 0)
			return -1;
	}
	return 0;
}

/* In a namespace of its own already. */
static int
fill_template(bool host_root, struct error *err)
{
	if (mount("tmpfs", TEMPLATE_PLACE, "tmpfs", MS_NOSUID,
		"mode=0755,size=1m") == -1)
		return error_set_errno(
		    err, errno, "mount over %s", TEMPLATE_PLACE);
	if (chdir(TEMPLATE_PLACE) == -1)
		return error_set_errno(err, errno, "enter %s", TEMPLATE_PLACE);
	if (make_directory("new", err) < 0 || make_directory("proc", err) < 0 ||
	    make_directory("host", err) < 0)
		return -1;
	/* Without a whole /proc in sight the kernel lets nobody without root
	 * mount a new one. */
	if (bind_mount("/proc", "proc", err) < 0 || make_devices(err) < 0)
		return -1;
	if (host_root && bind_host(err) < 0)
		return -1;
	if (syscall(SYS_pivot_root, ".", ".") == -1)
		return error_set_errno(err, errno, "pivot to the template");
	if (umount2(".", MNT_DETACH) == -1)
		return error_set_errno(err, errno, "let go of the host");
	if (chdir("/") == -1)
		return error_set_errno(err, errno, "enter the template");
	return 0;
}

/* The mount that "/" is on, to us. */
static int
root_mount(uint64_t *id, struct error *err)
{
	struct statx status;

	if (statx(AT_FDCWD, "/", 0, STATX_MNT_ID, &status) == -1)
		return error_set_errno(err, errno, "look at /");
	*id = status.stx_mnt_id;
	return 0;
}

/* In a chroot a mount namespace has another root than the process, which would
 * find itself there: with the machine's files, and without the template. */
static int
refuse_chroot(uint64_t root_before, struct error *err)
{
	uint64_t root;

	if (root_mount(&root, err) < 0)
		return -1;
	if (root == root_before)
		return 0;
	return error_set(err, ERROR_FAILED_PRECONDITION,
	    "this runs in a chroot, where sandboxes cannot be made: start the "
	    "worker outside of it, or in a container; or without a fence by "
	    "--sandbox=none");
}

int
namespaces_make_template(bool host_root, int *namespace_fd, struct error *err)
{
	uint64_t root;
	int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	int rc = -1;

	*namespace_fd = -1;
	if (own == -1) {
		error_set_errno(err, errno, "open /proc/self/ns/mnt");
		goto out;
	}
	if (root_mount(&root, err) < 0)
		goto out;
	if (unshare(CLONE_NEWNS) == -1) {
		error_set_errno(err, errno, "make a mount namespace");
		goto out;
	}
	if (fill_template(host_root, err) < 0)
		goto out;
	*namespace_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (*namespace_fd == -1) {
		error_set_errno(err, errno, "open the template's namespace");
		goto out;
	}
	if (setns(own, CLONE_NEWNS) == -1) {
		error_set_errno(err, errno, "return from the template");
		goto out;
	}
	rc = refuse_chroot(root, err);
out:
	if (rc < 0)
		file_close(namespace_fd);
	file_close(&own);
	return rc;
}

static int
raise_loopback(struct error *err)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc = 0;

	if (fd == -1)
		return error_set_errno(err, errno, "make a socket");
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &request) == -1)
		rc = error_set_errno(err, errno, "raise the loopback");
	file_close(&fd);
	return rc;
}

struct network_making {
	int fd;
	struct error *err;
};

static int
network_main(void *cookie)
{
	struct network_making *making = cookie;

	if (raise_loopback(making->err) < 0)
		return 1;
	making->fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (making->fd == -1)
		error_set_errno(making->err, errno, "open /proc/self/ns/net");
	return making->fd == -1;
}

/* A child with our memory and descriptors makes it: had we moved into one,
 * without root there were no way back to the host's. */
int
namespaces_make_network(int *namespace_fd, struct error *err)
{
	static _Alignas(16) char stack[NETWORK_STACK];
	struct network_making making = {-1, err};
	pid_t pid = clone(network_main, stack + sizeof(stack),
	    CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_NEWNET | SIGCHLD,
	    &making);

	*namespace_fd = -1;
	if (pid == -1)
		return error_set_errno(err, errno, "make a network namespace");
	while (waitpid(pid, NULL, 0) == -1 && errno == EINTR)
		;
	*namespace_fd = making.fd;
	return making.fd == -1 ? -1 : 0;
}

int
namespaces_drop_capabilities(struct error *err)
{
	struct __user_cap_header_struct header = {
	    .version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_capset, &header, none) == -1)
		return error_set_errno(err, errno, "drop capabilities");
	return 0;
}
