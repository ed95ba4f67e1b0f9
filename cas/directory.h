/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directory messages, the nodes of every Merkle tree: decoding and checking
 * them. Whatever walks or stages a tree goes through directory_decode, so no
 * other code has to fear what a peer wrote there. Pure functions, any thread.
 *
 * The rules are those of REAPI's Directory, NodeProperties and Digest
 * messages. Fields that we do not know are let pass, so that newer clients can
 * be served; they are part of the digest in any case.
 */
#ifndef TOOLROOT_CAS_DIRECTORY_H
#define TOOLROOT_CAS_DIRECTORY_H

#include <build/bazel/remote/execution/v2/remote_execution.pb-c.h>

#include "cas/digest.h"

struct arena;
struct error;

#define DIRECTORY_NAME_MAX 255u    /* bytes, as the file systems have it */
#define DIRECTORY_TARGET_MAX 4095u /* bytes of a symbolic link */
/* Bytes of memory that decoding a Directory of so many encoded bytes may take:
 * the cap for the arena given to directory_decode. Legal entries need less
 * than 24 times their size, a million usual ones half the upper bound; what
 * needs more is refused. */
static inline size_t
directory_memory(size_t encoded)
{
	return encoded < (512u << 20) / 24 ? 24 * encoded + (128u << 10)
					   : 512u << 20;
}

/* Every name is one path component: not empty, ".", "..", no "/" and no NUL,
 * valid UTF-8, at most DIRECTORY_NAME_MAX bytes. Files, directories and
 * symbolic links are each sorted bytewise and no name stands twice, in
 * whichever lists. Digests are well-formed. Targets of symbolic links are not
 * empty, UTF-8 without NUL, and may be absolute. Modes are at most 07777,
 * times within what Timestamp allows, properties sorted by name.
 * INVALID_ARGUMENT names the entry. */
int directory_check(const Reapi__Directory *directory,
    enum digest_function function, struct error *err);
/* The rule for one name. */
int directory_check_name(struct str name, struct error *err);
/* The rule for the target of a symbolic link. */
int directory_check_target(struct str target, struct error *err);

/* Unpacks and checks. The message borrows nothing from bytes and lives in the
 * arena. NULL on error. */
Reapi__Directory *directory_decode(struct arena *arena, struct str bytes,
    enum digest_function function, struct error *err);

/* Any text, cut and with what cannot be printed as "\xNN", for an error. */
#define DIRECTORY_PRINTABLE_MAX 132
const char *directory_printable(
    struct str text, char printable[static DIRECTORY_PRINTABLE_MAX]);

static inline struct str
directory_str(ProtobufCBinaryData data)
{
	return (struct str){
	    data.data != NULL ? (const char *)data.data : "", data.len};
}

#endif
