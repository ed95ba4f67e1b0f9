#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/check-layers finds what it is there to find.

. "$(dirname "$0")/tap.sh"

plan 11

check=$ROOT/tests/check-layers
tree=$WORK/tree

# file PATH LINE...: as part of a small tree of its own.
file() {
	mkdir -p "$tree/$(dirname "$1")"
	printf '%s\n' "${@:2}" > "$tree/$1"
}

# check_tree: sets output and status.
check_tree() {
	output=$("$check" "$tree" 2>&1)
	status=$?
}

# refused NAME PATH INCLUDE REGEX: the tree with this file is refused.
refused() {
	file "$2" "#include $3"
	check_tree
	like "$1" "$status $output" "^1 $2:1: .*$4"
	rm "$tree/$2"
}

for folder in base protos rpc cas executor frontend client worker; do
	mkdir -p "$tree/$folder"
done
cp "$ROOT/Makefile" "$tree"
file base/error.h '/* nothing */'
file rpc/call.h '#include "base/error.h"' '#include <grpc/grpc.h>'
file cas/store.c '#include "base/error.h"' '#include <lmdb.h>' \
	'#include <build/bazel/remote.pb-c.h>'
file frontend/serve.h '#include "rpc/call.h"' '#include "cas/store.h"'
file main.c '#include "frontend/serve.h"' '#include "worker/command.h"'
check_tree
is "a tree in which all go down passes" "$status" 0

refused "base knows no other folder" base/log.c '"cas/digest.h"' \
	'base/ may not include cas/'
refused "nor messages" base/log.c '<google/rpc/status.pb-c.h>' \
	'base/ may not include messages'
refused "cas knows no RPC" cas/blob.c '"rpc/call.h"' \
	'cas/ may not include rpc/'
refused "nor gRPC" cas/blob.c '<grpc/grpc.h>' 'only rpc/ may include'
refused "the executor knows no RPC" executor/queue.h '"rpc/server.h"' \
	'executor/ may not include rpc/'
refused "the frontend does not know the worker" frontend/serve.c \
	'"worker/command.h"' 'frontend/ may not include worker/'
refused "main.c is above all" client/cargo.c '"main.h"' 'not a path'
refused "ours are included by their path from the root" cas/blob.c \
	'"store.h"' 'not a path from the root'
rm -r "$tree"/{base,rpc,cas,frontend}/*.[ch] "$tree/main.c"
touch "$tree/main.c"
check_tree
is "a tree without includes is no success" "$status" 1

ok "the project's own tree passes" "$check"
