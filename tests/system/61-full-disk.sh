#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The disk is full in the middle of an upload and of a commit, on a small
# tmpfs and a small ext4; then --max-size is reached on a disk with room.

own_mounts=(unshare --mount --propagation private)
[ "$(id -u)" -eq 0 ] || own_mounts+=(--map-root-user)
if ! "${own_mounts[@]}" true 2> /dev/null; then
	echo "1..0 # SKIP no mount namespace of its own can be made here"
	exit 0
fi
exec "${own_mounts[@]}" /usr/bin/python3 "$(dirname "$0")/lib/full_disk.py"
