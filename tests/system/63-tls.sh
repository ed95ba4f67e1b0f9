#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# TLS and mutual TLS: clients and our worker are let in or refused by their
# certificates, a certificate swapped on disk is served on the next
# connection, plain text is never served by mistake.

if ! command -v openssl > /dev/null; then
	echo "Bail out!  openssl is not installed: apt-get install openssl"
	exit 1
fi
exec /usr/bin/python3 "$(dirname "$0")/lib/tls.py"
