/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capturing parts of this machine where they are: a program keeps its absolute
 * path in the tree, with every symbolic link on the way to it, and brings what
 * it needs to run: its loader, its shared libraries, their libraries. One
 * thread at a time; blocks on the disk.
 *
 *	capture_host_add(&host, "/usr/bin/gcc", &err);
 *	capture_host_close(&host, &err);	-> ld.so, libc, ...
 */
#ifndef TOOLROOT_CLIENT_CAPTURE_HOST_H
#define TOOLROOT_CLIENT_CAPTURE_HOST_H

#include <stdbool.h>

#include "base/map.h"
#include "base/str.h"

struct capture_notes;
struct capture_tree;
struct error;

struct capture_host {
	struct capture_tree *tree;   /* borrowed */
	struct capture_notes *notes; /* borrowed */
	const char *root;            /* put before each path; "" usually */
	/* The rest is ours. */
	struct map scanned; /* path -> path, of files looked into */
	struct map links;   /* the same of links in captured content */
	char *loader;       /* the directory of the first loader, or NULL */
};

void capture_host_init(struct capture_host *host, struct capture_tree *tree,
    struct capture_notes *notes, const char *root);
void capture_host_clear(struct capture_host *host);

/* An absolute path: the file or directory (without its content) and all links
 * and directories passed on the way. 1, 0 when there is no such path, -1. real
 * gets the path without links, if it is not NULL: the caller frees it. */
int capture_host_add(struct capture_host *host, const char *path, char **real,
    struct error *err);
/* A directory with its content, each entry subject to wanted (may be NULL, see
 * client/capture_directory.h); files that links in it lead to come too. 1, 0,
 * -1. */
int capture_host_add_content(struct capture_host *host, const char *path,
    bool (*wanted)(void *cookie, struct str path, bool directory),
    struct error *err);
/* Adds what the programs, libraries and scripts in the tree need to run, until
 * nothing is new. What this machine lacks becomes a note. */
int capture_host_close(struct capture_host *host, struct error *err);

#endif
