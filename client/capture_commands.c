/* SPDX-License-Identifier: Apache-2.0 */
/* A list of names, and what there is of it. */
#include "client/capture_commands.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/str.h"
#include "client/capture_host.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char userland[] =
    "bash dash sh arch b2sum base32 base64 basename cat chgrp chmod chown "
    "cksum comm cp csplit cut date dd df dir dirname du echo env expand expr "
    "factor false fmt fold head id install join link ln ls md5sum mkdir "
    "mkfifo mktemp mv nice nl nohup nproc numfmt od paste pathchk pr printenv "
    "printf ptx pwd readlink realpath rm rmdir seq sha1sum sha224sum "
    "sha256sum sha384sum sha512sum shred shuf sleep sort split stat sum sync "
    "tac tail tee test timeout touch tr true truncate tsort tty uname "
    "unexpand uniq unlink vdir wc whoami yes [ "
    "sed grep egrep fgrep awk mawk find xargs diff cmp diff3 sdiff patch "
    "tar gzip gunzip zcat bzip2 bunzip2 xz unxz which getopt hostname";

static int
add_command(struct capture_host *host, struct str name, struct error *err)
{
	static const char *const directories[] = {"/usr/bin", "/bin"};
	int rc = 0;

	for (size_t i = 0; i < COUNT(directories) && rc == 0; i++) {
		char *path =
		    xasprintf("%s/%.*s", directories[i], STR_ARG(name));

		rc = capture_host_add(host, path, NULL, err);
		free(path);
	}
	return rc < 0 ? -1 : 0;
}

int
capture_commands(struct capture_host *host, struct error *err)
{
	struct str rest = str_from(userland);

	while (rest.data != NULL) {
		if (add_command(host, str_cut(&rest, ' '), err) < 0)
			return -1;
	}
	/* Build rules and scripts say /bin/sh. */
	return capture_host_add(host, "/bin/sh", NULL, err) < 0 ? -1 : 0;
}
