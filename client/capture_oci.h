/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capturing a container image: an OCI image layout (directory or tar) or what
 * `docker save` writes. The layers are laid one over the other, whiteouts
 * applied. Of an index with several platforms the one of this machine is
 * taken. Every blob is checked against the digest that names it. Blocks.
 * Source: OCI Image Format Specification 1.1 (layout, index, manifest, layer).
 */
#ifndef TOOLROOT_CLIENT_CAPTURE_OCI_H
#define TOOLROOT_CLIENT_CAPTURE_OCI_H

struct capture_notes;
struct capture_spool;
struct capture_tree;
struct error;

struct capture_oci_options {
	const char *path; /* a directory or an archive */
	struct capture_tree *tree;
	struct capture_spool *spool; /* gets the contents of the files */
	struct capture_notes *notes;
};

int capture_oci(const struct capture_oci_options *options, struct error *err);

#endif
