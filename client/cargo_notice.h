/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notices among the compiler's messages (rustc's --json=artifacts), a line
 * each, that a file is there. With that of a library's metadata cargo starts
 * the crates that use it; a second one of the same file would be one too many
 * for cargo. Pure.
 */
#ifndef TOOLROOT_CLIENT_CARGO_NOTICE_H
#define TOOLROOT_CLIENT_CARGO_NOTICE_H

#include <stdbool.h>

#include "base/str.h"

struct buffer;

bool cargo_notice_is(struct str line);
bool cargo_notice_is_metadata(struct str line);

/* Appends the notice that metadata is at this path; -1 past the limit. */
int cargo_notice_add_metadata(struct buffer *out, const char *path)
    __attribute__((warn_unused_result));
/* Takes those of metadata out of the text. */
void cargo_notice_drop_metadata(struct buffer *text);

#endif
