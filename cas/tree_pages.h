/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Merkle tree in pages, for GetTree: every directory below and including a
 * root, each once, breadth first, which is the same order each time. A page
 * ends with a token that tells where the next one starts; nothing is kept
 * between calls, so whoever resumes with a token pays for reading the
 * directories before it again (never more than the whole tree). Directories
 * that are absent are left out. One thread at a time; reads block as the
 * source does.
 *
 * Rules: REAPI ContentAddressableStorage.GetTree.
 */
#ifndef TOOLROOT_CAS_TREE_PAGES_H
#define TOOLROOT_CAS_TREE_PAGES_H

#include <stddef.h>

#include "base/str.h"

struct closure_source;
struct digest;
struct error;
struct tree_pages;

#define TREE_PAGES_TOKEN_MAX 64

struct tree_page {
	const struct str *directories; /* encoded; good until the next call */
	size_t count;                  /* may be 0 in the last page */
	char token[TREE_PAGES_TOKEN_MAX]; /* of the next page; "" = the last */
};

/* source is borrowed as long as the pages. token "" = from the start. NOT_FOUND
 * when the root is absent; INVALID_ARGUMENT for a token that we did not make
 * for this root, or when the tree has lost parts since. */
struct tree_pages *tree_pages_open(const struct closure_source *source,
    const struct digest *root, struct str token, struct error *err);
/* NULL is allowed. */
void tree_pages_free(struct tree_pages *pages);

/* 1 and the next page, 0 after the last, -1. A page has at most `directories`
 * (> 0) of them and, unless it is a single one, at most `bytes` bytes of
 * them. */
int tree_pages_next(struct tree_pages *pages, size_t directories, size_t bytes,
    struct tree_page *page, struct error *err);

#endif
